"""Every rule on every shape of every linear operation, against the matrices of tests.reference."""

import sys
from functools import cache

import pytest
import torch

import relprop
from tests.reference import rules
from tests.reference.flatten import flatten, join
from tests.reference.shapes import Case, cases

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

CASES = {case.name: case for case in cases()}
RULES = {
    "Epsilon()": (relprop.Epsilon(), rules.epsilon, {}),
    "Epsilon(0)": (relprop.Epsilon(0), rules.epsilon, {"epsilon": 0.0}),
    "Epsilon(0.25, relative)": (
        relprop.Epsilon(0.25, relative=True), rules.epsilon, {"epsilon": 0.25, "relative": True}
    ),
    "Epsilon(0.1, distribute)": (
        relprop.Epsilon(0.1, bias="distribute"),
        rules.epsilon,
        {"epsilon": 0.1, "bias": "distribute"},
    ),
    "Epsilon(0.1, ignore)": (
        relprop.Epsilon(0.1, bias="ignore"), rules.epsilon, {"epsilon": 0.1, "bias": "ignore"}
    ),
    "AlphaBeta()": (relprop.AlphaBeta(), rules.alpha_beta, {}),
    "AlphaBeta(1.5, -0.5)": (
        relprop.AlphaBeta(1.5, -0.5), rules.alpha_beta, {"alpha": 1.5, "beta": -0.5}
    ),
    "AlphaBeta(1, 0)": (relprop.AlphaBeta(1, 0), rules.alpha_beta, {"alpha": 1.0, "beta": 0.0}),
    "AlphaBeta(redistribute)": (
        relprop.AlphaBeta(2, -1, redistribute=True), rules.alpha_beta, {"redistribute": True}
    ),
    "ZPlus()": (relprop.ZPlus(), rules.z_plus, {}),
    "Gamma()": (relprop.Gamma(), rules.gamma, {}),
    "Gamma(2)": (relprop.Gamma(2.0), rules.gamma, {"gamma": 2.0}),
    "Flat()": (relprop.Flat(), rules.flat, {}),
    "WSquare()": (relprop.WSquare(), rules.w_square, {}),
    "Box(-4, 3)": (relprop.Box(-4.0, 3.0), rules.box, {"low": -4.0, "high": 3.0}),
    "Magnitude()": (relprop.Magnitude(), rules.magnitude, {}),
}  # fmt: skip
TOLERANCE = 1e-10


@cache
def matrices(name: str):
    """The operation as W, b and, where a padding precedes it, that padding as a matrix."""
    case = CASES[name]
    if case.move is None:
        return None, *flatten(case.model, case.shapes)
    move, _ = flatten(case.move, case.shapes)
    moved = case.move(torch.zeros(1, *case.shapes[0], dtype=torch.float64)).shape[1:]
    return move, *flatten(case.linear, [tuple(moved)])


def expected(case: Case, inputs, start, rule, options):
    """Relevance of the joined inputs [N, n], and bias, stabiliser and lost [N]."""
    move, W, b = matrices(case.name)
    rows, absorbed = [], []
    for x, R in zip(join(inputs), start.reshape(len(start), -1), strict=True):
        seen = x if move is None else x @ move
        relevance, *rest = rules.share(rule, seen, W, b, R, **options)
        rows.append(relevance if move is None else move @ relevance)
        absorbed.append(torch.stack(rest))
    return torch.stack(rows), torch.stack(absorbed, dim=1)


@pytest.fixture(scope="module")
def worst():
    """The worst error of each rule, printed when all are done (``pytest -s``)."""
    errors: dict[str, list[tuple[float, str]]] = {name: [] for name in RULES}
    yield errors
    lines = ["", "worst relative error of each rule over the layer shapes"]
    for name, found in errors.items():
        if found:
            error, where = max(found)
            lines.append(f"  {name:26s} {len(found):3d} shapes  {error:.1e}  ({where})")
    sys.stdout.write("\n".join(lines) + "\n")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rule_name", RULES)
def test_rule_on_shape(rule_name, name, worst):
    rule, reference, options = RULES[rule_name]
    case = CASES[name]
    inputs = case.inputs()
    with torch.no_grad():
        output = case.model(*inputs)
    generator = torch.Generator().manual_seed(7)
    start = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    weights = torch.where(output == 0, 0.0, start / output)
    start = weights * output

    explanation = relprop.explain(
        case.model, inputs if len(inputs) > 1 else inputs[0], weights, rules=rule
    )
    relevance = explanation.relevance if len(inputs) > 1 else (explanation.relevance,)
    wanted, absorbed = expected(case, inputs, start, reference, options)

    largest = wanted.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    error = ((join(relevance) - wanted).abs() / largest).max().item()
    worst[rule_name].append((error, name))
    assert error <= TOLERANCE

    totals = explanation.ledger.totals()
    scale = start.abs().flatten(1).sum(1) + wanted.abs().sum(1)
    for column, amount in zip(("bias", "stabiliser", "lost"), absorbed, strict=True):
        assert ((totals[column] - amount).abs() / scale).max() <= TOLERANCE, column
    assert (totals["remainder"].abs() / scale).max() <= TOLERANCE


def test_there_are_at_least_sixty_shapes():
    assert len(CASES) >= 60
