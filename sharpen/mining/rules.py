"""The rules by which a ranked or drawn passage may not be a negative of a query.

In the order in which the report counts them:

- it is a known positive of the query, by id or by normalised text;
- it is the query's own text;
- the user gave it as a negative already, or a copy of it stands before it;
- its score is above ``max_score`` or below ``min_score``;
- its score is above ``positive - absolute_margin``, or above ``positive - |positive| * relative_margin``, where
  `positive` is the score of the query's lowest positive. The latter is TopK-PercPos of NV-Retriever (Moreira et al.
  2024, arXiv 2407.15831), stated there as a share of the positive's score; the absolute value makes it right for
  negative scores too.

Scores are the mining model's, whatever source found the passage. Where a cross-encoder rescores, the two margins are
decided by its probabilities instead, once the other rules have let a passage through (`select_passing`), and
``rescoring_max_score`` bounds these: among logits, 7.5 is well below 8.0 and both are certainly relevant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.special import expit

from sharpen.errors import InputError
from sharpen.mining.corpus import MiningCorpus
from sharpen.mining.settings import MiningSettings

RULES = (
    "known_positive_id",
    "known_positive_text",
    "query_text",
    "given_negative",
    "repeated_text",
    "max_score",
    "min_score",
    "absolute_margin",
    "relative_margin",
    "rescoring_max_score",
)

FIT, NO_PASSAGE = 0, -1
NOT_RANKED = 0

ScorePairs = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(rows of queries, rows of passages) -> their scores, float32."""


@dataclass(frozen=True)
class Ranking:
    """The candidates of some queries.

    Attributes:
        queries: (n,) rows of the queries in the pool.
        passages: (n, width) rows of the passages, best rank first; -1 after the last.
        ranks: (n, width) best rank in any source, counted from 1; `NOT_RANKED` where no source ranked the passage.
        sources: (n, width) index of the source that gave this rank; -1 where none did.
        found_by: (n, width) the sources that ranked the passage, as bits.
        scores: (n, width) scores of the mining model.
        anchors: (n,) the mining model's score of each query's lowest positive.
        rescored_anchors: (n,) the cross-encoder's score of the positive that it scores lowest; None without one.
    """

    queries: np.ndarray
    passages: np.ndarray
    ranks: np.ndarray
    sources: np.ndarray
    found_by: np.ndarray
    scores: np.ndarray
    anchors: np.ndarray
    rescored_anchors: np.ndarray | None = None

    def rows(self, chosen: np.ndarray | slice) -> Ranking:
        """The ranking of some of its queries."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value[chosen] for name, value in values.items() if value is not None})

    def unranked(self, passages: np.ndarray, scores: np.ndarray) -> Ranking:
        """Other passages for the same queries, which no source ranked."""
        nowhere = np.full(passages.shape, NOT_RANKED, dtype=np.int32)
        return replace(self, passages=passages, ranks=nowhere, sources=nowhere - 1, found_by=nowhere, scores=scores)

    def between(self, start: int, end: int) -> np.ndarray:
        """Which candidates (n, width) have the ranks start + 1, ..., end."""
        return (self.ranks > start) & (self.ranks <= end)


def judge(ranking: Ranking, pool: MiningCorpus, settings: MiningSettings, *, margins: bool = True) -> np.ndarray:
    """The verdict on each passage, int8 (n, width).

    It is `FIT`, `NO_PASSAGE`, or 1 + the index in `RULES` of the first rule that filters the passage out.

    Args:
        ranking: the passages.
        pool: known positives and texts.
        settings: bounds and margins.
        margins: judge the margins too, by the mining model's scores.
    """
    queries, passages = ranking.queries[:, None], ranking.passages
    texts = text_numbers(pool, passages)
    scores = ranking.scores.astype(np.float64)
    filters = {
        "known_positive_id": pool.known_passages.has(queries, passages),
        "known_positive_text": pool.known_texts.has(queries, texts),
        "query_text": texts == pool.query_text_number[queries],
        "given_negative": pool.given_texts.has(queries, texts),
        "repeated_text": _repeated(texts),
    }
    if settings.max_score is not None:
        filters["max_score"] = scores > settings.max_score
    if settings.min_score is not None:
        filters["min_score"] = scores < settings.min_score
    if margins:
        filters |= _margins(scores, ranking.anchors[:, None], settings)
    verdicts = _first_rule(filters, passages.shape)
    verdicts[passages < 0] = NO_PASSAGE
    return verdicts


def judge_rescored(scores: np.ndarray, anchors: np.ndarray, settings: MiningSettings) -> np.ndarray:
    """Verdict, int8, of the `settings`' margins and ceiling on a cross-encoder's scores and anchors of equal shape.

    Raises:
        InputError: scores that are to be probabilities and are none.
    """
    likelihoods, lowest = (probabilities(values, settings) for values in (scores, anchors))
    filters = _margins(likelihoods, lowest, settings)
    if settings.rescoring_max_score is not None:
        filters["rescoring_max_score"] = likelihoods > settings.rescoring_max_score
    return _first_rule(filters, scores.shape)


def probabilities(scores: np.ndarray, settings: MiningSettings) -> np.ndarray:
    """The probabilities, float64, that a cross-encoder's scores stand for; raises as `judge_rescored`."""
    values = scores.astype(np.float64)
    if settings.rescoring_activation == "sigmoid":
        return expit(values)
    if len(none := values[(values < 0) | (values > 1)]):
        raise InputError(
            f"rescoring_activation: identity, but the cross-encoder gives scores such as {none[0]:.4g}, which are no "
            "probabilities; use sigmoid"
        )
    return values


def _margins(scores: np.ndarray, anchors: np.ndarray, settings: MiningSettings) -> dict[str, np.ndarray]:
    scores, anchors = scores.astype(np.float64), anchors.astype(np.float64)
    filters = {}
    if settings.absolute_margin is not None:
        filters["absolute_margin"] = scores > anchors - settings.absolute_margin
    if settings.relative_margin is not None:
        filters["relative_margin"] = scores > anchors - np.abs(anchors) * settings.relative_margin
    return filters


def _first_rule(filters: dict[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    verdicts = np.full(shape, FIT, dtype=np.int8)
    for code, rule in reversed(list(enumerate(RULES, start=1))):
        if rule in filters:
            verdicts[filters[rule]] = code
    return verdicts


def _repeated(texts: np.ndarray) -> np.ndarray:
    """Which texts (n, width; -1 for none) stand in their row before."""
    width = int(texts.max(initial=0)) + 2
    keys = (np.arange(len(texts))[:, None] * width + texts + 1).ravel()
    repeated = np.ones(keys.shape, dtype=bool)
    repeated[np.unique(keys, return_index=True)[1]] = False
    return repeated.reshape(texts.shape)


def text_numbers(pool: MiningCorpus, passages: np.ndarray) -> np.ndarray:
    """Numbers of the passages' texts; -1 for no passage."""
    return np.where(passages >= 0, pool.text_of[passages], -1)


def first(eligible: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The first `wanted` (n,) true entries of each row (n, width)."""
    return eligible & (np.cumsum(eligible, axis=1) <= wanted[:, None])


def select_passing(
    ranking: Ranking,
    eligible: np.ndarray,
    wanted: np.ndarray,
    settings: MiningSettings,
    rescore: ScorePairs | None,
    *,
    order: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Take from each row the first `wanted` eligible passages that the cross-encoder's rules let pass.

    Without a cross-encoder these are the first eligible ones. With one, the first `wanted` are scored; for each that
    is filtered out, the next are, in growing numbers. The outcome is that of scoring every eligible passage.

    Args:
        ranking: the passages; with a cross-encoder its `rescored_anchors` are those to judge by.
        eligible: (n, width) what the other rules let pass.
        wanted: (n,) how many to take.
        settings: the margins and the ceiling.
        rescore: the cross-encoder's scores of pairs; None: there is none.
        order: (n, width) columns of each row, first to last; None: as they stand.

    Returns:
        taken, bool (n, width), and the verdicts, int8 (n, width), on what was scored; `FIT` elsewhere.
    """
    verdicts = np.full(eligible.shape, FIT, dtype=np.int8)
    columns = np.broadcast_to(np.arange(eligible.shape[1]), eligible.shape) if order is None else order
    untried = np.take_along_axis(eligible, columns, axis=1)
    passed = untried
    if rescore is not None:
        assert ranking.rescored_anchors is not None
        passed, more = np.zeros_like(untried), 1
        while (trial := first(untried, more * np.maximum(0, wanted - passed.sum(axis=1)))).any():
            rows, positions = np.nonzero(trial)
            tried = columns[rows, positions]
            scores = rescore(ranking.queries[rows], ranking.passages[rows, tried])
            codes = judge_rescored(scores, ranking.rescored_anchors[rows], settings)
            verdicts[rows, tried] = codes
            passed[rows, positions] = codes == FIT
            untried = untried & ~trial
            more *= 2
    taken = np.zeros_like(eligible)
    np.put_along_axis(taken, columns, first(passed, wanted), axis=1)
    return taken, verdicts
