"""Root search against a slow loop and against roots that are known."""

import numpy as np
import pytest

import relprop.classical.roots as home
from relprop.classical.expansion import Expansion
from relprop.classical.kernels import Rbf
from relprop.classical.roots import find_roots
from relprop.errors import NoRootFound

RNG = np.random.default_rng(2)


def roots_of(function, X, candidates):
    def along(of, to, t):
        return function(X[of] + t[:, None] * (candidates[to] - X[of]))

    return find_roots(along, X, candidates, function(X), function(candidates))


def slow_root(function, x, candidates):
    """Thesis 2.4.2, one candidate after the other, each to its end."""
    side = np.sign(function(x[None])[0])
    others = [c for c in candidates if function(c[None])[0] * side < 0]
    others.sort(key=lambda c: np.linalg.norm(c - x))
    found = []
    for candidate in others[:50]:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            value = function((x + middle * (candidate - x))[None])[0]
            if abs(value) <= 1e-5:
                break
            low, high = (middle, high) if value * side > 0 else (low, middle)
        found.append(x + middle * (candidate - x))
    return min(found, key=lambda root: np.linalg.norm(root - x))


def machine(m=150, d=4):
    """With half of its vectors on either side."""
    vectors, weights, kernel = RNG.normal(size=(m, d)), RNG.normal(size=m), Rbf(gamma=0.5)
    return Expansion(kernel, vectors, weights, -np.median(kernel(vectors) @ weights))


def test_nearest_of_all_roots_by_a_loop():
    f, X = machine(), RNG.normal(size=(12, 4))
    slow = [slow_root(f.score, x, f.vectors) for x in X]
    roots = roots_of(f.score, X, f.vectors)
    np.testing.assert_allclose(roots, slow, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(f.decompose(X)[1].roots, slow, rtol=1e-9, atol=1e-9)


def test_a_plane_is_hit_exactly():
    normal = np.array([0.6, -0.8, 0.0])
    X, candidates = RNG.normal(size=(20, 3)), 5 * RNG.normal(size=(40, 3))
    roots = roots_of(lambda points: points @ normal, X, candidates)
    assert np.abs(roots @ normal).max() <= 1e-5
    distances = np.linalg.norm(roots - X, axis=1)
    assert (distances >= np.abs(X @ normal) - 1e-5).all()  # none is nearer than the plane


def test_a_step_too_steep_for_the_tolerance():
    X, candidates = np.array([[0.0]]), np.array([[1.0]])
    root = roots_of(lambda points: 1e20 * (points[:, 0] - 1 / 3), X, candidates)
    assert root[0, 0] == pytest.approx(1 / 3, abs=1e-15)


def test_a_sample_on_the_boundary_is_its_own_root():
    X = np.array([[1e-6, 3.0], [2.0, 0.0]])
    roots = roots_of(lambda points: points[:, 0], X, np.array([[-2.0, 0.0]]))
    np.testing.assert_array_equal(roots[0], X[0])
    np.testing.assert_allclose(roots[1], [0, 0], atol=1e-5)
    lonely = roots_of(lambda points: points[:, 0], X[:1], np.array([[5.0, 5.0]]))
    np.testing.assert_array_equal(lonely, X[:1])  # and needs no other side


def test_no_more_than_fifty_candidates_the_nearest(monkeypatch):
    f, X = machine(), RNG.normal(size=(6, 4))
    monkeypatch.setattr(home, "CANDIDATES", 1)
    roots = roots_of(f.score, X, f.vectors)
    for x, root in zip(X, roots, strict=True):
        others = f.vectors[f.score(f.vectors) * f.score(x[None]) < 0]
        nearest = others[np.argmin(np.linalg.norm(others - x, axis=1))]
        along = (root - x) @ (nearest - x) / np.linalg.norm(root - x)
        assert along == pytest.approx(np.linalg.norm(nearest - x), rel=1e-9)


def test_parts_do_not_change_it(monkeypatch):
    f, X = machine(), RNG.normal(size=(9, 4))
    whole = roots_of(f.score, X, f.vectors)
    monkeypatch.setattr(home, "PAIRS", 60)
    np.testing.assert_array_equal(roots_of(f.score, X, f.vectors), whole)


def test_far_segments_are_given_up():
    f, X = machine(), RNG.normal(size=(8, 4))
    calls = []

    def along(of, to, t):
        calls.append(len(of))
        return f.score(X[of] + t[:, None] * (f.vectors[to] - X[of]))

    find_roots(along, X, f.vectors, f.score(X), f.score(f.vectors))
    assert calls[0] == 8 * 50
    assert sum(calls) < 8 * 50 * 5  # where all of them to the end would take some 17 halvings


@pytest.mark.parametrize(("sign", "side"), [(1, "below"), (-1, "above")])
def test_no_root_says_what_to_pass(sign, side):
    X = np.array([[0.0, 0.0], [2.0, 1.0], [3.0, 1.0]])
    says = f"2 of 3 samples have no root: sample 1 has f = {2 * sign}, and none of the 1 candidates"
    with pytest.raises(NoRootFound, match=says) as caught:
        roots_of(lambda points: sign * points[:, 0], X, np.array([[4.0, 0.0]]))
    assert f"candidates= with samples for which f is {side} 0, or root=" in str(caught.value)
    with pytest.raises(NoRootFound, match="none of the 0 candidates"):
        roots_of(lambda points: sign * points[:, 0], X, np.empty((0, 2)))
