"""Preset files: what is written is read back, and what can't be is refused by name."""

import json
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import relprop
from relprop import Preset, where
from relprop.errors import InvalidInput, InvalidRule
from relprop.propagation.operations.registry import KINDS
from relprop.propagation.preset_files import RULES, as_text, from_text
from relprop.propagation.presets import Site

NUMBERS = st.floats(0, 1e6)
BIAS = st.sampled_from(["absorb", "distribute", "ignore"])
PAIRS = st.tuples(st.floats(-9, 0), st.floats(0, 9))
RULE = st.one_of(
    st.builds(relprop.Epsilon, NUMBERS, relative=st.booleans(), bias=BIAS),
    st.builds(relprop.Gamma, NUMBERS, bias=BIAS),
    st.builds(
        lambda beta, redistribute: relprop.AlphaBeta(1 - beta, beta, redistribute=redistribute),
        st.floats(-9, 0),
        st.booleans(),
    ),
    st.builds(lambda pair: relprop.Box(*pair), PAIRS),
    st.lists(PAIRS, min_size=1, max_size=3).map(
        lambda pairs: relprop.Box(*(tuple(end) for end in zip(*pairs, strict=True)))
    ),
    *(st.builds(RULES[name], bias=BIAS) for name in ("ZPlus", "Flat", "WSquare", "Magnitude")),
    st.sampled_from([relprop.Box(), relprop.Pass(), relprop.Constant()]),
)
WHERE = st.builds(
    where,
    kind=st.one_of(st.none(), st.sampled_from(KINDS), st.lists(st.sampled_from(KINDS))),
    module=st.one_of(st.none(), st.text()),
    first=st.sampled_from([None, True, False]),
    last=st.sampled_from([None, True, False]),
    depth=st.one_of(st.none(), st.tuples(st.floats(0, 0.5), st.floats(0.5, 1))),
)


@given(st.lists(st.tuples(WHERE, RULE), max_size=4), st.text(min_size=1), st.text())
def test_what_is_written_is_read_back(entries, name, description):
    preset = Preset(entries, name=name, description=description)
    found = from_text(as_text(preset))
    assert found == preset
    assert (found.name, found.description) == (name, description)


def test_every_rule_can_be_kept():
    public = {getattr(relprop, name) for name in relprop.__all__}
    own = {k for k in public if isinstance(k, type) and issubclass(k, relprop.Rule)}
    assert set(RULES.values()) == own - {relprop.Rule}


@pytest.mark.parametrize("name", relprop.presets())
def test_shipped_presets_survive_a_file(name, tmp_path):
    preset = relprop.presets()[name]
    path = preset.save(tmp_path / "own.json")
    assert Preset.load(path) == preset
    assert Preset.load(str(path)).name == name
    assert json.loads(path.read_text())["format"] == "relprop-preset-1"


def test_an_entry_stands_on_a_line_of_its_own():
    text = as_text(relprop.presets()["thesis"])
    line = '    {"where": {"kind": "dense"}, "rule": "Epsilon", "parameters": {"epsilon": 0.01}},'
    assert line in text.splitlines()


def test_bounds_of_any_form_are_kept_as_numbers():
    low, high = torch.tensor([-1.0, -2.0]), [1, 2]
    ((_, rule),) = from_text(as_text(Preset([(where(), relprop.Box(low, high))]))).entries
    assert (rule.low, rule.high) == ((-1.0, -2.0), (1, 2))


def test_an_explanation_by_a_file_is_that_by_the_preset(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(108, 4)
    )
    x = torch.randn(2, 1, 8, 8)
    mine = Preset(
        [(where(first=True), relprop.WSquare()), (where(), relprop.Gamma(0.3))], name="mine"
    )
    kept = Preset.load(mine.save(tmp_path / "mine.json"))
    found = relprop.explain(model, x, rules=kept)
    assert found.preset == "mine"
    assert torch.equal(found.relevance, relprop.explain(model, x, rules=mine).relevance)


@dataclass(frozen=True)
class Mine(relprop.Epsilon):
    """A rule of the user's."""


def deep(site: Site) -> bool:
    """A predicate of the user's."""
    return site.depth > 0.5


@pytest.mark.parametrize(
    ("second", "named"),
    [((where(), Mine()), "the rule Mine"), ((deep, relprop.Flat()), "the predicate deep")],
)
def test_code_is_refused_by_name(second, named, tmp_path):
    preset = Preset([(where(first=True), relprop.Flat()), second], name="mine")
    with pytest.raises(InvalidRule, match=f"entry 2 of preset 'mine': {named}.*in Python, or use"):
        preset.save(tmp_path / "mine.json")
    assert not (tmp_path / "mine.json").exists()


def written(**entry):
    """A preset whose second entry is as given."""
    first = {"where": {}, "rule": "Flat"}
    return json.dumps({"format": "relprop-preset-1", "name": "mine", "entries": [first, entry]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", 'must be an object with "format": "relprop-preset-1"'),
        ('{"format": "relprop-preset-2"}', "a newer version may read it"),
        ('{"format": "relprop-preset-1", "name": "mine"}', "needs 'entries'"),
        ('{"format": "relprop-preset-1", "name": "", "entries": []}', "name must be a text"),
        ('{"format": "relprop-preset-1", "name": "a", "name": "b"}', "'name' stands twice"),
        ('{"format": "relprop-preset-1", "name": "a", "entries": {}}', "entries must be a list"),
        (written(rule="Flat"), "entry 2 of preset 'mine': an entry needs 'where'"),
        (written(where={}, rule="Flat", epsilon=1), "entry 2 .* has no 'epsilon'; it takes where"),
        (written(where={"kinds": "dense"}, rule="Flat"), "entry 2 .* where has no 'kinds'"),
        (written(where={"kind": "dens"}, rule="Flat"), "entry 2 .* unknown kind of operation"),
        (written(where={"depth": [0, 2]}, rule="Flat"), "entry 2 .* within 0..1"),
        (written(where=[], rule="Flat"), "entry 2 .* where must be an object"),
        (written(where={}, rule="Rule"), "entry 2 .* unknown rule 'Rule'; there are: AlphaBeta,"),
        (written(where={}, rule="Flat", parameters={"x": 1}), "entry 2 .* Flat has no 'x'"),
        (
            written(where={}, rule="Epsilon", parameters={"epsilon": -1}),
            r"entry 2 .* epsilon must be in \[0, inf\], got -1",
        ),
        (
            written(where={}, rule="Epsilon", parameters={"epsilon": float("nan")}),
            "NaN is not a number",
        ),
        (written(where={}, rule="Box", parameters={"low": 0}), "entry 2 .* give both low and high"),
    ],
)
def test_what_no_preset_holds_is_refused(text, said, tmp_path):
    path = tmp_path / "own.json"
    path.write_text(text)
    with pytest.raises(InvalidRule, match=said) as raised:
        Preset.load(path)
    assert str(raised.value).startswith(f"{path}: ")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000])
def test_what_is_no_json_is_refused(content, tmp_path):
    path = tmp_path / "own.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="own.json is not JSON"):
        Preset.load(path)


def test_files_that_are_not_there_or_are_named_otherwise(tmp_path):
    with pytest.raises(InvalidInput, match="there is no preset file"):
        Preset.load(tmp_path / "own.json")
    with pytest.raises(InvalidInput, match=r"kept in .json files, got 'own.txt'"):
        relprop.presets()["thesis"].save(tmp_path / "own.txt")
