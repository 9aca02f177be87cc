"""Is one model better than another on the same queries? Paired differences, their interval, and a test.

- Interval: percentile bootstrap of the mean difference over queries (Efron & Tibshirani 1993, chapter 13; for
  retrieval: Sakai, SIGIR 2006).
- Test: two-sided paired randomisation (sign flips) of the mean difference, p = (b + 1) / (flips + 1), where b counts
  the flips at least as extreme as what was seen (Smucker, Allan & Carterette, CIKM 2007). Because of the + 1
  (Phipson & Smyth 2010) p is never 0.
- Several metrics: Holm's step-down correction (1979).

All metrics share their resamples, so that one matrix product serves them all, and results depend on the seed alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

# Differences of metrics are ratios of small whole numbers and logarithms; anything below this is rounding.
SAME = 1e-12

# Elements of one (resamples, queries) block: 16 MB in fp64.
BLOCK_ELEMENTS = 2_000_000


@dataclass(frozen=True)
class Paired:
    """One metric of a candidate against a reference over the same queries; `p_holm` is set by the caller's family."""

    reference: float
    candidate: float
    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    wins: int
    ties: int
    losses: int
    queries: int


def paired(
    reference: np.ndarray, candidate: np.ndarray, *, resamples: int, confidence_level: float, seed: int
) -> list[Paired]:
    """Compare a candidate with a reference, metric by metric.

    Args:
        reference, candidate: (n queries, m metrics), rows in the same order of queries; n >= 1.
        resamples: bootstrap resamples, and sign flips.
        confidence_level: level of the interval, for example 0.95.
        seed: seed of both.

    Returns:
        one `Paired` per metric.
    """
    if reference.shape != candidate.shape or reference.ndim != 2 or not len(reference):
        raise ValueError(f"two equal (queries, metrics) matrices are needed, not {reference.shape}, {candidate.shape}")
    differences = candidate - reference
    differences[np.abs(differences) < SAME] = 0.0
    low, high = bootstrap_interval(differences, resamples=resamples, confidence_level=confidence_level, seed=seed)
    p_values = randomisation_p(differences, flips=resamples, seed=seed)
    return [
        Paired(
            reference=float(reference[:, m].mean()),
            candidate=float(candidate[:, m].mean()),
            difference=float(differences[:, m].mean()),
            ci_low=float(low[m]),
            ci_high=float(high[m]),
            p_value=float(p_values[m]),
            wins=int((differences[:, m] > 0).sum()),
            ties=int((differences[:, m] == 0).sum()),
            losses=int((differences[:, m] < 0).sum()),
            queries=len(differences),
        )
        for m in range(differences.shape[1])
    ]


def bootstrap_interval(
    values: np.ndarray, *, resamples: int, confidence_level: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval of the column means.

    Args:
        values: (n, m); rows are drawn with replacement, whole, so columns stay paired.

    Returns:
        lower and upper bounds, (m,) each.
    """
    rng = np.random.default_rng([seed, 0])
    n = len(values)
    sums = np.empty((resamples, values.shape[1]))
    for rows in _blocks(resamples, n):
        size = rows.stop - rows.start
        # how often each query was drawn: one product instead of gathering (size, n, m) values
        drawn = rng.integers(0, n, (size, n)) + np.arange(size)[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        sums[rows] = counts.astype(np.float64) @ values
    tail = (1 - confidence_level) / 2
    low, high = np.quantile(sums / n, [tail, 1 - tail], axis=0)
    return low, high


def randomisation_p(differences: np.ndarray, *, flips: int, seed: int) -> np.ndarray:
    """Two-sided p of the paired randomisation test for each column's mean.

    Args:
        differences: (n, m) candidate minus reference.

    Returns:
        p, (m,), in [1 / (flips + 1), 1].
    """
    rng = np.random.default_rng([seed, 1])
    n = len(differences)
    observed = np.abs(differences.sum(axis=0))
    # sums in another order differ in the last bits: a flip that equals what was seen must count
    threshold = observed - 1e-9 * np.abs(differences).sum(axis=0)
    extreme = np.zeros(differences.shape[1], dtype=np.int64)
    for rows in _blocks(flips, n):
        size = rows.stop - rows.start
        bits = np.unpackbits(
            np.frombuffer(rng.bytes(size * ((n + 7) // 8)), np.uint8).reshape(size, -1), axis=1, count=n
        )
        signs = bits.astype(np.float64) * 2 - 1
        extreme += (np.abs(signs @ differences) >= threshold).sum(axis=0)
    return (extreme + 1) / (flips + 1)


def holm(p_values: list[float]) -> list[float]:
    """Holm's adjusted p-values, in the given order; rejecting those <= a gives a family-wise error of at most a."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    worst = 0.0
    for place, i in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - place) * p_values[i]))
        adjusted[i] = worst
    return adjusted.tolist()


def _blocks(total: int, width: int) -> Iterator[slice]:
    step = max(1, BLOCK_ELEMENTS // max(width, 1))
    return (slice(start, min(start + step, total)) for start in range(0, total, step))
