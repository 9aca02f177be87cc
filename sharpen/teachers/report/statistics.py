"""What report.json says of the scores, and its summary for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sharpen.reports.formatting import percent, plain
from sharpen.teachers.combine import Scored
from sharpen.teachers.pairs import NEGATIVE, POSITIVE

BINS = 20
SHOWN = 20
_CHARACTERS = 400
DOUBTFUL_SHARE = 0.25
"""Share of negatives above a positive from which a teacher is doubted (`docs/teachers.md` has what one of 43 % did)."""


def statistics(scored: Scored) -> dict[str, Any]:
    """Counts and histograms of scored pairs.

    ``above_positive`` of each teacher: negatives that it scores no lower than the query's lowest positive;
    ``doubtful``: of all teachers together they are more than `DOUBTFUL_SHARE`.
    """
    pairs, scores, dropped = scored.pairs, scored.scores, scored.dropped
    known = ~np.isnan(scores)
    positive, negative = known & (pairs.role == POSITIVE), known & (pairs.role == NEGATIVE)
    lowest = pairs.lowest_positive(scores)
    above = {name: _above(scored, one) for name, one in {**scored.parts, "all": scores}.items()}
    return {
        "pairs": {
            "queries": len(pairs.queries),
            "queries_without_scored_positive": int(np.isinf(lowest).sum()),
            "positives": int((pairs.role == POSITIVE).sum()),
            "negatives": int((pairs.role == NEGATIVE).sum()),
            "judged_irrelevant": int((~np.isin(pairs.role, (POSITIVE, NEGATIVE))).sum()),
            "not_scored": int((~known).sum()),
            "dropped": int(dropped.sum()),
            "queries_with_dropped": len(np.unique(pairs.query[dropped])),
        },
        "above_positive": above,
        "doubtful": above["all"]["share"] > DOUBTFUL_SHARE,
        "positive_scores": _histogram(scores[positive], scores[known]),
        "negative_scores": _histogram(scores[negative], scores[known]),
    }


def _above(scored: Scored, scores: np.ndarray) -> dict[str, Any]:
    pairs = scored.pairs
    comparable = (pairs.role == NEGATIVE) & ~np.isnan(scores) & np.isfinite(pairs.lowest_positive(scores)[pairs.query])
    count = int((comparable & (scores >= pairs.lowest_positive(scores)[pairs.query])).sum())
    return {
        "negatives": int(comparable.sum()),
        "above": count,
        "share": round(count / max(1, int(comparable.sum())), 4),
    }


def _histogram(scores: np.ndarray, all_scores: np.ndarray) -> dict[str, Any]:
    edges = np.histogram_bin_edges(all_scores, bins=BINS)
    return {
        "edges": [round(edge, 4) for edge in edges.tolist()],
        "counts": np.histogram(scores, bins=edges)[0].tolist(),
    }


def examples(scored: Scored, seed: int) -> list[dict[str, Any]]:
    """Negatives to look at, one a query: some that were dropped, drawn by lot, else those highest above a positive."""
    pairs, lowest = scored.pairs, scored.pairs.lowest_positive(scored.scores)
    above = scored.scores - lowest[pairs.query]
    rows = np.flatnonzero(scored.dropped)
    if len(rows):
        rows = np.random.default_rng(seed).permutation(rows)
    else:
        candidates = np.flatnonzero((pairs.role == NEGATIVE) & np.isfinite(above))
        rows = candidates[np.argsort(-above[candidates], kind="stable")]
    first = np.sort(np.unique(pairs.query[rows], return_index=True)[1])[:SHOWN]
    of_query = {int(pairs.query[row]): row for row in np.flatnonzero(_lowest_rows(scored, lowest)).tolist()[::-1]}
    return [
        {
            "query": _short(pairs.queries[pairs.query[row]]),
            "dropped": bool(scored.dropped[row]),
            "negative": _short(pairs.passages[pairs.passage[row]]),
            "negative_score": round(float(scored.scores[row]), 4),
            "positive": _short(pairs.passages[pairs.passage[of_query[int(pairs.query[row])]]]),
            "positive_score": round(float(lowest[pairs.query[row]]), 4),
        }
        for row in rows[first].tolist()
    ]


def _lowest_rows(scored: Scored, lowest: np.ndarray) -> np.ndarray:
    return (scored.pairs.role == POSITIVE) & (scored.scores == lowest[scored.pairs.query])


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _CHARACTERS else line[:_CHARACTERS] + " ..."


def notes(found: Mapping[str, Any]) -> list[str]:
    """What a user should know of the scores."""
    pairs, lines = found["pairs"], []
    if pairs["not_scored"]:
        lines.append(f"{pairs['not_scored']:,} pairs have no score; distillation takes such negatives for irrelevant")
    if count := pairs["queries_without_scored_positive"]:
        lines.append(f"{count:,} queries have no positive with a score; distillation leaves them out")
    judge = found["teachers"].get("judge", {})
    if judge.get("not_reached"):
        lines.append(f"the judge's budget ended before {judge['not_reached']:,} pairs; run again with a larger one")
    if judge.get("refused"):
        lines.append(f"the endpoint refused {judge['refused']:,} requests: {judge['first_refusals'][0]}")
    share = found["above_positive"]["all"]["share"]
    if found["doubtful"]:
        lines.append(
            f"{percent(share)} of the negatives score no lower than a positive: labels are missing, or "
            "the teacher does not know the field, and then what learns from it gets worse: read the examples, and "
            "measure the teacher before training (a cross-encoder as evaluation.reranking_model)"
        )
    elif share > 0.1 and not pairs["dropped"]:
        lines.append(f"{percent(share)} of the negatives score no lower than a positive: set margin to leave them out")
    return lines


def summary(found: Mapping[str, Any]) -> list[str]:
    """Lines for the terminal."""
    pairs, above = found["pairs"], found["above_positive"]["all"]
    lines = [
        "scored by " + ", ".join(f"{name} ({facts['model']})" for name, facts in found["teachers"].items()),
        f"{pairs['positives']:,} positives and {pairs['negatives']:,} negatives of {pairs['queries']:,} queries",
        f"{above['above']:,} negatives ({percent(above['share'])}) score no lower than the query's lowest positive",
    ]
    if found["settings"]["margin"] is not None:
        lines.append(
            f"{pairs['dropped']:,} negatives of {pairs['queries_with_dropped']:,} queries are left out, within "
            f"{plain(found['settings']['margin'])} of the positive or above it"
        )
    return [*lines, *(f"note: {line}" for line in notes(found))]
