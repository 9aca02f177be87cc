"""Is one model better than another at a task? A paired bootstrap of any figure, over groups of texts.

Correlations, F1 and the V-measure are no means over texts, so that `significance.paired` does not apply: both models
are measured on the same resample of whole groups, again and again (Efron & Tibshirani 1993, chapters 13 and 15.6).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

# A figure is computed anew for each resample, which takes about a millisecond.
MOST_RESAMPLES = 1_000
# A correlation lies between -1 and 1, so no difference leaves these.
LEAST, MOST = -2.0, 2.0

Figures = Callable[[np.ndarray], np.ndarray]
"""Rows of the items, with repeats -> (m) figures."""


@dataclass(frozen=True)
class Difference:
    """A figure of a candidate against a reference on the same texts."""

    reference: float
    candidate: float
    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    texts: int
    groups: int


def paired_bootstrap(
    reference: Figures,
    candidate: Figures,
    groups: Sequence[str],
    *,
    resamples: int,
    confidence_level: float,
    seed: int,
) -> list[Difference]:
    """Differences of each figure, with percentile intervals.

    p is two-sided: twice the share of resamples on the other side of 0, with one counted beside them so that it is
    never 0.

    Args:
        reference, candidate: figures of each model.
        groups: (n) of each item; whole groups are drawn.
        resamples: how many, at most `MOST_RESAMPLES`.
        confidence_level: of the interval.
        seed: of the resamples.
    """
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    order = np.argsort(group_of, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(group_of))[:-1])
    all_rows = np.arange(len(group_of))
    before, after = reference(all_rows), candidate(all_rows)
    count = min(resamples, MOST_RESAMPLES)
    low, high = np.full(len(after), LEAST), np.full(len(after), MOST)
    p_values = np.ones(len(after))
    if len(names) > 1:
        rng = np.random.default_rng([seed, 2])
        drawn = np.empty((count, len(after)))
        for number in range(count):
            rows = np.concatenate([members[group] for group in rng.integers(0, len(names), len(names))])
            drawn[number] = candidate(rows) - reference(rows)
        tail = (1 - confidence_level) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
        other_side = np.minimum((drawn <= 0).sum(axis=0), (drawn >= 0).sum(axis=0))
        p_values = np.minimum(1.0, (2 * other_side + 1) / (count + 1))
    return [
        Difference(*(float(value) for value in values), texts=len(all_rows), groups=len(names))
        for values in zip(before, after, after - before, low, high, p_values, strict=True)
    ]
