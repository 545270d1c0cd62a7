"""When the model itself is differentiated, and when its recording is."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import relprop
from relprop.methods import plain
from tests.methods.twins import (
    InPlace,
    Modules,
    ReshapedSoftmax,
    WithoutGradients,
    WithSoftmax,
    autograd,
    images,
    twin,
)
from tests.reference.measure import difference


def runs_of(model, **options):
    """How often the model runs in one explanation."""
    count = []
    handle = model.register_forward_hook(lambda *_: count.append(1))
    try:
        relprop.explain(model, images(), 1, **options)
    finally:
        handle.remove()
    return len(count)


@pytest.fixture
def recorded(monkeypatch):
    """What was recorded, one entry each time."""
    seen = []

    def record(*args, **kwargs):
        seen.append(args)
        return actual(*args, **kwargs)

    actual = plain.record
    monkeypatch.setattr(plain, "record", record)
    return seen


@pytest.mark.parametrize("way", [Modules, WithSoftmax, InPlace])
def test_a_gradient_takes_one_run_of_the_model(way, recorded):
    assert runs_of(twin(way), method="gradient") == 1
    assert not recorded


@pytest.mark.parametrize("way", [ReshapedSoftmax, WithoutGradients])
def test_a_recording_is_made_where_it_must_be(way, recorded):
    assert runs_of(twin(way), method="gradient") == 2
    assert len(recorded) == 1


def test_many_gradients_do_not_try_again_and_again(recorded):
    """A run for each step, and two to look at the output, at x and at the reference."""
    steps = runs_of(twin(), method="integrated-gradients", steps=8, pack=3)
    assert steps == 8 + 2
    assert not recorded
    assert (
        runs_of(twin(ReshapedSoftmax), method="integrated-gradients", steps=8, pack=3) == 8 + 2 + 1
    )
    assert len(recorded) == 8 + 2


def test_packed_rows_run_together():
    assert runs_of(twin(), method="smoothgrad", samples=20, pack=30) == 2 + 1  # 10 of 3 samples
    assert runs_of(twin(), method="smoothgrad", samples=20, pack=1) == 20 + 1


def test_what_is_left_out_is_told_the_same_way():
    plain = relprop.explain(twin(WithSoftmax), images(), 1, method="gradient")
    replayed = relprop.explain(twin(ReshapedSoftmax), images(), 1, method="gradient")
    assert plain.notes == replayed.notes and "aten._softmax.default at the end" in plain.notes[0]
    assert torch.allclose(plain.output, replayed.output)


@pytest.mark.parametrize(
    "ending",
    [
        lambda z: torch.softmax(z, dim=1),
        lambda z: nn.Softmax(1)(z),
        lambda z: nn.functional.softmax(input=z, dim=1),
        lambda z: nn.functional.log_softmax(z, 1, dtype=torch.float64),
        lambda z: nn.LogSoftmax(1)(z),
        lambda z: (z * 1).sigmoid_(),
        lambda z: nn.LogSigmoid()(z),
    ],
)
def test_every_way_to_end_is_seen_as_in_a_recording(ending):
    logits, x = twin(), images()

    def model(x):
        return ending(logits(x))

    found = relprop.explain(model, x, 1, method="gradient")
    assert torch.allclose(found.output, relprop.record(model, x).output)
    assert torch.allclose(found.output, logits(x))
    assert difference(found.relevance, autograd(logits, x, 1)) <= 1e-12
    assert len(found.notes) == 1


def test_of_two_softmaxes_the_last_is_left_out():
    logits, x = twin(), images()
    found = relprop.explain(lambda x: logits(x).softmax(1).softmax(1), x, 1, method="gradient")
    wanted = autograd(lambda x: logits(x).softmax(1), x, 1)
    assert difference(found.relevance, wanted) <= 1e-12


def test_a_softmax_that_is_hidden_from_autograd_is_found():
    """In a checkpoint, whose node in the graph shows nothing of what it holds."""
    logits, x = twin(), images()

    def model(x):
        return checkpoint(lambda z: z.softmax(1), logits(x), use_reentrant=True)

    found = relprop.explain(model, x, 1, method="gradient")
    assert difference(found.relevance, autograd(logits, x, 1)) <= 1e-12


class Renormalising(nn.Module):
    """Its embedding rescales its own weights whenever it is read."""

    def __init__(self):
        super().__init__()
        self.embedding, self.dense = nn.Embedding(5, 4, max_norm=0.1), nn.Linear(4, 3)

    def forward(self, x):
        return self.dense(x * self.embedding(torch.tensor([2])))


def test_weights_that_a_run_changes_are_put_back():
    model = Renormalising().eval()
    before = model.embedding.weight.detach().clone()
    relprop.explain(model, torch.rand(2, 4), 1, method="gradient")
    assert torch.equal(model.embedding.weight, before)


class Counting(nn.Module):
    """Counts its runs in a buffer, and keeps what it saw."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.seen = None

    def forward(self, x):
        self.calls += 1
        self.seen = x
        return self.dense(x)


@pytest.mark.parametrize("method", ["gradient", "smoothgrad", "integrated-gradients"])
def test_buffers_and_attributes_are_put_back(method):
    model = Counting().eval()
    buffer = model.calls
    relprop.explain(model, torch.rand(2, 4), 1, method=method)
    assert model.calls is buffer and model.calls == 0 and model.seen is None


def test_a_graph_of_the_users_that_reads_buffers_can_still_go_back():
    """Writing a buffer, even what is in it already, would make autograd refuse."""
    model, x = twin(), images()
    loss = model(x).sum()
    relprop.explain(model, x, 1, method="gradient")
    loss.backward()


def test_parameters_keep_their_gradients():
    model, x = twin(), images()
    model.conv1.weight.grad = torch.ones_like(model.conv1.weight)
    relprop.explain(model, x, 1, method="gradient")
    assert torch.equal(model.conv1.weight.grad, torch.ones_like(model.conv1.weight))
    assert all(p.grad is None for name, p in model.named_parameters() if name != "conv1.weight")
    assert all(p.requires_grad for p in model.parameters())


def test_within_inference_mode_there_are_gradients_too():
    model, x = twin(), images()
    wanted = autograd(model, x, 1)
    with torch.inference_mode():
        found = relprop.explain(model, x.clone(), 1, method="gradient").relevance
    assert difference(found.clone(), wanted) <= 1e-12


def test_the_random_state_stays():
    state = torch.get_rng_state()
    relprop.explain(twin(InPlace), images(), 1, method="smoothgrad")
    assert not torch.equal(state, torch.get_rng_state())  # twin() itself draws
    model = twin()
    state = torch.get_rng_state()
    for method in ("gradient", "smoothgrad", "random"):
        relprop.explain(model, images(), 1, method=method)
        assert torch.equal(state, torch.get_rng_state())
