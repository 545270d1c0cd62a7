import numpy as np
import pytest
from PIL import Image

from relprop import models
from relprop.app.demo import case, photographs, run
from relprop.app.demo.digits import explain_digits
from relprop.data import sample_digits
from relprop.errors import RelpropError
from relprop.models import LeNet5


@pytest.fixture
def small(monkeypatch):
    """The photographs' part on two digits with LeNet-5 in the networks' place."""
    digits = dict(zip(("a", "b"), sample_digits()[0], strict=False))
    monkeypatch.setattr(photographs, "PHOTOGRAPHS", tuple(digits))
    monkeypatch.setattr(photographs, "photograph", digits.__getitem__)
    monkeypatch.setattr(photographs.models, "load", lambda name: LeNet5().eval())


def test_digits_are_recognised_and_drawn(tmp_path, capsys):
    html = explain_digits(tmp_path)
    printed = capsys.readouterr().out
    for digit in range(10):
        assert f"digit {digit}: predicted {digit}\n" in printed
    assert printed.count("= input relevance") == 10 and "100 maps in " in printed
    each, jointly = (
        np.asarray(Image.open(tmp_path / f"digits-{n}.png")) for n in ("each", "jointly")
    )
    assert each.shape == jointly.shape and each.shape[1] > 11 * 64
    paler = np.abs(255 - jointly.astype(int)).sum() < np.abs(255 - each.astype(int)).sum()
    assert paler and html.count("<img") == 2 and html.count("<tr>") == 11


@pytest.mark.usefixtures("small")
def test_the_whole_of_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run, "explain_digits", lambda out: "digits' part")
    report = run.run_demo(tmp_path / "out")
    printed = capsys.readouterr().out
    assert report == tmp_path / "out" / "report.html" and f"wrote {report}" in printed
    count = 2 * 2 * len(photographs.PRESETS)
    assert printed.count("= input relevance") == count and "Next:" in printed
    for network in photographs.NETWORKS:
        assert (tmp_path / "out" / f"{network}.png").exists()
        names = {path.name for path in (tmp_path / "out" / network).iterdir()}
        assert {"a-epsilon.png", "b-thesis.png", "a-overlay.png", "b-alpha.png"} <= names
        assert len(names) == 2 * (len(photographs.PRESETS) + 2)
    html = report.read_text(encoding="utf-8")
    assert html.count("<img") == 2 * 2 * (len(photographs.PRESETS) + 3)
    assert "digits&#x27; part" in html and "What to try next" in html and "Left out" not in html


def test_without_the_weights_it_says_so_and_goes_on(tmp_path, capsys, monkeypatch):
    def offline(name):
        raise RelpropError(f"the weights of {name} could not be fetched: <no network>")

    monkeypatch.setattr(photographs.models, "load", offline)
    monkeypatch.setattr(run, "explain_digits", lambda out: "digits")
    report = run.run_demo(tmp_path)
    printed = capsys.readouterr().out
    assert "left out: the weights of squeezenet could not be fetched: <no network>" in printed
    html = report.read_text(encoding="utf-8")
    assert "Left out" in html and "could not be fetched: &lt;no network&gt;" in html


def test_networks_and_presets_of_the_demo_exist():
    import relprop

    assert set(photographs.NETWORKS) <= set(models.names(pretrained=True))
    assert set(photographs.PRESETS) <= set(relprop.presets())
    assert len(photographs.PHOTOGRAPHS) >= 6


def test_warnings_that_differ_in_figures_only_are_one():
    cases = [case.Case(None, 1.0, (f"absorbed {n}.5% of 1 map",)) for n in (91, 99)]
    cases.append(case.Case(None, 1.0, ("another",)))
    assert case.all_warnings(cases) == [
        "absorbed 99.5% of 1 map (the worst of 2 such)",
        "another",
    ]
