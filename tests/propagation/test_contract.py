"""What relprop promises not to touch: the user's model, inputs and process, also after errors."""

import gc
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import _len_torch_function_stack
from torch.utils._python_dispatch import _len_torch_dispatch_stack

import relprop
from tests.reference.measure import difference, leaves

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
    "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called",
    "_state_dict_hooks", "_load_state_dict_pre_hooks",
)  # fmt: skip


class Net(nn.Module):
    """Norms, a counter that the model writes, code in place, also on its input."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.body, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 5)
        self.response = nn.LocalResponseNorm(3)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        x.mul_(2.0)
        x[:, 0] *= 0.5
        self.calls += 1
        x = self.response(self.norm(self.stem(x)).relu_())
        x = self.drop(x.add_(F.relu(self.body(x))))
        return self.head(x.mean((2, 3)))


def fingerprint(model):
    """Everything about a model that a user could notice."""
    seen = {"state": {k: v.clone() for k, v in model.state_dict().items()}}
    for name, module in model.named_modules():
        seen[f"{name} attributes"] = sorted(module.__dict__)
        seen[f"{name} type"] = (type(module), module.forward.__func__)
        seen[f"{name} training"] = module.training
        for hooks in HOOKS:
            seen[f"{name} {hooks}"] = list(getattr(module, hooks, {}).values())
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        seen[f"{name} at"] = (id(value), value.data_ptr(), value.requires_grad, value.is_leaf)
        seen[f"{name} grad"] = None if value.grad is None else value.grad.clone()
        seen[f"{name} hooks"] = len(getattr(value, "_backward_hooks", None) or {})
    return seen


def process():
    """Flags and functions of the whole process."""
    return {
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "mkldnn": torch.backends.mkldnn.enabled,
        "cudnn": (torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "flash": torch.backends.cuda.flash_sdp_enabled(),
        "modes": (_len_torch_dispatch_stack(), _len_torch_function_stack()),
        "autocast": torch.is_autocast_enabled("cpu"),
        "anomaly": torch.is_anomaly_enabled(),
        "functions": (F.conv2d, F.relu, F.local_response_norm, torch.add, nn.Module.__call__),
        "global hooks": (
            dict(nn.modules.module._global_forward_hooks),
            dict(nn.modules.module._global_forward_pre_hooks),
        ),
        "filters": list(warnings.filters),
    }


def same(before, after):
    assert before.keys() == after.keys()
    for key, value in before.items():
        other = after[key]
        if isinstance(value, dict):
            assert value.keys() == other.keys(), key
            for name, entry in value.items():
                if isinstance(entry, torch.Tensor):
                    assert torch.equal(entry, other[name]), (key, name)
                else:
                    assert entry is other[name], (key, name)
        elif isinstance(value, torch.Tensor):
            assert torch.equal(value, other), key
        else:
            assert value == other, key


@pytest.fixture(scope="module", autouse=True)
def torch_has_loaded():
    """The first in-place call that torch makes pure loads sympy, which adds a warning filter."""
    torch.func.functionalize(lambda t: t.mul_(2), remove="mutations")(torch.ones(1))


@pytest.fixture
def model():
    model = Net().eval()
    model.head.weight.grad = torch.ones_like(model.head.weight)
    model.stem.weight.requires_grad_(False)
    model.body.register_forward_hook(lambda module, args, output: None)
    model.body.register_forward_pre_hook(lambda module, args: None)
    model.label = "mine"
    return model


@pytest.fixture
def untouched(model):
    """The promise, checked when the test is over."""
    x = torch.rand(2, 3, 8, 8)
    x_before, version = x.clone(), x._version
    fingerprint_before, process_before = fingerprint(model), process()
    state = torch.get_rng_state()
    yield x
    assert torch.equal(x, x_before)
    assert x._version == version
    assert torch.equal(torch.get_rng_state(), state)
    same(fingerprint_before, fingerprint(model))
    same(process_before, process())


@pytest.mark.parametrize(
    "rules", [None, "epsilon", "alpha2beta1", "thesis", relprop.Gamma()], ids=str
)
def test_nothing_changes_after_success(model, untouched, rules):
    relprop.explain(model, untouched, rules=rules, layers=["stem", "body"])


def test_nothing_changes_after_every_way_to_explain(model, untouched):
    relprop.explain(model, untouched, "all")
    relprop.explain(model, untouched, 1, batch_size=1)
    explainer = relprop.Explainer(model)
    explainer.coverage(untouched)
    explainer(untouched)
    explainer(untouched, 2)
    recording = relprop.record(model, untouched)
    recording.explain(target=1)
    del explainer, recording
    gc.collect()


def test_nothing_changes_when_relevance_is_differentiable(model, untouched):
    relprop.explain(model, untouched, 1, differentiable=True)


@pytest.mark.parametrize(
    "options",
    [
        {"target": 99},
        {"target": "nothing"},
        {"rules": "nothing"},
        {"layers": ["nothing"]},
        {"flat_until": "nothing"},
        {"rules": relprop.WSquare()},
        {"target": lambda output: 1 / 0},
        {"method": "nothing"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_nothing_changes_after_a_wrong_call(model, untouched, options):
    with pytest.raises((relprop.errors.RelpropError, ZeroDivisionError)):
        relprop.explain(model, untouched, **options)


def test_nothing_changes_after_a_nan(model, untouched):
    bad = untouched.clone()
    bad[0, 0, 0, 0] = float("nan")
    with pytest.raises(relprop.errors.InvalidInput):
        relprop.explain(model, bad)


def test_nothing_changes_after_a_wrong_shape(model, untouched):
    with pytest.raises(relprop.errors.RelpropError):
        relprop.explain(model, torch.ones(2, 4, 8, 8))


def test_nothing_changes_after_training_mode(model, untouched):
    model.train()
    with pytest.raises(relprop.errors.InvalidInput):
        relprop.explain(model, untouched)
    assert all(module.training for module in model.modules())
    model.eval()


@pytest.mark.parametrize("where", ["stem", "response", "head"])
def test_nothing_changes_after_an_error_in_the_model(model, untouched, where):
    """A module deep inside fails while it is recorded."""

    def fail(module, args):
        raise RuntimeError("broken on purpose")

    handle = getattr(model, where).register_forward_pre_hook(fail)
    try:
        with pytest.raises(Exception, match="broken on purpose"):
            relprop.explain(model, untouched)
    finally:
        handle.remove()


def test_nothing_changes_after_a_refused_operation(model, untouched):
    tail = nn.Sequential(model)
    tail.add_module("sort", nn.Module())
    tail.sort.forward = lambda z: z.sort(1).values
    with pytest.raises(relprop.errors.UnsupportedOperation):
        relprop.explain(tail.eval(), untouched)


def test_nothing_changes_where_warnings_are_errors(model):
    nn.init.constant_(model.head.bias, -100.0)
    x = torch.rand(2, 3, 8, 8)
    kept, before, flags = x.clone(), fingerprint(model), process()
    with warnings.catch_warnings():
        warnings.simplefilter("error", relprop.errors.RelpropWarning)
        with pytest.raises(relprop.errors.RelpropWarning):
            relprop.explain(model, x, 1, rules="alpha2beta1")
    assert torch.equal(x, kept)
    same(before, fingerprint(model))
    same(flags, process())


def test_the_hooks_of_the_user_run(model):
    ran = []
    model.body.register_forward_hook(lambda module, args, output: ran.append(output.shape))
    relprop.explain(model, torch.rand(2, 3, 8, 8), 1)
    assert ran


def test_a_hook_of_the_user_that_changes_the_output_is_followed():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 3, bias=False)).double()
    x = torch.randn(2, 4).double()
    model[0].register_forward_hook(lambda module, args, output: output * 3)
    found = relprop.explain(model, x, 1, rules=relprop.Epsilon(0))
    wanted = 3 * x * (model[1].weight[1] @ model[0].weight).detach()
    assert torch.allclose(found.output, model(x).detach())
    assert difference(found.relevance, wanted) <= 1e-9


def test_a_model_that_works_on_its_input_is_explained_by_what_it_was_given():
    """Input [1, 2] doubled in place: relevance is that of f(2x), at x."""

    class Doubling(nn.Module):
        def forward(self, x):
            return x.mul_(2) @ torch.tensor([[1.0], [3.0]])

    x = torch.tensor([[1.0, 2.0]])
    explanation = relprop.explain(Doubling(), x, 0, rules=relprop.Epsilon(0))
    assert torch.equal(x, torch.tensor([[1.0, 2.0]]))
    assert torch.allclose(explanation.relevance, torch.tensor([[2.0, 12.0]]))


class Caching(nn.Module):
    """Keeps what it saw, in a buffer, as models with caches do."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x):
        x.mul_(2.0)
        z = self.linear(x)
        self.seen.copy_(z.detach()[0])
        return z * 2


def test_caches_that_the_model_writes_are_restored():
    model, x = Caching().eval(), torch.rand(2, 4)
    before, kept = fingerprint(model), x.clone()
    explanation = relprop.explain(model, x, 1)
    assert torch.equal(x, kept)
    same(before, fingerprint(model))
    assert torch.allclose(explanation.output, 2 * model.linear(2 * x).detach())


class Overwriting(nn.Module):
    """Writes a constant over a part of its input."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3, bias=False)

    def forward(self, x):
        x[:, 0] = 0.5
        return self.linear(x)


def test_what_is_overwritten_has_no_relevance_and_stays_as_it_was():
    model, x = Overwriting().double().eval(), torch.rand(2, 4).double()
    kept = x.clone()
    explanation = relprop.explain(model, x, 1, rules=relprop.Epsilon(0))
    assert torch.equal(x, kept)
    wanted = x * model.linear.weight[1].detach()
    wanted[:, 0] = 0.0
    assert difference(explanation.relevance, wanted) <= 1e-12


def test_leaves_of_the_users_graph_get_no_gradient(model, untouched):
    x = untouched.clone().requires_grad_()
    relprop.explain(model, x * 1.0, 1)
    assert x.grad is None


def test_relevance_is_the_callers_to_change(model):
    """Neither a view of the input nor of anything that a later call reads."""
    x = torch.rand(2, 3, 8, 8)
    explainer = relprop.Explainer(model, "epsilon")
    explainer(x, 1)  # later calls run with channels last, which rounds otherwise
    first = explainer(x, 1)
    kept = first.relevance.clone()
    second = explainer(x.flip(0), 1)
    assert torch.equal(first.relevance, kept)  # the second call did not write into the first
    second.relevance.zero_()
    second.output.zero_()
    assert torch.equal(explainer(x, 1).relevance, kept)


@pytest.mark.parametrize("shared", ["model", "explainer"])
def test_four_threads_get_the_maps_of_one(model, shared):
    inputs = [torch.rand(2, 3, 8, 8) for _ in range(4)]
    presets = ["epsilon", "alpha2beta1", "thesis", "epsilon-gamma-flat"]
    if shared == "explainer":
        explainer = relprop.Explainer(model, "alpha2beta1", layers=["stem", "body"])

        def work(k):
            return explainer(inputs[k], 1)

    else:

        def work(k):
            return relprop.explain(model, inputs[k], 1, rules=presets[k], layers=["stem", "body"])

    wanted = [work(k) for k in range(4)]
    found: list[list] = [[] for _ in range(4)]
    errors = []
    gate = threading.Barrier(4)

    def repeat(k):
        try:
            gate.wait()
            for _ in range(8):
                found[k].append(work(k))
        except Exception as error:  # noqa: BLE001 - shown below, with the rest
            errors.append(error)

    before, flags = fingerprint(model), process()
    threads = [threading.Thread(target=repeat, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for k in range(4):
        assert len(found[k]) == 8
        for explanation in found[k]:
            assert difference(explanation.relevance, wanted[k].relevance) <= 1e-5
            assert difference(explanation.output, wanted[k].output) <= 1e-5
            for name in ("stem", "body"):
                assert difference(explanation.layers[name], wanted[k].layers[name]) <= 1e-4
    flags.pop("filters")
    after = process()
    after.pop("filters")
    same(flags, after)
    ours, theirs = fingerprint(model), before
    for noticed in (ours, theirs):  # counters are restored, in whichever order threads finish
        noticed["state"].pop("calls")
    same(theirs, ours)


def test_another_thread_may_use_the_model_meanwhile(model):
    """A forward pass beside the recording is neither recorded nor disturbed."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()
    x, other = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    wanted, expected = relprop.explain(model, x, 1).relevance, model(other).detach()
    stop, wrong = threading.Event(), []

    def forward():
        while not stop.is_set():
            output = model(other)
            if not (output.requires_grad and torch.equal(output.detach(), expected)):
                wrong.append(output)

    thread = threading.Thread(target=forward)
    thread.start()
    try:
        for _ in range(20):
            assert difference(relprop.explain(model, x, 1).relevance, wanted) <= 1e-5
    finally:
        stop.set()
        thread.join()
    assert not wrong


def test_an_explanation_is_frozen(model):
    explanation = relprop.explain(model, torch.rand(2, 3, 8, 8))
    assert leaves(explanation.relevance)
    with pytest.raises(AttributeError):
        explanation.relevance = None


class Restoring(nn.Module):
    """Changes its own tensors in overlapping pieces, and puts one of them back by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 3)
        self.register_buffer("count", torch.ones(8))
        self.calls = 0

    def forward(self, x):
        before = self.dense.weight.data.clone()
        self.dense.weight.data.mul_(2)
        self.count[0].add_(1)
        self.count[:4].mul_(3)
        self.count.fill_(7)
        self.calls += 1
        out = self.dense(x)
        self.dense.weight.data.copy_(before)
        return out


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("kept", [False, True])
def test_what_a_model_writes_is_put_back_whole(kept, threads):
    model = Restoring().eval().requires_grad_(False)
    weight, x = model.dense.weight.clone(), torch.rand(2, 4)
    explainer = relprop.Explainer(model, "epsilon")
    call = explainer if kept else (lambda x, t: relprop.explain(model, x, t, rules="epsilon"))
    with ThreadPoolExecutor(threads) as pool:
        maps = list(pool.map(lambda _: call(x, 1).relevance, range(3 * threads)))
    assert torch.equal(model.dense.weight, weight)
    assert torch.equal(model.count, torch.ones(8))
    assert model.calls == 0
    wanted = 2 * weight[1] * x
    assert all(torch.allclose(found, wanted, rtol=1e-4) for found in maps)


@pytest.mark.parametrize("hand_out", [torch.Tensor.share_memory_, torch.from_dlpack])
def test_memory_of_recorded_values_is_not_handed_out(hand_out):
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()
    model[0].register_forward_hook(lambda module, args, out: (hand_out(out), None)[1])
    with pytest.raises(relprop.errors.UnsupportedOperation, match="hands out memory"):
        relprop.explain(model, torch.rand(2, 4), 0)


def test_a_scripted_part_is_refused_or_followed():
    part = torch.jit.trace(nn.Linear(4, 3), torch.rand(2, 4))
    model = nn.Sequential(part, nn.ReLU()).eval().requires_grad_(False)
    x = torch.rand(2, 4)
    found = relprop.explain(model, x, 0, rules="epsilon")
    assert found.conservation_gap.max() < 1e-5


def test_a_model_that_writes_into_its_input_under_inference_mode():
    class Shifted(nn.Module):
        def forward(self, x):
            return x.add_(1).flatten(1).sum(1, keepdim=True)

    x = torch.rand(2, 4)
    before = x.clone()
    with torch.inference_mode():
        found = relprop.explain(Shifted().eval(), x, 0, rules="epsilon")
    assert torch.equal(x, before)
    assert torch.allclose(found.relevance, x, atol=1e-5)
