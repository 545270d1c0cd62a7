"""What holds for every method here: targets, batches, structure, an untouched model."""

import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import relprop
import relprop.methods
from relprop.errors import InvalidInput, InvalidTarget
from tests.methods.test_cam import pooled
from tests.methods.twins import images
from tests.propagation.test_contract import Net, fingerprint, process, same
from tests.reference.measure import difference

METHODS = {
    "gradient": {},
    "sensitivity": {},
    "gradient-x-input": {},
    "integrated-gradients": {"steps": 3},
    "smoothgrad": {"samples": 3},
    "deconvolution": {},
    "guided-backprop": {},
    "excitation-backprop": {},
    "cam": {},
    "grad-cam": {},
    "guided-grad-cam": {},
    "random": {},
    "edges": {},
}
LINEAR = ("gradient", "sensitivity", "gradient-x-input", "integrated-gradients", "cam",
          "excitation-backprop")  # fmt: skip

SHIPPED = tuple(relprop.methods.METHODS.values())  # before a test registers one of its own

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")
every = pytest.mark.parametrize("method", METHODS)


def explained(method, model, inputs, target=None, **more):
    return relprop.explain(model, inputs, target, method=method, **METHODS[method], **more)


@every
def test_one_map_for_each_class(method):
    model, x = pooled(), images()
    each = explained(method, model, x, "all")
    assert each.grouped and each.target == "all" and each.relevance.shape == (3, 4, *x.shape[1:])
    for k in range(4):
        alone = explained(method, model, x, k)
        assert not alone.grouped and alone.relevance.shape == x.shape
        if method != "random":  # each of its maps is drawn anew
            assert torch.allclose(each.relevance[:, k], alone.relevance, atol=1e-12)
    assert each.heatmap().shape == (3, 4, 12, 12)


@every
def test_targets_of_every_kind(method):
    model, x = pooled(), images()
    predicted = model(x).argmax(1)
    classes = [2, 0, 3]
    one_hot = nn.functional.one_hot(torch.tensor(classes), 4).double()
    wanted = explained(method, model, x, classes).relevance
    for target in (
        tuple(classes), torch.tensor(classes), np.array(classes), one_hot, one_hot.numpy(),
        lambda output: one_hot,
    ):  # fmt: skip
        assert torch.equal(explained(method, model, x, target).relevance, wanted)
    best = explained(method, model, x)
    assert torch.equal(best.target, predicted)
    assert torch.equal(best.relevance, explained(method, model, x, predicted).relevance)
    groups = explained(method, model, x, {"low": [0, 1], "high": [3]})
    assert groups.target == {"low": [0, 1], "high": [3]} and groups.relevance.shape[1] == 2
    joint = explained(method, model, x, [1.0, 1.0, 0.0, 0.0]).relevance
    if method != "random":
        assert torch.allclose(groups.relevance[:, 0], joint, atol=1e-12)


@pytest.mark.parametrize("method", LINEAR)
def test_maps_of_weighted_outputs_add_up(method):
    model, x = pooled(), images()
    each = explained(method, model, x, "all").relevance
    weighted = explained(method, model, x, [1.0, -2.0, 0.5, 0.0]).relevance
    wanted = each[:, 0] - 2 * each[:, 1] + each[:, 2] / 2
    assert torch.allclose(weighted, wanted, atol=1e-12)


@every
def test_targets_that_do_not_fit_are_refused(method):
    for target, message in (
        (4, r"target \[4, 4, 4\] is out of range: classes are 0..3"),
        ("dog", "unknown target 'dog'"),
        ([0, 1], "one class per sample needs 3 integers"),
        ({}, "the dict of groups is empty"),
    ):
        with pytest.raises(InvalidTarget, match=message):
            explained(method, pooled(), images(), target)


@pytest.mark.parametrize("method", [name for name in METHODS if "cam" not in name])
def test_outputs_with_positions(method):
    """[N, T, V]: an index for each sample, or weights."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(3, 5, 3), nn.ReLU(), nn.Conv1d(5, 4, 3)).double()
    x = torch.randn(2, 3, 9).double()
    weights = torch.zeros(2, 4, 5).double()
    weights[0, 1, 4] = weights[1, 0, 2] = 1
    found = explained(method, model, x, [(1, 4), (0, 2)])
    assert found.relevance.shape == x.shape
    wanted = explained(method, model, x, weights).relevance
    assert torch.equal(found.relevance, wanted)
    with pytest.raises(InvalidTarget, match="more axes than samples and classes"):
        explained(method, model, x)
    first = explained(method, lambda x: model(x)[:, :, :1], x, class_axis=1)
    assert first.target.shape == (2,)


@every
def test_batches_are_their_samples(method):
    model, x = pooled(), images(5)
    whole = explained(method, model, x, "all")
    parts = explained(method, model, x, "all", batch_size=2)
    assert difference(parts.relevance, whole.relevance) <= 1e-10
    assert torch.allclose(parts.output, whole.output)
    for name, maps in whole.layers.items():
        assert torch.allclose(parts.layers[name], maps)


@every
def test_maps_are_saved_and_read_back(method, tmp_path):
    found = explained(method, pooled(), images(2), 1)
    read = relprop.Explanation.load(found.save(tmp_path / "map.npz"))
    assert torch.equal(read.relevance, found.relevance)
    assert (read.method, read.pooling) == (method, found.pooling)
    assert torch.equal(read.heatmap(), found.heatmap())


@every
def test_maps_are_the_callers(method):
    """No graph hangs on them, and they are dense tensors of their own."""
    x = images(2).requires_grad_()
    found = explained(method, pooled(), x, 1)
    assert not found.relevance.requires_grad and not found.output.requires_grad
    assert found.relevance.is_contiguous() and x.grad is None
    kept = x.detach().clone()
    found.relevance.zero_()
    assert torch.equal(x, kept)


@every
def test_options_that_it_does_not_have_are_refused(method):
    with pytest.raises(InvalidInput, match=f"method '{method}' has no option 'colour'"):
        explained(method, pooled(), images(), colour=3)
    with pytest.raises(InvalidInput, match=f"rules= belongs to method 'lrp', not to '{method}'"):
        explained(method, pooled(), images(), rules="thesis")


@every
def test_a_question_and_a_cost_are_told(method):
    found = relprop.methods.find(method)
    assert found.question in relprop.methods.registry.QUESTIONS and found.cost
    text = " ".join((found.function.__doc__ or "").split())
    told = {"baseline": "What a map is worth", "function": "A question about the function"}
    told |= {"signal": "A question about the signal", "attribution": "A question about attribution"}
    assert told[found.question] in text


def test_the_page_of_methods_names_every_one_with_its_question():
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "methods.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z-]+)`[^|]*\| ([a-z]+) \|", page, re.M))
    assert rows.pop("lrp") == "attribution"
    shipped = {m.name: m.question for m in SHIPPED}
    assert rows == shipped


# The contract: what is not touched, also after errors.


@pytest.fixture(scope="module", autouse=True)
def torch_has_loaded():
    """What torch loads at the first call adds warning filters."""
    torch.func.functionalize(lambda t: t.mul_(2), remove="mutations")(torch.ones(1))


@pytest.fixture
def model():
    model = Net().eval()
    model.head.weight.grad = torch.ones_like(model.head.weight)
    model.stem.weight.requires_grad_(False)
    model.body.register_forward_hook(lambda module, args, output: None)
    model.label = "mine"
    return model


@every
def test_the_model_and_the_process_stay_as_they_were(method, model):
    x = torch.rand(2, 3, 8, 8)
    kept, before, flags, state = x.clone(), fingerprint(model), process(), torch.get_rng_state()
    explained(method, model, x, 1)
    assert torch.equal(x, kept) and torch.equal(torch.get_rng_state(), state)
    same(before, fingerprint(model))
    same(flags, process())


@every
def test_they_stay_after_an_error(method, model):
    def fail(module, args):
        raise RuntimeError("broken on purpose")

    model.head.register_forward_pre_hook(fail)
    x = torch.rand(2, 3, 8, 8)
    kept, before, flags = x.clone(), fingerprint(model), process()
    with pytest.raises(InvalidInput, match="broken on purpose"):
        explained(method, model, x, 1)
    assert torch.equal(x, kept)
    same(before, fingerprint(model))
    same(flags, process())


@every
def test_four_threads_get_the_maps_of_one(method):
    model = pooled()
    inputs = [images(2, seed=k) for k in range(4)]
    wanted = [explained(method, model, x, 1).relevance for x in inputs]
    found, errors = {}, []

    def work(k):
        try:
            found[k] = [explained(method, model, inputs[k], 1).relevance for _ in range(4)]
        except Exception as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for k in range(4):
        for relevance in found[k]:
            assert torch.allclose(relevance, wanted[k], atol=1e-10)
