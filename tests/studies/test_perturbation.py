"""The study of region perturbation, on a handful of digits."""

import pytest

import relprop
from relprop import data
from studies import every_method, perturbation


@pytest.fixture
def digits(monkeypatch):
    images, labels = data.sample_digits()
    monkeypatch.setattr(data, "load_mnist", lambda split: (images, labels))
    monkeypatch.setattr(every_method, "load_mnist", lambda split: (images, labels))


def test_every_method_is_compared_or_left_out_with_a_reason(digits):
    methods = every_method.every_method(relprop.models.load("lenet5"), "mnist")
    named = {method[0] if isinstance(method, tuple) else method for method in methods.values()}
    assert {*named} >= set(relprop.methods.METHODS) - set(every_method.LEFT_OUT)
    assert set(every_method.LEFT_OUT) <= set(relprop.methods.METHODS)


def test_a_run_writes_its_table_and_goes_on(digits, monkeypatch, tmp_path):
    few = perturbation.Run("mnist", lambda *_: every_method.few_methods(), ("uniform", "mean"), 1)
    monkeypatch.setitem(perturbation.RUNS, "lenet5", few)
    first = perturbation.compare("lenet5", images=4, out=tmp_path)
    again = perturbation.compare("lenet5", images=4, out=tmp_path)
    assert again.rows == first.rows and (tmp_path / "table.csv").exists()
    rows = perturbation.paired(first)
    assert len(rows) == 2 * sum(label.startswith("lrp") for label in first.labels)
    best = next(row for row in rows if row["method"] == "lrp:epsilon-gamma-flat")
    assert best["random map low"] > 0
    perturbation.draw(first, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_missing_weights_are_asked_for(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="python -m studies.train_cifar10 --lrn"):
        perturbation.compare("cifar10-vgg-lrn", images=2, out=tmp_path)
