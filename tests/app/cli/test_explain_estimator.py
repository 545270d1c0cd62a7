"""`relprop explain --data`: a table, a scikit-learn model by name or from a .skops file."""

import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

import relprop
from relprop import viz
from relprop.classical import BagOfWords, DenseSift

X, Y = load_iris(return_X_y=True, as_frame=True)
X = X[::10]
LABELS = np.array(["fern", "moss", "reed"])[Y[::10]]
MODEL = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, LABELS)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "flowers.csv"
    X[X.columns[::-1]].assign(label=LABELS).to_csv(path, index=False)
    return path


@pytest.fixture
def house(monkeypatch):
    """A module of the user's with models in it."""
    module = ModuleType("house")
    module.model, module.number = MODEL, 3
    module.build = lambda: Ridge().fit(X, Y[::10])
    module.pairs = SVC(kernel="linear").fit(X, LABELS)
    monkeypatch.setitem(sys.modules, "house", module)


@pytest.fixture
def skops(monkeypatch, tmp_path):
    """A stand-in for skops.io that knows one file and the types inside."""
    io = ModuleType("skops.io")
    io.types = ["relprop.classical.machines.KernelSVC"]
    io.trusted, io.model = None, MODEL

    def load(file, trusted):
        io.trusted = trusted
        return io.model

    io.get_untrusted_types, io.load = lambda file: io.types, load
    monkeypatch.setitem(sys.modules, "skops", ModuleType("skops"))
    monkeypatch.setitem(sys.modules, "skops.io", io)
    (tmp_path / "model.skops").write_bytes(b"")
    return io


@pytest.mark.usefixtures("house")
def test_a_table_and_what_is_written(relprop_command, table, tmp_path):
    ended = relprop_command(
        "explain", "--model", "house:model", "--data", table, "--target", "moss", "--out", "out"
    )
    assert ended.code == 0, ended.err
    assert f"{table}: 15 rows, 4 columns" in ended.out and " = relevance " in ended.out
    expected = relprop.explain(MODEL, X, "moss")
    written = pd.read_csv(tmp_path / "out" / "flowers-relevance.csv")
    assert list(written.columns[4:]) == list(X.columns)
    np.testing.assert_allclose(written[X.columns], expected.relevance)
    figures = written[["(bias)", "(stabiliser)", "(lost)"]].sum(axis=1)
    np.testing.assert_allclose(written["(explained)"], figures + expected.relevance.sum(1))
    stored = relprop.Explanation.load(tmp_path / "out" / "flowers.npz")
    np.testing.assert_allclose(stored.relevance, expected.relevance)


@pytest.mark.usefixtures("house")
def test_all_targets_pairs_and_values(relprop_command, table, tmp_path):
    common = ("explain", "--data", table, "--out", "out", "--model")
    assert relprop_command(*common, "house:model", "--target", "all").code == 0
    written = pd.read_csv(tmp_path / "out" / "flowers-relevance.csv")
    assert written["(target)"].tolist() == [0, 1, 2] * 15
    expected = relprop.explain(MODEL, X, "all").relevance.reshape(-1, 4)
    np.testing.assert_allclose(written[X.columns], expected)
    assert relprop_command(*common, "house:pairs", "--target", "fern,reed").code == 0
    assert "one against one" in relprop_command(*common, "house:pairs").err
    assert relprop_command(*common, "house:build").code == 0
    assert "give a class, or two" in relprop_command(*common, "house:model", "--target", "oak").err


def test_a_file_of_skops(relprop_command, table, skops):
    common = ("explain", "--data", table, "--model", "model.skops")
    ended = relprop_command(*common)
    assert ended.code == 0, ended.err
    assert skops.trusted == ["relprop.classical.machines.KernelSVC"]
    skops.types = [*skops.types, "os.system"]
    skops.trusted = None
    ended = relprop_command(*common)
    assert ended.code == 1 and "run code while they are loaded: os.system" in ended.err
    assert skops.trusted is None
    assert "no file other.skops" in relprop_command(*common[:-1], "other.skops").err


def test_without_skops_the_error_says_so(relprop_command, table, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops", None)
    (tmp_path / "model.skops").write_bytes(b"")
    ended = relprop_command("explain", "--data", table, "--model", "model.skops")
    assert ended.code == 1 and "pip install skops" in ended.err


@pytest.mark.usefixtures("house")
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("model.pkl", "a pickle can run any code"),
        ("model.joblib", "a pickle can run any code"),
        ("lenet5", "there is no model 'lenet5' for a table"),
        ("house:number", "gave no scikit-learn model, but 3"),
        ("no_such_house:model", "there is no module no_such_house"),
    ],
)
def test_models_that_are_none(model, message, relprop_command, table):
    ended = relprop_command("explain", "--data", table, "--model", model)
    assert ended.code == 1 and message in ended.err


@pytest.mark.usefixtures("house")
def test_tables_that_do_not_fit(relprop_command, tmp_path, photo):
    common = ("explain", "--model", "house:model", "--data")
    assert "no file none.csv" in relprop_command(*common, "none.csv").err
    (tmp_path / "few.csv").write_text("a,b\n1,2\n")
    assert "no column 'sepal length (cm)'" in relprop_command(*common, "few.csv").err
    (tmp_path / "empty.csv").write_text("")
    assert "is not a table" in relprop_command(*common, "empty.csv").err
    assert relprop_command(*common, "few.csv", "--image", photo).code == 2
    ended = relprop_command("coverage", "--model", "m.skops")
    assert ended.code == 1 and "here only networks are understood" in ended.err


def test_pictures_under_a_model_of_pictures(relprop_command, photo, skops, tmp_path):
    bags = BagOfWords(DenseSift(step=6, bin_sizes=(4,)), n_words=5, random_state=0)
    pictures = [np.asarray(Image.open(photo)), np.full((40, 50, 3), 90, dtype=np.uint8)]
    model = make_pipeline(bags, LinearSVC()).fit(pictures, ["slope", "flat"])
    skops.model = model
    ended = relprop_command(
        *("explain", "--model", "model.skops", "--image", photo, "--overlay", "--out", "out"),
        *("--target", "flat"),
    )
    assert ended.code == 0, ended.err
    expected = relprop.explain(model, pictures[:1], "flat")
    stored = relprop.Explanation.load(tmp_path / "out" / "photo.npz")
    np.testing.assert_allclose(stored.relevance[0], expected.relevance[0])
    drawn = np.asarray(Image.open(tmp_path / "out" / "photo.png"))
    colours = viz.colourise(expected.heatmap()[0], "seismic")
    np.testing.assert_array_equal(drawn, viz.enlarge(colours, 4))
    assert (tmp_path / "out" / "photo-overlay.png").exists()
    ended = relprop_command(
        *("explain", "--model", "model.skops", "--image", photo, "--target", "all")
    )
    assert ended.code == 1 and "name a class" in ended.err
