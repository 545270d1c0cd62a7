"""Explanations of classical models on disk, in a notebook, and for shap."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

import relprop
from relprop.classical import Shared
from relprop.errors import InvalidInput

X, Y = load_iris(return_X_y=True, as_frame=True)
X, LABELS = X[::10], np.array(["a", "b", "c"])[Y[::10]]
DOCUMENTS = ["the cat <sat>", "a dog barks loudly", "dog and cat"]
SCALED = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, LABELS)
WORDS = make_pipeline(TfidfVectorizer(), LinearSVC()).fit(DOCUMENTS, [0, 1, 1])


class Total(TransformerMixin, BaseEstimator):
    """A picture's sum of each half, as a feature extractor of ours would hand it back."""

    def fit(self, pictures, y=None):
        return self

    def transform(self, pictures):
        return np.array([[one[:, :2].sum(), one[:, 2:].sum()] for one in pictures])

    def redistribute(self, pictures, relevance):
        maps = []
        for one, (left, right) in zip(pictures, relevance, strict=True):
            sums = one[:, :2].sum(), one[:, 2:].sum()
            maps.append(
                np.concatenate([one[:, :2] * left / sums[0], one[:, 2:] * right / sums[1]], 1)
            )
        nothing = np.zeros(len(maps))
        return Shared(maps, nothing, nothing, nothing)


def pictures(*sides):
    rng = np.random.default_rng(0)
    return [rng.random((side, 4)) + 0.1 for side in sides]


def of_pictures(*sides, target=None):
    given = pictures(*sides)
    model = make_pipeline(Total(), Ridge()).fit(given, np.arange(len(given)))
    return relprop.explain(model, given, target)


def explanations():
    pairs = SVC(kernel="linear").fit(X.to_numpy(), LABELS)
    thin = sparse.csr_array(np.maximum(X - 3, 0))
    return {
        "table": relprop.explain(SCALED, X),
        "all": relprop.explain(SCALED, X, "all"),
        "margin": relprop.explain(SCALED, X, [1.0, -1.0, 0.0]),
        "pair": relprop.explain(pairs, X.to_numpy(), ("b", "c")),
        "sparse": relprop.explain(LogisticRegression().fit(thin, LABELS), thin),
        "words": relprop.explain(WORDS, DOCUMENTS),
        "pictures": of_pictures(3, 5, 4),
    }


def same(mine, other):
    if isinstance(mine, list):
        return len(mine) == len(other) and all(map(same, mine, other))
    if sparse.issparse(mine):
        return type(mine) is type(other) and (mine != other).nnz == 0
    return type(mine) is type(other) and np.array_equal(mine, other)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("name", explanations())
def test_what_was_saved_comes_back(name, suffix, tmp_path):
    e = explanations()[name]
    back = relprop.Explanation.load(e.save(tmp_path / f"e{suffix}"))
    assert same(e.relevance, back.relevance) and same(e.output, back.output)
    assert same(e.bias, back.bias) and same(e.conservation_gap, back.conservation_gap)
    assert same(e.target, back.target)
    assert (back.names, back.notes, back.method) == (e.names, e.notes, "lrp")
    assert [row.module for row in back.ledger] == [row.module for row in e.ledger]
    assert repr(back) == repr(e)


def test_figures_are_numpy():
    e = relprop.explain(SCALED, X)
    for figure in (e.relevance, e.output, e.bias, e.conservation_gap, *e.totals().values()):
        assert isinstance(figure, np.ndarray) and figure.dtype == np.float64
    assert e.relevance.shape == (15, 4) and e.bias.shape == (15,)
    assert list(e.ledger.to_frame()["operation"]) == ["LogisticRegression", "StandardScaler"]


def test_repr_says_what_it_is():
    assert "relevance (15, 4): output" in repr(relprop.explain(SCALED, X))


@pytest.mark.parametrize(("name", "kind"), [("table", "columns of a table"), ("words", "words")])
def test_what_is_no_picture_has_no_heatmap(name, kind):
    with pytest.raises(InvalidInput, match=f"{kind}, which are no picture"):
        explanations()[name].heatmap()


def test_pictures_of_one_size_are_one_array():
    e = of_pictures(3, 3)
    assert e.heatmap().shape == (2, 3, 4)
    for mine, one in zip(e.heatmap(), e.relevance, strict=True):
        assert np.allclose(mine, one / np.abs(one).max())
    largest = max(np.abs(one).max() for one in e.relevance)
    assert np.allclose(e.heatmap(joint=True), np.stack(e.relevance) / largest)


def test_pictures_of_several_sizes_are_a_list():
    e = of_pictures(3, 5)
    assert [entry.shape for entry in e.heatmap()] == [(3, 4), (5, 4)]
    assert all(np.abs(entry).max() == 1 for entry in e.heatmap())
    joint = e.heatmap(joint=True)
    assert max(np.abs(entry).max() for entry in joint) == 1
    assert np.allclose(joint[1] / joint[1].max(), e.relevance[1] / e.relevance[1].max())


def test_a_notebook_shows_columns_words_and_pictures():
    table = explanations()["table"]._repr_html_()
    assert "petal length (cm)" in table and "output" in table
    words = explanations()["words"]._repr_html_()
    assert words.count("<p ") == 3 and ">dog</span>" in words and "<sat>" not in words
    assert "x3</span>" in explanations()["sparse"]._repr_html_()
    assert of_pictures(3, 3)._repr_html_().count("<img") == 1
    assert of_pictures(3, 5)._repr_html_().count("<img") == 2
    assert "conservation" not in explanations()["all"]._repr_html_()


@pytest.fixture
def shap(monkeypatch):
    """A stand-in that keeps what it is given, as shap.Explanation does."""
    module = ModuleType("shap")
    module.Explanation = lambda values, **fields: SimpleNamespace(values=values, **fields)
    monkeypatch.setitem(sys.modules, "shap", module)


@pytest.mark.usefixtures("shap")
def test_for_shap_base_values_and_values_sum_to_the_output():
    e = relprop.explain(SCALED, X)
    found = e.to_shap(X)
    assert found.feature_names == list(X.columns) and np.array_equal(found.data, X.to_numpy())
    assert np.allclose(found.base_values + found.values.sum(1), e.output.max(1))
    everything = relprop.explain(SCALED, X, "all")
    several = everything.to_shap(X)
    assert several.values.shape == (15, 4, 3) and several.base_values.shape == (15, 3)
    assert np.allclose(several.base_values + several.values.sum(1), everything.output)


@pytest.mark.usefixtures("shap")
def test_for_shap_documents_bring_their_tokens():
    e = relprop.explain(WORDS, DOCUMENTS)
    found = e.to_shap()
    assert list(found.data[1]) == ["dog", "barks", "loudly"]
    assert np.allclose(found.base_values + [one.sum() for one in found.values], e.output)
    with pytest.raises(InvalidInput, match="several targets"):
        relprop.explain(WORDS, DOCUMENTS, "all").to_shap()


@pytest.mark.filterwarnings("ignore:biases and stabilisers absorbed")
@pytest.mark.usefixtures("shap")
def test_for_shap_networks_and_sparse_tables_too():
    sparse_one = explanations()["sparse"]
    assert np.array_equal(sparse_one.to_shap().values, sparse_one.relevance.toarray())
    net = torch.nn.Linear(3, 2).eval()
    inputs = torch.ones(4, 3)
    e = relprop.explain(net, inputs, 1)
    found = e.to_shap(inputs)
    assert np.allclose(found.base_values + found.values.sum(1), net(inputs)[:, 1].detach())


def test_without_shap_the_error_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(ImportError, match="pip install shap"):
        relprop.explain(SCALED, X).to_shap()
