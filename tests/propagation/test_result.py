"""What an explanation is: frozen, complete, and the same after saving and loading."""

import pytest
import torch
from torch import nn

import relprop
from tests.reference.measure import gap, leaves

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")


def model():
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5), nn.Softmax(-1)
    return nn.Sequential(*layers).eval()


def two_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(4, 3), nn.Linear(2, 3)

        def forward(self, left, right):
            return torch.relu(self.left(left)) + self.right(right)

    return Two()


EXPLANATIONS = {
    "one class": lambda: relprop.explain(model(), torch.rand(2, 3, 6, 6), layers=["0", "3"]),
    "a class each": lambda: relprop.explain(model(), torch.rand(2, 3, 6, 6), [0, 3]),
    "all": lambda: relprop.explain(model(), torch.rand(2, 3, 6, 6), "all", layers=["0"]),
    "groups": lambda: relprop.explain(model(), torch.rand(2, 3, 6, 6), {"a": [0, 1], "b": [2]}),
    "weights": lambda: relprop.explain(model(), torch.rand(2, 3, 6, 6), torch.rand(2, 5)),
    "tuple": lambda: relprop.explain(two_inputs(), (torch.rand(2, 4), torch.rand(2, 2))),
    "dict": lambda: relprop.explain(
        two_inputs(), {"left": torch.rand(2, 4), "right": torch.rand(2, 2)}
    ),
    "preset": lambda: relprop.explain(
        model(), torch.rand(2, 3, 6, 6), 1, rules=relprop.Preset([], name="mine")
    ),
}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("name", EXPLANATIONS)
def test_saved_and_loaded_it_says_the_same(name, suffix, tmp_path):
    saved = EXPLANATIONS[name]()
    saved.save(tmp_path / f"map{suffix}")
    loaded = relprop.Explanation.load(tmp_path / f"map{suffix}")
    assert type(loaded.relevance) is type(saved.relevance)
    for ours, theirs in zip(leaves(saved.relevance), leaves(loaded.relevance), strict=True):
        assert torch.equal(ours, theirs)
    if isinstance(saved.relevance, dict):
        assert list(loaded.relevance) == list(saved.relevance)
    assert torch.equal(loaded.output, saved.output)
    if isinstance(saved.target, torch.Tensor):
        assert torch.equal(torch.as_tensor(loaded.target), saved.target)
    else:
        assert loaded.target == saved.target
    assert (loaded.method, loaded.preset) == (saved.method, saved.preset)
    assert loaded.notes == saved.notes
    assert loaded.layers.keys() == saved.layers.keys()
    for key, value in saved.layers.items():
        assert torch.equal(loaded.layers[key], value)
    for column, amount in saved.ledger.totals().items():
        assert torch.equal(loaded.ledger.totals()[column], amount), column
    assert [row.module for row in loaded.ledger.rows] == [r.module for r in saved.ledger.rows]
    assert torch.equal(loaded.heatmap(), saved.heatmap()) if name not in ("tuple", "dict") else True
    assert repr(loaded) == repr(saved)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_other_files_are_refused(suffix, tmp_path):
    path = tmp_path / f"other{suffix}"
    path.write_bytes(b"not a map")
    with pytest.raises(relprop.errors.RelpropError):
        relprop.Explanation.load(path)


def test_other_kinds_of_files_are_refused_naming_those_there_are(tmp_path):
    with pytest.raises(relprop.errors.RelpropError, match=r"npz.*safetensors"):
        EXPLANATIONS["one class"]().save(tmp_path / "map.txt")


def test_its_own_conservation_gap_is_the_one_that_was_agreed():
    explanation = EXPLANATIONS["one class"]()
    target = torch.as_tensor(explanation.target)
    start = explanation.output.gather(1, target[:, None])[:, 0]
    assert explanation.conservation_gap.shape == (2,)
    assert explanation.conservation_gap.max() <= 1e-5
    assert gap(explanation, start) <= 1e-5


def test_printing_shows_the_preset_and_the_conservation():
    text = repr(EXPLANATIONS["one class"]())
    for word in ("thesis", "relevance", "bias", "stabiliser"):
        assert word in text


def test_it_is_frozen():
    explanation = EXPLANATIONS["one class"]()
    with pytest.raises(AttributeError):
        explanation.output = None
