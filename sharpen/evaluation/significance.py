"""Is one model better than another on the same queries? Paired differences, their interval, and a test.

Queries of one group (a document, a file) succeed and fail together, so both draw whole groups; where every query is a
group of its own this is the usual resampling of queries. The figure is always the mean over queries.

- Interval: on each side the farther bound of two. The bootstrap-t over groups (Efron & Tibshirani 1993, chapter 12; for
  clustered data Cameron, Gelbach & Miller 2008) follows skewed differences; the cluster-robust t interval with the CR2
  variance and the degrees of freedom of Bell & McCaffrey (2002) holds where few groups differ at all. Neither alone
  keeps its level in the simulations of ``tests/sharpen/registry/test_false_promotions.py``.
- Test: two-sided paired randomisation (sign flips of whole groups) of the mean difference, p = (b + 1) / (flips + 1),
  where b counts the flips at least as extreme as what was seen (Smucker, Allan & Carterette, CIKM 2007). Because of the
  + 1 (Phipson & Smyth 2010) p is never 0.
- Several metrics: Holm's step-down correction (1979).

All metrics share their resamples, so that one matrix product serves them all, and results depend on the seed alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# Differences of metrics are ratios of small whole numbers and logarithms; anything below this is rounding.
SAME = 1e-12

# Elements of one (resamples, groups) block: 16 MB in fp64.
BLOCK_ELEMENTS = 2_000_000

# No metric leaves 0 to 1, so no difference leaves these.
LEAST, MOST = -1.0, 1.0


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
    groups: int


def paired(
    reference: np.ndarray,
    candidate: np.ndarray,
    groups: Sequence[str] | None = None,
    *,
    resamples: int,
    confidence_level: float,
    seed: int,
) -> list[Paired]:
    """Compare a candidate with a reference, metric by metric.

    Args:
        reference, candidate: (n queries, m metrics), rows in the same order of queries; n >= 1; values between 0 and 1.
        groups: the group of each query; None: every query is one.
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
    sums, sizes = group_sums(differences, groups)
    low, high = mean_interval(sums, sizes, resamples=resamples, confidence_level=confidence_level, seed=seed)
    p_values = randomisation_p(sums, flips=resamples, seed=seed)
    return [
        Paired(
            reference=float(reference[:, m].mean()),
            candidate=float(candidate[:, m].mean()),
            difference=float(differences[:, m].mean()),
            ci_low=float(np.clip(low[m], LEAST, MOST)),
            ci_high=float(np.clip(high[m], LEAST, MOST)),
            p_value=float(p_values[m]),
            wins=int((differences[:, m] > 0).sum()),
            ties=int((differences[:, m] == 0).sum()),
            losses=int((differences[:, m] < 0).sum()),
            queries=len(differences),
            groups=len(sizes),
        )
        for m in range(differences.shape[1])
    ]


def group_sums(values: np.ndarray, groups: Sequence[str] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Sum and size of every group.

    Args:
        values: (n, m).
        groups: (n,) names; None: every row is a group.

    Returns:
        (g, m) sums and (g,) numbers of rows, both fp64, in the order of the sorted names.
    """
    if groups is None:
        return values.astype(np.float64), np.ones(len(values))
    names, rows = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, rows, values)
    return sums, np.bincount(rows, minlength=len(names)).astype(np.float64)


def mean_interval(
    sums: np.ndarray, sizes: np.ndarray, *, resamples: int, confidence_level: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the mean over rows, for each column: what contains both `bootstrap_t` and `robust_t`.

    Args:
        sums, sizes: of `group_sums`.
        resamples, seed: of the bootstrap.
        confidence_level: of the interval, both sides together.

    Returns:
        lower and upper bounds, (m,) each; infinite where there is one group only.
    """
    if len(sizes) < 2:
        return np.full(sums.shape[1], -np.inf), np.full(sums.shape[1], np.inf)
    tail = (1 - confidence_level) / 2
    drawn = bootstrap_t(sums, sizes, resamples=resamples, tail=tail, seed=seed)
    robust = robust_t(sums, sizes, tail=tail)
    return np.minimum(drawn[0], robust[0]), np.maximum(drawn[1], robust[1])


def bootstrap_t(
    sums: np.ndarray, sizes: np.ndarray, *, resamples: int, tail: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap-t interval of the mean over rows; groups are drawn with replacement, whole, so columns stay paired.

    Resamples in which all drawn groups are alike have no standard error and are left out.

    Args:
        sums, sizes: of `group_sums`; at least two groups.
        resamples, seed: how many, and what they are drawn by.
        tail: share left out on each side.
    """
    rng = np.random.default_rng([seed, 0])
    groups, m = sums.shape
    means, errors = _means_and_errors(np.ones((1, groups)), sums, sizes)
    studentised = np.full((resamples, m), np.nan)
    for rows in _blocks(resamples, groups):
        size = rows.stop - rows.start
        # how often each group was drawn: one product instead of gathering (size, groups, m) values
        drawn = rng.integers(0, groups, (size, groups)) + np.arange(size)[:, None] * groups
        counts = np.bincount(drawn.ravel(), minlength=size * groups).reshape(size, groups).astype(np.float64)
        found, error = _means_and_errors(counts, sums, sizes)
        np.divide(found - means, error, out=studentised[rows], where=error > SAME)
    lower, upper = _quantiles(studentised, tail)
    return (means - upper * errors)[0], (means - lower * errors)[0]


def _quantiles(values: np.ndarray, tail: float) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles at `tail` and 1 - `tail` of each column, rounded outwards, NaN left out; 0 where all are NaN."""
    ordered = np.sort(values, axis=0)  # NaN last
    count = np.count_nonzero(~np.isnan(values), axis=0)
    last = np.maximum(count - 1, 0)
    at = np.stack([np.floor(tail * last), np.ceil((1 - tail) * last)]).astype(int)
    lower, upper = np.where(count > 0, np.take_along_axis(ordered, at, axis=0), 0.0)
    return lower, upper


def _means_and_errors(counts: np.ndarray, sums: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over rows and its standard error (linearised ratio of group sums to group sizes), (resamples, m) each."""
    groups = len(sizes)
    total = (counts @ sizes)[:, None]
    means = counts @ sums / total
    # sum over drawn groups of (sum - mean * size)^2
    raw = counts @ sums**2
    squares = raw - 2 * means * (counts @ (sums * sizes[:, None])) + means**2 * (counts @ sizes**2)[:, None]
    squares[squares < 1e-12 * raw] = 0.0  # what is left of equal groups is rounding
    return means, np.sqrt(squares * groups / (groups - 1)) / total


def robust_t(sums: np.ndarray, sizes: np.ndarray, *, tail: float) -> tuple[np.ndarray, np.ndarray]:
    """Cluster-robust t interval of the mean over rows: CR2 variance, degrees of freedom after Bell & McCaffrey (2002).

    With groups of one size it is the t interval of the groups' means.

    Args:
        sums, sizes: of `group_sums`; at least two groups.
        tail: share left out on each side.
    """
    # of scipy.stats, which takes a second to import, this is the function behind `t.ppf`
    from scipy.special import stdtrit

    total = sizes.sum()
    means = sums.sum(axis=0) / total
    share = sizes / total
    weight = 1 / (1 - share)
    residuals = sums - means * sizes[:, None]
    errors = np.sqrt((weight[:, None] * residuals**2).sum(axis=0)) / total
    # The variance is a quadratic form in the sums. With B its matrix and V = diag(sizes) the variance of the sums of
    # independent rows, df = tr(BV)^2 / tr(BVBV); B[g, k] = weight[g] (g = k) + k - c[g] - c[k].
    c = weight * share
    k = (weight * share**2).sum()
    trace = (sizes * (weight - 2 * c + k)).sum()
    moment, moment_2 = (sizes * c).sum(), (sizes * c**2).sum()
    squared = (k * total) ** 2 + 2 * total * moment_2 + 2 * moment**2 - 4 * k * total * moment
    squared += (sizes**2 * (2 * weight * (k - 2 * c) + weight**2)).sum()
    reach = stdtrit(trace**2 / squared, 1 - tail) * errors
    return means - reach, means + reach


def randomisation_p(sums: np.ndarray, *, flips: int, seed: int) -> np.ndarray:
    """Two-sided p of the paired randomisation test for each column's mean: under no difference each sign is a coin.

    The null distribution is symmetric, so p <= 0.05 together with a gain is the one-sided test at 2.5 %.

    Args:
        sums: (g, m) candidate minus reference, summed over each group.
        flips, seed: how many sign vectors, and what they are drawn by.

    Returns:
        p, (m,), in [1 / (flips + 1), 1].
    """
    rng = np.random.default_rng([seed, 1])
    n = len(sums)
    observed = np.abs(sums.sum(axis=0))
    # sums in another order differ in the last bits: a flip that equals what was seen must count
    threshold = observed - 1e-9 * np.abs(sums).sum(axis=0)
    extreme = np.zeros(sums.shape[1], dtype=np.int64)
    for rows in _blocks(flips, n):
        size = rows.stop - rows.start
        bits = np.unpackbits(
            np.frombuffer(rng.bytes(size * ((n + 7) // 8)), np.uint8).reshape(size, -1), axis=1, count=n
        )
        signs = bits.astype(np.float64) * 2 - 1
        extreme += (np.abs(signs @ sums) >= threshold).sum(axis=0)
    return (extreme + 1) / (flips + 1)


def _blocks(total: int, width: int) -> Iterator[slice]:
    step = max(1, BLOCK_ELEMENTS // max(width, 1))
    return (slice(start, min(start + step, total)) for start in range(0, total, step))
