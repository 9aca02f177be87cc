"""The interval, the test and the correction against scipy and against exact enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from sharpen.evaluation import significance
from sharpen.evaluation.significance import (
    bootstrap_t,
    group_sums,
    mean_interval,
    paired,
    randomisation_p,
    robust_t,
)


def differences(n, m=3, shift=0.05, seed=3):
    rng = np.random.default_rng(seed)
    # like differences of nDCG: many zeros, heavy tails
    return rng.choice([0.0, 0.0, -0.37, 0.5, 0.131, -0.2, 1.0, -1.0], (n, m)) + shift * rng.integers(0, 2, (n, m))


GROUPS = np.repeat([f"file {n}" for n in range(14)], [40, 25, 18, 12, 9, 7, 5, 4, 3, 2, 2, 1, 1, 1])


def studentised(sums, sizes, axis=-1):
    """Mean over rows in units of its standard error, for scipy: the definition, written out."""
    total, count = sizes.sum(axis=axis, keepdims=True), sizes.shape[axis]
    mean = sums.sum(axis=axis, keepdims=True) / total
    error = np.sqrt(((sums - mean * sizes) ** 2).sum(axis=axis, keepdims=True) * count / (count - 1)) / total
    return np.concatenate([mean, error], axis=axis)


def test_bootstrap_t_equals_scipys_resamples_of_groups():
    values = differences(len(GROUPS), m=2)
    sums, sizes = group_sums(values, GROUPS)
    low, high = bootstrap_t(sums, sizes, resamples=40_000, tail=0.05, seed=5)
    for m in range(2):
        mean, error = studentised(sums[:, m], sizes)
        drawn = stats.bootstrap(
            (sums[:, m], sizes),
            lambda s, n, axis=-1, centre=mean: (
                (studentised(s, n, axis)[..., 0] - centre) / studentised(s, n, axis)[..., 1]
            ),
            n_resamples=40_000,
            paired=True,
            method="percentile",
            vectorized=True,
            rng=np.random.default_rng(9),
        ).bootstrap_distribution
        lower, upper = np.quantile(drawn, [0.05, 0.95])
        expected = (mean - upper * error, mean - lower * error)
        assert (low[m], high[m]) == pytest.approx(expected, abs=0.04 * (expected[1] - expected[0]))


def test_bootstrap_t_equals_every_resample_of_five():
    sums, sizes = np.array([[0.0], [0.3], [-0.1], [1.0], [0.4]]), np.array([1.0, 2.0, 1.0, 3.0, 1.0])
    mean, error = studentised(sums[:, 0], sizes)
    every = []
    for draw in itertools.product(range(5), repeat=5):
        found, spread = studentised(sums[list(draw), 0], sizes[list(draw)])
        if spread > 1e-9:
            every.append((found - mean) / spread)
    lower, upper = np.quantile(every, [0.1, 0.9])
    low, high = bootstrap_t(sums, sizes, resamples=200_000, tail=0.1, seed=1)
    assert (low[0], high[0]) == pytest.approx((mean - upper * error, mean - lower * error), abs=0.02)


def test_robust_t_equals_its_definition_in_matrices():
    values = differences(len(GROUPS), m=1)
    sums, sizes = group_sums(values, GROUPS)
    n, tail = len(values), 0.025
    # CR2 by rows: residuals of a group times (I - H)^(-1/2); the variance as a quadratic form in the rows
    member = (GROUPS[:, None] == np.unique(GROUPS)[None, :]).astype(float)
    maker = np.eye(n) - np.full((n, n), 1 / n)
    form = np.zeros((n, n))
    for column in member.T:
        rows = np.flatnonzero(column)
        inner = maker[np.ix_(rows, rows)]
        weights, vectors = np.linalg.eigh(inner)
        left = np.ones(len(rows)) @ vectors @ np.diag(weights**-0.5) @ vectors.T @ maker[rows]
        form += np.outer(left, left)
    variance = values[:, 0] @ form @ values[:, 0] / n**2
    freedom = np.trace(form) ** 2 / np.trace(form @ form)
    reach = stats.t.ppf(1 - tail, freedom) * np.sqrt(variance)
    low, high = robust_t(sums, sizes, tail=tail)
    assert (low[0], high[0]) == pytest.approx((values.mean() - reach, values.mean() + reach), rel=1e-9)


def test_robust_t_of_single_queries_is_students():
    values = differences(60, m=1)
    expected = stats.ttest_1samp(values[:, 0], 0).confidence_interval(0.9)
    low, high = robust_t(*group_sums(values), tail=0.05)
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_the_interval_contains_both():
    sums, sizes = group_sums(differences(len(GROUPS)), GROUPS)
    low, high = mean_interval(sums, sizes, resamples=500, confidence_level=0.9, seed=1)
    for other in (bootstrap_t(sums, sizes, resamples=500, tail=0.05, seed=1), robust_t(sums, sizes, tail=0.05)):
        assert (low <= other[0]).all() and (high >= other[1]).all()


@pytest.mark.parametrize("groups", [None, GROUPS])
def test_interval_covers_the_true_mean_as_often_as_it_says(groups):
    rng = np.random.default_rng(0)
    values = rng.exponential(0.2, (len(GROUPS), 1000))
    if groups is not None:
        values += rng.exponential(0.1, (14, 1000))[np.unique(groups, return_inverse=True)[1]] - 0.1
    low, high = mean_interval(*group_sums(values, groups), resamples=1000, confidence_level=0.9, seed=3)
    # fourteen groups of very unequal sizes and skewed effects are hard: it stays a few hundredths below
    assert (0.84 if groups is not None else 0.88) <= ((low <= 0.2) & (high >= 0.2)).mean() <= 0.96


def test_one_group_tells_nothing():
    values = differences(20, m=1)
    (found,) = paired(np.zeros((20, 1)), values, ["a"] * 20, resamples=100, confidence_level=0.95, seed=0)
    assert (found.ci_low, found.ci_high, found.p_value, found.groups) == (-1, 1, 1, 1)


def test_p_equals_every_flip_of_ten():
    values = differences(10, m=4, shift=0.2)
    signs = np.array(list(itertools.product([-1, 1], repeat=10)))
    exact = (np.abs(signs @ values) >= np.abs(values.sum(axis=0)) - 1e-9).mean(axis=0)
    assert randomisation_p(values, flips=200_000, seed=2) == pytest.approx(exact, abs=0.005)


@pytest.mark.parametrize("grouped", [False, True])
def test_p_equals_scipy(grouped):
    values = differences(len(GROUPS), shift=0.2)
    sums, sizes = group_sums(values, GROUPS if grouped else None)
    found = randomisation_p(sums, flips=20_000, seed=4)
    for m in range(values.shape[1]):
        other = stats.permutation_test(
            (sums[:, m], np.zeros(len(sums))),
            lambda a, b, axis: np.sum(a - b, axis=axis) / sizes.sum(),
            permutation_type="samples",
            vectorized=True,
            n_resamples=20_000,
            rng=np.random.default_rng(8),
        ).pvalue
        assert found[m] == pytest.approx(other, abs=4 * np.sqrt(other * (1 - other) / 20_000) * np.sqrt(2) + 1e-4)


def test_p_is_never_zero_and_is_one_without_differences():
    values = np.stack([np.full(500, 0.5), np.zeros(500)], axis=1)
    assert randomisation_p(values, flips=999, seed=0).tolist() == [1 / 1000, 1.0]


def test_p_under_no_difference_is_uniform():
    rng = np.random.default_rng(11)
    found = randomisation_p(rng.normal(size=(40, 400)), flips=999, seed=0)
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_paired_counts_and_means():
    reference = np.array([[0.5], [0.2], [0.1], [0.3]])
    candidate = np.array([[0.7], [0.2], [0.4], [0.3 - 0.2]])
    (found,) = paired(reference, candidate, resamples=500, confidence_level=0.95, seed=0)
    assert (found.wins, found.ties, found.losses, found.queries) == (2, 1, 1, 4)
    assert found.difference == pytest.approx(found.candidate - found.reference)
    assert found.ci_low <= found.difference <= found.ci_high


def test_a_rounding_error_is_a_tie():
    (found,) = paired(np.array([[0.1 + 0.2]] * 2), np.array([[0.3]] * 2), resamples=100, confidence_level=0.95, seed=0)
    assert (found.wins, found.ties, found.losses) == (0, 2, 0)
    assert found.ci_low == found.ci_high == 0.0


def test_equal_seeds_give_equal_results_and_small_blocks_are_no_different(monkeypatch):
    values = differences(64)
    arguments = {"resamples": 300, "confidence_level": 0.95, "seed": 6}
    sums, sizes = group_sums(values)
    once, again = mean_interval(sums, sizes, **arguments), mean_interval(sums, sizes, **arguments)
    assert np.array_equal(once, again)
    p = randomisation_p(values, flips=300, seed=6)
    monkeypatch.setattr(significance, "BLOCK_ELEMENTS", 64 * 7)
    assert np.allclose(mean_interval(sums, sizes, **arguments), once)
    assert np.array_equal(randomisation_p(values, flips=300, seed=6), p)


def test_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match="equal"):
        paired(np.zeros((2, 1)), np.zeros((3, 1)), resamples=100, confidence_level=0.95, seed=0)
