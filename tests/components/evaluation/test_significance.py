"""The interval, the test and the correction against scipy and against exact enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from components.evaluation import significance
from components.evaluation.significance import bootstrap_interval, holm, paired, randomisation_p


def differences(n, m=3, shift=0.05, seed=3):
    rng = np.random.default_rng(seed)
    # like differences of nDCG: many zeros, heavy tails
    return rng.choice([0.0, 0.0, -0.37, 0.5, 0.131, -0.2, 1.0, -1.0], (n, m)) + shift * rng.integers(0, 2, (n, m))


def test_interval_equals_every_resample_of_four():
    values = np.array([[0.0], [0.3], [-0.1], [1.0]])
    every = [np.mean(draw) for draw in itertools.product(values[:, 0], repeat=4)]
    exact = np.quantile(every, [0.025, 0.975])
    low, high = bootstrap_interval(values, resamples=200_000, confidence_level=0.95, seed=1)
    assert (low[0], high[0]) == pytest.approx(tuple(exact), abs=0.011)


def test_interval_equals_scipy():
    values = differences(150)
    low, high = bootstrap_interval(values, resamples=20_000, confidence_level=0.9, seed=5)
    for m in range(values.shape[1]):
        other = stats.bootstrap(
            (values[:, m],),
            np.mean,
            n_resamples=20_000,
            confidence_level=0.9,
            method="percentile",
            rng=np.random.default_rng(9),
        ).confidence_interval
        width = other.high - other.low
        assert (low[m], high[m]) == pytest.approx((other.low, other.high), abs=0.03 * width)


def test_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        low, high = bootstrap_interval(rng.normal(0.2, 1, (80, 1)), resamples=400, confidence_level=0.9, seed=trial)
        covered += low[0] <= 0.2 <= high[0]
    assert 0.83 <= covered / 200 <= 0.96


def test_p_equals_every_flip_of_ten():
    values = differences(10, m=4, shift=0.2)
    signs = np.array(list(itertools.product([-1, 1], repeat=10)))
    exact = (np.abs(signs @ values) >= np.abs(values.sum(axis=0)) - 1e-9).mean(axis=0)
    assert randomisation_p(values, flips=200_000, seed=2) == pytest.approx(exact, abs=0.005)


def test_p_equals_scipy():
    values = differences(120, shift=0.2)
    found = randomisation_p(values, flips=20_000, seed=4)
    for m in range(values.shape[1]):
        other = stats.permutation_test(
            (values[:, m], np.zeros(len(values))),
            lambda a, b, axis: np.mean(a - b, axis=axis),
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


def test_holm_by_its_definition():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_paired_counts_and_means():
    reference = np.array([[0.5], [0.2], [0.1], [0.3]])
    candidate = np.array([[0.7], [0.2], [0.4], [0.3 - 0.2]])
    (found,) = paired(reference, candidate, resamples=500, confidence_level=0.95, seed=0)
    assert (found.wins, found.ties, found.losses, found.queries) == (2, 1, 1, 4)
    assert found.difference == pytest.approx(found.candidate - found.reference)
    assert found.ci_low <= found.difference <= found.ci_high


def test_a_rounding_error_is_a_tie():
    (found,) = paired(np.array([[0.1 + 0.2]]), np.array([[0.3]]), resamples=100, confidence_level=0.95, seed=0)
    assert (found.wins, found.ties, found.losses) == (0, 1, 0)
    assert found.ci_low == found.ci_high == 0.0


def test_equal_seeds_give_equal_results_and_small_blocks_are_no_different(monkeypatch):
    values = differences(64)
    arguments = {"resamples": 300, "confidence_level": 0.95, "seed": 6}
    once, again = bootstrap_interval(values, **arguments), bootstrap_interval(values, **arguments)
    assert np.array_equal(once, again)
    p = randomisation_p(values, flips=300, seed=6)
    monkeypatch.setattr(significance, "BLOCK_ELEMENTS", 64 * 7)
    assert np.allclose(bootstrap_interval(values, **arguments), once)
    assert np.array_equal(randomisation_p(values, flips=300, seed=6), p)


def test_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match="equal"):
        paired(np.zeros((2, 1)), np.zeros((3, 1)), resamples=100, confidence_level=0.95, seed=0)
