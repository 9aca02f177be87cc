"""One score of several teachers, and what it says of the negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from sharpen.errors import StepFailed
from sharpen.teachers.pairs import NEGATIVE, POSITIVE, TeacherPairs


def combined(pairs: TeacherPairs, scores: Sequence[np.ndarray]) -> np.ndarray:
    """(n,) the scores of one teacher as they are; of several the mean of those that are known, standardised.

    Within a query each teacher's scores get mean 0 and standard deviation 1, since scales and offsets of teachers have
    nothing in common; where all are equal they become 0.

    Args:
        pairs: the pairs.
        scores: (n,) of each teacher; NaN: not scored.
    """
    if len(scores) == 1:
        return scores[0]
    known = np.stack([~np.isnan(one) for one in scores])
    total = np.sum([np.nan_to_num(_standardised(pairs.query, one)) for one in scores], axis=0)
    count = known.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _standardised(query: np.ndarray, scores: np.ndarray) -> np.ndarray:
    known = ~np.isnan(scores)
    size = int(query.max(initial=-1)) + 1

    def mean(values: np.ndarray) -> np.ndarray:
        """Of each query's known values, at each pair."""
        sums = np.bincount(query[known], weights=values[known], minlength=size)
        return (sums / np.maximum(np.bincount(query[known], minlength=size), 1))[query]

    centred = scores - mean(scores)
    deviation = np.sqrt(mean(centred**2))
    # of equal scores rounding leaves a rest that is no difference
    equal = deviation <= 1e-9 * np.maximum(1.0, np.abs(mean(scores)))
    return np.where(equal, np.where(known, 0.0, np.nan), centred / np.where(equal, 1.0, deviation))


def false_negatives(pairs: TeacherPairs, scores: np.ndarray, margin: float) -> np.ndarray:
    """(n,) which negatives score above their query's lowest positive less `margin`.

    Args:
        pairs: the pairs.
        scores: (n,) of them; NaN is above nothing.
        margin: at least 0.
    """
    return (pairs.role == NEGATIVE) & (scores > pairs.lowest_positive(scores)[pairs.query] - margin)


@dataclass(frozen=True)
class Scored:
    """Pairs with their scores.

    Attributes:
        pairs: the pairs.
        parts: teacher's name -> (n,) its scores; NaN: not scored.
        scores: (n,) of all teachers together.
        dropped: (n,) negatives that the teachers take for relevant.
    """

    pairs: TeacherPairs
    parts: Mapping[str, np.ndarray]
    scores: np.ndarray
    dropped: np.ndarray

    @classmethod
    def of(cls, pairs: TeacherPairs, parts: Mapping[str, np.ndarray], margin: float | None) -> Scored:
        """What teachers say of pairs.

        Args:
            pairs: the pairs.
            parts: teacher's name -> (n,) its scores.
            margin: of `false_negatives`; None: nothing is dropped.

        Raises:
            StepFailed: no positive has a score.
        """
        scores = combined(pairs, list(parts.values()))
        if np.isnan(scores[pairs.role == POSITIVE]).all():
            raise StepFailed("no positive got a score, so there is nothing to learn; raise the budget of the judge")
        dropped = np.zeros(len(pairs), dtype=bool) if margin is None else false_negatives(pairs, scores, margin)
        return cls(pairs, parts, scores, dropped)

    def table(self) -> pl.DataFrame:
        """query_id, passage_id, role, score and dropped of each pair that has a score."""
        pairs = self.pairs
        columns = {
            "query_id": pl.Series(pairs.query_ids, dtype=pl.String).gather(pairs.query),
            "passage_id": pl.Series(pairs.passage_ids, dtype=pl.String).gather(pairs.passage),
            "role": pl.Series(pairs.role, dtype=pl.String),
            "score": pl.Series(self.scores, dtype=pl.Float64),
            "dropped": pl.Series(self.dropped),
        }
        return pl.DataFrame(columns).filter(pl.col("score").is_not_nan())
