"""What a device other than a processor needs: no waiting during a call, and graphs.

No CUDA device is at hand where these tests run. A processor stands in for one: tensors on it count
as away, and what captures a graph runs the whole anew at each replay, into the same tensors.
"""

import sys

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import relprop
from relprop.errors import InvalidInput, InvalidTarget, RelpropWarning
from relprop.propagation import doubts, graphs, lrp
from relprop.propagation.operations import linear
from tests.propagation.test_explainer import PRESETS, Block, assert_same, images

LOOKS = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "item"}


class Looks(TorchDispatchMode):
    """Counts what would make the host wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func._schema.name.removeprefix("aten::") in LOOKS
        return func(*args, **(kwargs or {}))


def again(whole):
    """Stands in for a CUDA graph: a replay runs everything and fills the same tensors."""
    for _ in range(graphs.WARM):
        whole()
    first = whole()

    def replay() -> None:
        for old, new in zip(tensors(first), tensors(whole()), strict=True):
            old.copy_(new)

    return replay, first


def tensors(result):
    """All tensors of an explanation and its answers, in one order."""
    explanation, joined = result
    ledger = explanation.ledger
    rows = [getattr(row, name) for row in ledger for name in ("received", "passed", "bias")]
    rows += [getattr(row, name) for row in ledger for name in ("stabiliser", "lost")]
    ends = [ledger.start, ledger.arrived, ledger.magnitude]
    found = [explanation.relevance, explanation.output, explanation.target, *rows, *ends, joined]
    return [*filter(torch.is_tensor, found), *explanation.layers.values()]


@pytest.fixture
def away(monkeypatch):
    """Tensors of the processor count as being on a device."""
    for module in (doubts, linear, sys.modules["relprop.explainer"]):
        monkeypatch.setattr(module, "is_away", lambda tensor: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(graphs, "capture", again)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return Block().eval().requires_grad_(False)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("target", [None, torch.tensor([0, 1, 2]), "all"])
def test_a_known_route_waits_for_nothing(away, monkeypatch, model, preset, target) -> None:
    monkeypatch.setattr(lrp, "MOSTLY_ABSORBED", float("inf"))  # a warning looks for its figures
    explainer, x = relprop.Explainer(model, preset), images()
    for _ in range(3):
        explainer(x, target)
    with Looks() as looks:
        explainer(x, target)
    assert looks.count == 0


def test_looks_are_counted(model) -> None:
    with Looks() as looks:
        relprop.explain(model, images(), 1)
    assert looks.count > 0


@pytest.mark.parametrize("preset", PRESETS)
def test_checks_put_off_change_nothing(model, preset, request) -> None:
    wanted = relprop.explain(model, images(), 1, rules=preset)
    request.getfixturevalue("away")
    explainer = relprop.Explainer(model, preset)
    for _ in range(3):
        assert_same(explainer(images(), 1), wanted)


@pytest.mark.parametrize("graph", [False, True])
def test_changed_weights_are_noticed(away, model, graph) -> None:
    explainer = relprop.Explainer(model, "alpha2beta1", cuda_graph=graph)
    for _ in range(3):
        explainer(images(), 1)
    model.first.weight.data[0, 0, 0, 0] += 1
    wanted = relprop.explain(model, images(), 1, rules="alpha2beta1")
    assert_same(explainer(images(), 1), wanted)
    assert_same(explainer(images(), 1), wanted)


@pytest.mark.parametrize("graph", [False, True])
def test_bad_input_is_refused(away, model, graph) -> None:
    explainer = relprop.Explainer(model, "epsilon", cuda_graph=graph)
    good = explainer(images(), 1)
    broken = images()
    broken[1, 0, 0, 0] = torch.nan
    with pytest.raises(InvalidInput, match="NaN"):
        explainer(broken, 1)
    with pytest.raises(InvalidTarget, match="out of range"):
        explainer(images(), 5)
    assert_same(explainer(images(), 1), good)


@pytest.mark.parametrize("graph", [False, True])
def test_warnings_are_given_late(away, graph) -> None:
    model = nn.Sequential(nn.Linear(2, 1)).eval().requires_grad_(False)
    model[0].weight.fill_(1e-3)
    model[0].bias.fill_(1)
    explainer = relprop.Explainer(model, "epsilon", cuda_graph=graph)
    for _ in range(3):
        with pytest.warns(RelpropWarning, match="absorbed"):
            explainer(torch.ones(1, 2))


@pytest.mark.parametrize("preset", PRESETS)
def test_graphs(away, model, preset) -> None:
    explainer = relprop.Explainer(model, preset, cuda_graph=True, layers=["first"])
    kept = []
    for seed, target in ((1, 1), (2, 3), (3, torch.tensor([0, 1, 2])), (4, None), (5, [2, 2, 0])):
        x = images(seed=seed)
        kept.append((explainer(x, target), relprop.explain(model, x, target, rules=preset)))
    for found, wanted in kept:  # nothing was overwritten by a later replay
        assert_same(found, wanted)
        assert torch.equal(found.target, wanted.target)
        assert found.layers["first"].shape == (3, 8, 8, 8)
    assert_same(explainer(images(2), 1), relprop.explain(model, images(2), 1, rules=preset))
    assert explainer(images(), "all").relevance.shape == (3, 5, 3, 8, 8)


def test_what_a_graph_cannot_take(away, model) -> None:
    explainer = relprop.Explainer(model, "epsilon", cuda_graph=True)
    with pytest.raises(InvalidTarget, match="captured"):
        explainer(images(), {"some": [0, 1]})


def test_a_graph_needs_a_device(model, monkeypatch) -> None:
    with pytest.raises(InvalidInput, match="CUDA"):
        relprop.Explainer(model, cuda_graph=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(InvalidInput, match="CUDA"):
        relprop.Explainer(model, cuda_graph=True)(images())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("graph", [False, True])
def test_on_cuda(model, preset, graph) -> None:
    wanted = relprop.explain(model, images(), 1, rules=preset)
    explainer = relprop.Explainer(model.cuda(), preset, cuda_graph=graph)
    for _ in range(3):
        found = explainer(images().cuda(), 1)
    assert (found.relevance.cpu() - wanted.relevance).abs().max() <= 1e-4
