"""Vectorizers backwards: from n-grams to the tokens of each document."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction import FeatureHasher, text

from .registry import handler_of
from .shared import Floats, Shared
from .walking import Walk, line, sums

_KNOWN: dict[type, str] = dict.fromkeys(
    (text.CountVectorizer, text.TfidfVectorizer, text.HashingVectorizer), "tokens"
)
_SPACES = re.compile(r"\s\s+")
Gram = tuple[str, Sequence[int]]  # an n-gram and the positions of its tokens
Place = Callable[[str], tuple[int, float] | None]  # the column of an n-gram, and its sign there


def is_vectorizer(transformer: Any) -> bool:
    """Whether it makes columns out of texts."""
    return isinstance(transformer, tuple(_KNOWN))


def walk_words(module: str, vectorizer: Any, documents: Any, relevance: Any) -> Walk:
    """Relevance `[n, V]` of n-grams to each document's tokens: a list of `[T]`, and the tokens.

    An n-gram's relevance is shared evenly over the places where it stands, and there over its
    tokens; n-grams in the same column of a HashingVectorizer share it by what each adds to it.
    Tokens that are in no n-gram (stop words) get 0. What belongs to n-grams that a document does
    not contain is lost.

    Raises UnsupportedOperation for vectorizers that take texts apart in another way.
    """
    rule = handler_of("transformer", vectorizer, _KNOWN, ("transform", "build_analyzer"))
    place, cut = _places(vectorizer), _cutter(vectorizer)
    tokens, shares, lost = [], [], np.zeros(relevance.shape[0])
    rows = sparse.csr_array(relevance)
    for i, document in enumerate(documents):
        names, grams = cut(vectorizer.decode(document))
        columns = slice(rows.indptr[i], rows.indptr[i + 1])
        of_columns = dict(zip(rows.indices[columns].tolist(), rows.data[columns], strict=True))
        share, lost[i] = _to_tokens(len(names), grams, place, of_columns)
        tokens.append(names)
        shares.append(share)
    nothing = np.zeros(len(lost))
    entry = line(
        module,
        type(vectorizer).__name__,
        rule,
        sums(relevance),
        Shared(shares, nothing, nothing, lost),
    )
    notes: tuple[str, ...] = ()
    if np.any(lost):
        notes = (
            "relevance of n-grams that a document does not contain has no place in it: it is in "
            "the ledger as lost",
        )
    return Walk(shares, (entry,), notes, tokens)


def _to_tokens(
    length: int, grams: Sequence[Gram], place: Place, of_columns: dict[int, float]
) -> tuple[Floats, float]:
    """Relevance `[T]` of one document's tokens, and what found no token."""
    standing, totals = [], dict.fromkeys(of_columns, 0.0)
    for gram, positions in grams:
        found = place(gram)
        if found is not None and found[0] in totals:
            totals[found[0]] += found[1]
            standing.append((*found, positions))
    share = [0.0] * length  # single entries of an array would be slower
    for column, sign, positions in standing:
        if totals[column]:
            part = of_columns[column] * sign / totals[column] / len(positions)
            for i in positions:
                share[i] += part
    lost = sum(amount for column, amount in of_columns.items() if not totals[column])
    return np.array(share), float(lost)


def _places(vectorizer: Any) -> Place:
    """From an n-gram to its column and its sign in it."""
    if not isinstance(vectorizer, text.HashingVectorizer):
        vocabulary = vectorizer.vocabulary_

        def listed(gram: str) -> tuple[int, float] | None:
            return (vocabulary[gram], 1.0) if gram in vocabulary else None

        return listed
    hasher = FeatureHasher(
        vectorizer.n_features, input_type="string", alternate_sign=vectorizer.alternate_sign
    )
    known: dict[str, tuple[int, float]] = {}

    def hashed(gram: str) -> tuple[int, float]:
        if gram not in known:
            row = sparse.coo_array(hasher.transform([[gram]]))
            known[gram] = int(row.col[0]), float(row.data[0])
        return known[gram]

    return hashed


def _cutter(vectorizer: Any) -> Callable[[str], tuple[list[str], list[Gram]]]:
    """A function from a text to its tokens, in order, and its n-grams."""
    low, high = vectorizer.ngram_range
    if callable(vectorizer.analyzer):

        def analysed(document: str) -> tuple[list[str], list[Gram]]:
            tokens = list(vectorizer.analyzer(document))
            return [str(token) for token in tokens], [(t, (i,)) for i, t in enumerate(tokens)]

        return analysed
    prepare = vectorizer.build_preprocessor()
    if vectorizer.analyzer == "word":
        tokenize, stops = vectorizer.build_tokenizer(), vectorizer.get_stop_words() or ()

        def words(document: str) -> tuple[list[str], list[Gram]]:
            tokens: list[str] = list(tokenize(prepare(document)))
            kept = [i for i, token in enumerate(tokens) if token not in stops]
            return tokens, list(_runs(tokens, kept, low, high, " "))

        return words
    if vectorizer.analyzer == "char":

        def characters(document: str) -> tuple[list[str], list[Gram]]:
            tokens = list(_SPACES.sub(" ", prepare(document)))
            return tokens, list(_runs(tokens, range(len(tokens)), low, high, ""))

        return characters

    def within_words(document: str) -> tuple[list[str], list[Gram]]:
        tokens: list[str] = []
        grams: list[Gram] = []
        for word in prepare(document).split():
            padded = [" ", *word, " "]
            here = range(len(tokens), len(tokens) + len(padded))
            tokens += padded
            grams += _runs(tokens, here, low, min(high, len(padded)), "")
            if len(padded) < low:  # the host counts a word that is too short once, as it is
                grams.append(("".join(padded), here))
        return tokens, grams

    return within_words


def _runs(
    tokens: Sequence[str], kept: Sequence[int], low: int, high: int, between: str
) -> Iterator[Gram]:
    """All runs of `low` to `high` of the tokens that are kept."""
    for size in range(low, high + 1):
        for begin in range(len(kept) - size + 1):
            positions = kept[begin : begin + size]
            yield between.join(tokens[i] for i in positions), positions
