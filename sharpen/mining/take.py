"""Taking the first passages of an order that may be negatives, asking a cross-encoder about no more than needed."""

from __future__ import annotations

import numpy as np

from sharpen.mining.rules import FIT, Ranking, ScorePairs, first, judge_rescored
from sharpen.mining.settings import MiningSettings


def take(
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
            rows, places = np.nonzero(trial)
            tried = columns[rows, places]
            scores = rescore(ranking.queries[rows], ranking.passages[rows, tried])
            codes = judge_rescored(scores, ranking.rescored_anchors[rows], settings)
            verdicts[rows, tried] = codes
            passed[rows, places] = codes == FIT
            untried = untried & ~trial
            more *= 2
    taken = np.zeros_like(eligible)
    np.put_along_axis(taken, columns, first(passed, wanted), axis=1)
    return taken, verdicts
