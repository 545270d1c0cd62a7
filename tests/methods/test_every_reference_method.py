"""What holds for the methods that sample, follow a reference or patterns: an untouched model."""

import pytest
import torch
from torch import nn

import relprop
from relprop.errors import InvalidInput, InvalidTarget
from relprop.methods import METHODS, learn_patterns
from tests.propagation.test_contract import Net, fingerprint, process, same

NEEDS_CAPTUM = ("occlusion", "feature-ablation", "lime", "kernel-shap")
OPTIONS = {
    "deeplift": {"reference": 0.1},
    "taylor": {"root": torch.zeros(())},
    "deep-taylor": {},
    "patternnet": {},
    "pattern-attribution": {},
    "occlusion": {"window": 4},
    "feature-ablation": {"segments": 4},
    "lime": {"samples": 12},
    "kernel-shap": {"samples": 12},
    "prediction-difference": {"patch": 4, "surround": 1, "samples": 2},
    "meaningful-perturbation": {"steps": 3},
}
TOLD = {
    "attribution": "A question about attribution",
    "signal": "A question about the signal",
    "sampling": "A question by sampling",
}

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")
every = pytest.mark.parametrize("method", OPTIONS)


class Written(nn.Module):
    """As the contract's network, without what has no pattern: counts its calls, works in place."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        x.mul_(2.0)
        self.calls += 1
        self.last = int(x.shape[0])
        return self.head(self.norm(self.stem(x)).relu_().mean((2, 3)))


def explained(method, model, x, target=None, **more):
    options = dict(OPTIONS[method])
    if method in NEEDS_CAPTUM:
        pytest.importorskip("captum.attr")
    if method in ("patternnet", "pattern-attribution"):
        options["patterns"] = learn_patterns(model, [x])
    if method == "prediction-difference":
        generator = torch.Generator().manual_seed(0)
        options["data"] = torch.rand(4, *x.shape[1:], generator=generator)
    return relprop.explain(model, x, target, method=method, **options, **more)


@pytest.fixture
def model():
    model = Written().eval()
    model.head.weight.grad = torch.ones_like(model.head.weight)
    model.stem.weight.requires_grad_(False)
    model.head.register_forward_hook(lambda module, args, output: None)
    return model


@pytest.fixture(scope="module", autouse=True)
def torch_has_loaded():
    """What torch loads at the first call adds warning filters."""
    torch.func.functionalize(lambda t: t.mul_(2), remove="mutations")(torch.ones(1))


@every
def test_the_model_and_the_process_stay_as_they_were(method, model):
    x = torch.rand(2, 3, 8, 8)
    explained(method, model, x, 1)  # Captum's first call loads what it needs
    kept, before, flags, state = x.clone(), fingerprint(model), process(), torch.get_rng_state()
    explained(method, model, x, 1)
    assert torch.equal(x, kept) and torch.equal(torch.get_rng_state(), state)
    same(before, fingerprint(model))
    same(flags, process())


@every
def test_they_stay_after_an_error(method, model):
    x = torch.rand(2, 3, 8, 8)
    calls = []

    def fail(module, args):
        calls.append(module)
        if len(calls) > 3:  # in the middle of the work, where there is so much of it
            raise RuntimeError("broken on purpose")

    handle = model.head.register_forward_pre_hook(fail)
    before, flags = fingerprint(model), process()
    try:
        explained(method, model, x, "all")
    except (InvalidInput, RuntimeError) as error:
        assert "broken on purpose" in str(error)
    same(before, fingerprint(model))
    same(flags, process())
    handle.remove()


@every
def test_targets_that_do_not_fit_are_refused(method, model):
    with pytest.raises(InvalidTarget, match="is out of range: classes are 0..4"):
        explained(method, model, torch.rand(2, 3, 8, 8), 5)


@every
def test_inference_mode_and_gradients_of_the_caller_do_not_matter(method, model):
    x = torch.rand(2, 3, 8, 8)
    wanted = explained(method, model, x, 1).relevance
    with torch.inference_mode():
        found = explained(method, model, x.clone(), 1).relevance
    assert torch.allclose(found, wanted, atol=1e-6)
    found = explained(method, model, x.clone().requires_grad_(), 1)
    assert not found.relevance.requires_grad and not found.output.requires_grad
    assert torch.allclose(found.relevance, wanted, atol=1e-6)


@every
def test_the_predicted_class_is_explained_by_default(method, model):
    x = torch.rand(3, 3, 8, 8)
    best = explained(method, model, x)
    assert torch.equal(best.target, model(x.clone()).argmax(1))
    assert torch.allclose(best.output, model(x.clone()).detach(), atol=1e-6)
    wanted = explained(method, model, x, best.target.tolist())
    assert torch.allclose(best.relevance, wanted.relevance, atol=1e-6)


@every
def test_maps_are_saved_and_read_back(method, model, tmp_path):
    found = explained(method, model, torch.rand(2, 3, 8, 8), 1)
    read = relprop.Explanation.load(found.save(tmp_path / "map.npz"))
    assert torch.equal(read.relevance, found.relevance)
    assert (read.method, read.preset, read.notes) == (found.method, found.preset, found.notes)


@every
def test_a_question_and_a_cost_are_told(method):
    found = METHODS[method]
    text = " ".join((found.function.__doc__ or "").split())
    assert TOLD[found.question] in text and "ost" in text and found.cost


@every
def test_training_mode_is_refused(method, model):
    with pytest.raises(InvalidInput, match="the model is in training mode"):
        explained(method, model.train(), torch.rand(2, 3, 8, 8))


@pytest.mark.parametrize("method", [m for m in OPTIONS if not m.startswith("pattern")])
def test_the_contracts_network_is_explained(method):
    """With local response normalisation, dropout and a residual sum."""
    model = Net().eval()
    before = fingerprint(model)
    found = explained(method, model, torch.rand(2, 3, 8, 8), 1)
    assert found.relevance.isfinite().all() and found.relevance.shape == (2, 3, 8, 8)
    same(before, fingerprint(model))
