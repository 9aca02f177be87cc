"""Retrieval metrics as trec_eval defines them, in fp64, for all queries at once.

Definitions (trec_eval 9; its name in brackets). R is the number of passages judged relevant to the query, retrieved
or not.

- ``ndcg_at_k`` (ndcg_cut): sum of grade / log2(rank + 1) over ranks 1..k, divided by the same sum for the best possible
  ranking of all judged passages. The gain is the grade itself; a grade below 1, or none, gains nothing.
- ``recall_at_k`` (recall): relevant passages in the top k, divided by R, even where R > k.
- ``precision_at_k`` (P): relevant passages in the top k, divided by k, even if fewer than k were retrieved.
- ``map_at_k`` (map_cut): precision at the rank of each relevant passage in the top k, summed, divided by R.
- ``mrr_at_k`` (recip_rank, cut at k): 1 / rank of the first relevant passage if that is in the top k, else 0.
- ``hit_rate_at_k`` (success): 1 if a relevant passage is in the top k, else 0.
- ``map``, ``mrr``: the same without a cut.

A query that is judged but has no relevant passage scores 0 and counts in the mean. Ties: score descending, then passage
id descending (by code point, which is the byte order of UTF-8), whatever order the run was written in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

TIE_RULE = "score descending, then passage id descending (trec_eval)"

Qrels = Mapping[str, Mapping[str, int]]
Run = Mapping[str, Mapping[str, float]]

# Bounds the (queries, ranks) matrices of `measure`: 512 queries x 1,000 ranks are 4 MB in fp64.
QUERIES_AT_ONCE = 512


def ranked(scores: Mapping[str, float], precision: type[np.floating] = np.float64) -> list[str]:
    """Passage ids by score descending, ties by id descending.

    Args:
        scores: passage id -> score.
        precision: type in which scores are compared. trec_eval 9 keeps float32, where scores that differ by less than
            about 1e-7 of their size are a tie.
    """
    ids = sorted(scores, reverse=True)
    values = np.array([scores[passage_id] for passage_id in ids], dtype=precision)
    return [ids[i] for i in np.argsort(-values, kind="stable")]


def ranked_run(run: Run, precision: type[np.floating] = np.float64) -> dict[str, list[str]]:
    """`ranked` for every query of a run."""
    return {query_id: ranked(scores, precision) for query_id, scores in run.items()}


def measure(
    qrels: Qrels,
    rankings: Mapping[str, Sequence[str]],
    query_ids: Sequence[str],
    names: Sequence[str],
    *,
    relevance_level: int = 1,
) -> dict[str, np.ndarray]:
    """The named metrics of every query.

    Args:
        qrels: query id -> passage id -> grade.
        rankings: query id -> passage ids, best first, without repeats; a query that is missing scores 0.
        query_ids: the queries to measure, in the order of the result.
        names: metrics as above, for example ``ndcg_at_10``, ``map``.
        relevance_level: smallest grade that is relevant (nDCG does not use it).

    Returns:
        metric name -> fp64 array (n queries,).
    """
    cutoffs = [int(name.partition("_at_")[2] or 0) for name in names]
    values = {name: np.zeros(len(query_ids)) for name in names}
    for start in range(0, len(query_ids), QUERIES_AT_ONCE):
        block = query_ids[start : start + QUERIES_AT_ONCE]
        labels = [qrels.get(query_id, {}) for query_id in block]
        lists = [rankings.get(query_id, ()) for query_id in block]
        depth = max(*cutoffs, *(map(len, lists) if 0 in cutoffs else ()), 1)
        grades = _matrix(
            [[grade.get(p, 0) for p in found[:depth]] for grade, found in zip(labels, lists, strict=True)], depth
        )
        best = _matrix([sorted(grade.values(), reverse=True)[:depth] for grade in labels], depth)
        relevant = np.array([sum(g >= relevance_level for g in grade.values()) for grade in labels])
        for name, column in _measure_block(grades, best, relevant, relevance_level, names).items():
            values[name][start : start + len(block)] = column
    return values


def _matrix(rows: list[list[int]], width: int) -> np.ndarray:
    """Rows of grades, padded with 0 to (n, width); negative grades, which trec_eval gives no gain, become 0."""
    matrix = np.zeros((len(rows), width))
    for i, row in enumerate(rows):
        matrix[i, : len(row)] = row
    return np.maximum(matrix, 0)


def _measure_block(
    grades: np.ndarray, best: np.ndarray, relevant: np.ndarray, level: int, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Metrics from grades by rank (n, depth), the best possible grades by rank (n, depth) and R (n,)."""
    ranks = np.arange(1, grades.shape[1] + 1)
    is_hit = grades >= level
    hits = np.cumsum(is_hit, axis=1)
    first = np.where(is_hit.any(axis=1), is_hit.argmax(axis=1) + 1, np.inf)
    at = {
        "ndcg": _ratio(np.cumsum(grades / np.log2(ranks + 1), axis=1), np.cumsum(best / np.log2(ranks + 1), axis=1)),
        "recall": _ratio(hits, relevant[:, None]),
        "precision": hits / ranks,
        "map": _ratio(np.cumsum(is_hit * hits / ranks, axis=1), relevant[:, None]),
        "hit_rate": (hits > 0).astype(float),
        "mrr": np.where(first[:, None] <= ranks, 1 / first[:, None], 0.0),
    }
    found = {}
    for name in names:
        kind, _, k = name.partition("_at_")
        found[name] = at[kind][:, int(k) - 1 if k else -1]
    return found


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(np.broadcast_shapes(part.shape, whole.shape)), where=whole > 0)


def means(values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Metric name -> mean over the queries."""
    return {name: float(column.mean()) for name, column in values.items()}
