"""Inlierness, outlierness and the soft-min form."""

import numpy as np
import pytest
import torch
from sklearn.svm import OneClassSVM

from relprop.classical import (
    ChiSquared,
    Expansion,
    HistogramIntersection,
    KernelOneClass,
    KernelSVC,
    KernelSVDD,
    Linear,
    Rbf,
    inlierness,
    outlierness,
    soft_min_outlierness,
)
from relprop.errors import NoRootFound, UnsupportedOperation

RNG = np.random.default_rng(6)
X, NEW = RNG.random((40, 4)), RNG.random((20, 4))
FAR = NEW + np.array([0, 0, 3.0, 0])
MACHINES = [KernelOneClass, KernelSVDD]


@pytest.mark.parametrize("machine", MACHINES)
def test_they_share_the_decision_and_its_negative(machine):
    fitted = machine(HistogramIntersection(), nu=0.2).fit(X)
    for shares, sign in ((inlierness, 1), (outlierness, -1)):
        shared, notes = shares(fitted, NEW)
        assert notes.way == "exact"
        total = shared.relevance.sum(1) + shared.bias
        np.testing.assert_allclose(
            total, sign * fitted.decision_function(NEW), rtol=1e-10, atol=1e-12
        )


def test_biases_are_rho_and_the_squared_radius():
    one = KernelOneClass(HistogramIntersection(), nu=0.2).fit(X)
    ball = KernelSVDD(HistogramIntersection(), nu=0.2).fit(X)
    assert (inlierness(one, NEW)[0].bias == -one.offset_[0]).all()
    assert (outlierness(ball, NEW)[0].bias == -ball.squared_radius_).all()


def test_one_class_shares_by_a_loop():
    fitted = KernelOneClass(HistogramIntersection(), nu=0.2).fit(X)
    alpha = fitted.machine_.dual_coef_[0]
    slow = np.zeros_like(NEW)
    for n, x in enumerate(NEW):
        for weight, y in zip(alpha, fitted.support_vectors_, strict=True):
            slow[n] += [weight * min(a, b) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(inlierness(fitted, NEW)[0].relevance, slow, rtol=1e-12)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_feature_that_is_off_speaks_for_the_outlier(machine):
    fitted = machine(Rbf(gamma=1.0), nu=0.1).fit(X)
    inside = X[fitted.decision_function(X) > 0]
    shared, notes = outlierness(fitted, FAR, candidates=inside)
    assert notes.way == "Taylor"
    assert (shared.relevance.argmax(1) == 2).mean() > 0.9
    total = shared.relevance.sum(1) + shared.lost
    np.testing.assert_allclose(total, -fitted.decision_function(FAR), rtol=1e-9)
    with pytest.raises(NoRootFound, match="pass candidates="):
        inlierness(fitted, FAR, candidates=FAR)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("kernel", [Rbf(gamma=1.3), ChiSquared(gamma=0.8)], ids=repr)
def test_soft_min_by_a_loop(kernel, machine):
    fitted = machine(kernel, nu=0.3).fit(X)
    score, shared = soft_min_outlierness(fitted, FAR)
    alpha = fitted.expansions_[0].weights / fitted.expansions_[0].weights.sum()
    for x, o, relevance in zip(FAR, score, shared.relevance, strict=True):
        parts = (x - fitted.support_vectors_) ** 2
        if isinstance(kernel, ChiSquared):
            parts /= x + fitted.support_vectors_
        likeness = alpha * np.exp(-kernel.gamma * parts.sum(1))
        assert o == pytest.approx(-np.log(likeness.sum()), rel=1e-12)
        soft_min = likeness / likeness.sum()
        by_feature = parts / parts.sum(1, keepdims=True)
        np.testing.assert_allclose(relevance, o * soft_min @ by_feature, rtol=1e-9, atol=1e-13)
    assert (score > 0).all()
    np.testing.assert_allclose(shared.relevance.sum(1), score, rtol=1e-10)
    assert (shared.relevance.argmax(1) == 2).all()


def test_soft_min_weights_are_the_gradient_of_the_score():
    """do/dx = sum_i p_i gamma d||x - y_i||^2/dx: the soft-min by which the score is shared."""
    fitted = KernelOneClass(Rbf(gamma=1.3), nu=0.3).fit(X)
    vectors = torch.tensor(fitted.support_vectors_)
    alpha = torch.tensor(fitted.machine_.dual_coef_[0])
    costs = (1.3 * ((torch.tensor(FAR)[:, None] - vectors) ** 2).sum(2)).requires_grad_()
    score = -torch.logsumexp((alpha / alpha.sum()).log() - costs, 1)
    (shares,) = torch.autograd.grad(score.sum(), costs)
    by_feature = (torch.tensor(FAR)[:, None] - vectors) ** 2 * 1.3 / costs.detach()[..., None]
    expected = score[:, None] * (shares[..., None] * by_feature).sum(1)
    ours, shared = soft_min_outlierness(fitted, FAR)
    np.testing.assert_allclose(ours, score.detach(), rtol=1e-12)
    np.testing.assert_allclose(shared.relevance, expected.detach(), rtol=1e-9)


def test_soft_min_far_away_does_not_underflow():
    fitted = KernelOneClass(Rbf(gamma=1.3), nu=0.3).fit(X)
    away = NEW + 1e3
    score, shared = soft_min_outlierness(fitted, away)
    assert fitted.score_samples(away).max() == pytest.approx(0, abs=1e-300)  # k is 0 there
    assert np.isfinite(score).all()
    np.testing.assert_allclose(shared.relevance.sum(1), score, rtol=1e-10)


def test_at_a_support_vector_its_own_share_is_lost():
    fitted = KernelOneClass(Rbf(gamma=1.3), nu=0.3).fit(X)
    score, shared = soft_min_outlierness(fitted, fitted.support_vectors_)
    assert (shared.lost > 0).all()
    np.testing.assert_allclose(shared.relevance.sum(1) + shared.lost, score, rtol=1e-10)
    single = Expansion(Rbf(gamma=1.0), X[:1], np.ones(1))
    score, shared = soft_min_outlierness(single, X[:1])
    assert score[0] == shared.lost[0] == 0


def test_refusals():
    with pytest.raises(UnsupportedOperation, match="Linear is no kernel of a distance"):
        soft_min_outlierness(KernelOneClass(Linear()).fit(X), NEW)
    with pytest.raises(UnsupportedOperation, match="needs weights above 0"):
        soft_min_outlierness(KernelSVC(Rbf()).fit(X, X[:, 0] > 0.5).expansions_[0], NEW)
    with pytest.raises(
        UnsupportedOperation, match="OneClassSVM is no one-class machine of relprop"
    ):
        inlierness(OneClassSVM().fit(X), NEW)
    with pytest.raises(UnsupportedOperation, match="KernelSVC is no one-class machine"):
        outlierness(KernelSVC().fit(X, X[:, 0] > 0.5), NEW)
    with pytest.raises(ValueError, match="not fitted"):
        inlierness(KernelOneClass(), NEW)
