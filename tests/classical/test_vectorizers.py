"""Words: n-grams as the host cuts them, and relevance against slow loops over occurrences."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import SVC, LinearSVC

import relprop
from relprop.classical.vectorizers import _cutter
from relprop.errors import InvalidInput, UnsupportedOperation

DOCUMENTS = [
    "The cat sat on the mat, and the cat  slept.",
    "A dog is not a cat; a dog barks",
    "Birds fly high above the old mill",
    "the dog and the bird: Ünusual friends",
    "cat cat cat dog a I",
    "an old, old dog sat on the bird",
]
Y = np.array([0, 1, 0, 1, 1, 0])

CUTS = {
    "words": {},
    "pairs": {"ngram_range": (1, 3)},
    "only pairs": {"ngram_range": (2, 2)},
    "stop words": {"stop_words": ["the", "on", "and"], "ngram_range": (1, 2)},
    "english": {"stop_words": "english"},
    "case": {"lowercase": False, "token_pattern": r"(?u)\b\w+\b"},
    "accents": {"strip_accents": "unicode"},
    "own words": {"tokenizer": str.split, "token_pattern": None, "ngram_range": (1, 2)},
    "characters": {"analyzer": "char", "ngram_range": (1, 3)},
    "in words": {"analyzer": "char_wb", "ngram_range": (2, 4)},
    "long in words": {"analyzer": "char_wb", "ngram_range": (5, 6)},
    "own": {"analyzer": lambda text: text.lower().split(",")},
}


@pytest.mark.parametrize("cut", CUTS)
def test_ngrams_are_the_hosts(cut):
    vectorizer = CountVectorizer(**CUTS[cut])
    analyse, mine = vectorizer.build_analyzer(), _cutter(vectorizer)
    for document in DOCUMENTS:
        tokens, grams = mine(document)
        assert Counter(gram for gram, _ in grams) == Counter(analyse(document))
        assert all(0 <= i < len(tokens) for _, positions in grams for i in positions)


def by_occurrences(vectorizer, document, of_features):
    """Each occurrence of an n-gram gets its share of the feature, and each token of it the same."""
    tokens, grams = _cutter(vectorizer)(document)
    counts = Counter(gram for gram, _ in grams)
    relevance = [0.0] * len(tokens)
    for gram, positions in grams:
        if gram in vectorizer.vocabulary_:
            share = of_features[vectorizer.vocabulary_[gram]] / counts[gram] / len(positions)
            for i in positions:
                relevance[i] += share
    return relevance


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("kind", [CountVectorizer, TfidfVectorizer])
def test_tokens_share_what_their_ngrams_have(cut, kind):
    model = make_pipeline(kind(**CUTS[cut], min_df=1), LinearSVC()).fit(DOCUMENTS, Y)
    e = relprop.explain(model, DOCUMENTS)
    features = model[0].transform(DOCUMENTS).toarray() * model[-1].coef_
    for i, document in enumerate(DOCUMENTS):
        assert np.allclose(e.relevance[i], by_occurrences(model[0], document, features[i]))
        assert len(e.names[i]) == len(e.relevance[i])
    summed = np.array([one.sum() for one in e.relevance])
    assert np.allclose(summed + e.bias, model.decision_function(DOCUMENTS))
    assert e.conservation_gap.max() < 1e-12


def test_words_are_in_the_order_of_the_text_and_stop_words_get_nothing():
    model = make_pipeline(TfidfVectorizer(stop_words=["the", "on"]), LinearSVC())
    e = relprop.explain(model.fit(DOCUMENTS, Y), DOCUMENTS[:1])
    assert e.names[0] == ["the", "cat", "sat", "on", "the", "mat", "and", "the", "cat", "slept"]
    silent = [word in ("the", "on") for word in e.names[0]]
    assert np.all(e.relevance[0][silent] == 0) and np.all(e.relevance[0][np.invert(silent)] != 0)


@pytest.mark.parametrize("options", [{}, {"sublinear_tf": True}, {"norm": None}, {"norm": "l1"}])
def test_counts_then_weights_are_both_in_one(options):
    one = make_pipeline(TfidfVectorizer(**options), LinearSVC(random_state=0)).fit(DOCUMENTS, Y)
    two = make_pipeline(CountVectorizer(), TfidfTransformer(**options), LinearSVC(random_state=0))
    whole, parts = (relprop.explain(m, DOCUMENTS) for m in (one, two.fit(DOCUMENTS, Y)))
    for mine, other in zip(whole.relevance, parts.relevance, strict=True):
        assert np.allclose(mine, other)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("signs", [False, True])
def test_hashed_words_share_a_column_by_what_they_add(signs, binary):
    vectorizer = HashingVectorizer(n_features=16, alternate_sign=signs, binary=binary)
    model = make_pipeline(vectorizer, LogisticRegression(C=10)).fit(DOCUMENTS, Y)
    e = relprop.explain(model, DOCUMENTS)
    signed = HashingVectorizer(n_features=16, alternate_sign=signs, norm=None)
    features = vectorizer.transform(DOCUMENTS).toarray() * model[-1].coef_
    for i, (names, relevance) in enumerate(zip(e.names, e.relevance, strict=True)):
        alone = signed.transform(names).toarray()
        alone[[len(name) < 2 for name in names]] = 0
        total = alone.sum(0)
        shares = np.divide(alone, total, out=np.zeros_like(alone), where=total != 0)
        assert np.allclose(relevance, shares @ features[i])
    assert e.conservation_gap.max() < 1e-12


def test_words_that_are_absent_are_booked_as_lost():
    model = make_pipeline(TfidfVectorizer(), SVC(gamma=1.0)).fit(DOCUMENTS, Y)
    e = relprop.explain(model, DOCUMENTS, candidates=DOCUMENTS)
    features = model[0].transform(DOCUMENTS).toarray()
    alone = relprop.explain(model[-1], features, candidates=features)
    absent = np.where(features == 0, alone.relevance, 0).sum(1)
    assert np.abs(absent).max() > 0.01
    assert np.allclose(e.ledger[1].lost, absent)
    assert any("does not contain" in note for note in e.notes)
    assert e.conservation_gap.max() < 1e-10


def test_several_classes_have_a_map_each():
    labels = np.array(["x", "y", "z"])[[0, 1, 2, 0, 1, 2]]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(DOCUMENTS, labels)
    e = relprop.explain(model, DOCUMENTS, "all")
    assert [entry.shape for entry in e.relevance] == [(3, len(names)) for names in e.names]
    single = relprop.explain(model, DOCUMENTS, "y")
    assert np.allclose(e.relevance[4][1], single.relevance[4])


def test_texts_in_a_table_have_the_relevance_of_their_cell():
    table = pd.DataFrame({"title": DOCUMENTS, "stars": [1.0, 4, 2, 5, 3, 1]})
    columns = ColumnTransformer([("text", TfidfVectorizer(), "title")], remainder="passthrough")
    model = make_pipeline(columns, Ridge()).fit(table, Y)
    e = relprop.explain(model, table)
    w, features = model[-1].coef_, model[0].transform(table)
    features = features.toarray() if hasattr(features, "toarray") else features
    expected = np.stack([features[:, :-1] @ w[:-1], features[:, -1] * w[-1]], 1)
    assert np.allclose(e.relevance, expected) and e.names == ["title", "stars"]


def test_a_union_of_vectorizers_that_cut_alike_adds_up():
    both = make_union(CountVectorizer(), TfidfVectorizer())
    model = make_pipeline(both, LinearSVC()).fit(DOCUMENTS, Y)
    e = relprop.explain(model, DOCUMENTS)
    assert e.conservation_gap.max() < 1e-12 and e.names[4] == ["cat", "cat", "cat", "dog"]
    apart = make_union(CountVectorizer(), CountVectorizer(analyzer="char"))
    with pytest.raises(UnsupportedOperation, match="different tokens"):
        relprop.explain(make_pipeline(apart, LinearSVC()).fit(DOCUMENTS, Y), DOCUMENTS)


def test_bytes_are_decoded_and_one_text_alone_is_refused():
    model = make_pipeline(CountVectorizer(), LinearSVC()).fit(DOCUMENTS, Y)
    e = relprop.explain(model, [DOCUMENTS[3].encode()])
    assert e.names[0][-2:] == ["ünusual", "friends"]
    with pytest.raises(InvalidInput, match="give a list of texts"):
        relprop.explain(model, DOCUMENTS[0])
