"""What the report shows of a model's vectors: a map of a sample, and how far relevant passages score above others.

Both are computed while the vectors are there, and are small whatever the size of the data.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sharpen.evaluation.artifact import write_json
from sharpen.evaluation.retrieval import Embedded, Rankings
from sharpen.evaluation.split import EvaluationSplit

MAP, SEPARATION = "map.json", "separation.json"

MAP_QUERIES, MAP_PASSAGES = 300, 300
"""Test queries on the map, each with its best relevant passage, and other passages of the corpus."""

LABELS = 7
"""Sources or groups that have a colour of their own; the others share one."""

BINS = 40


def write_vector_summaries(
    folder: Path, embedded: Embedded, eval_set: EvaluationSplit, rankings: Rankings, relevance_level: int
) -> None:
    """Write map.json and separation.json.

    Args:
        folder: of the evaluation.
        embedded: vectors of `eval_set`.
        eval_set: ids, judgements, sources and groups.
        rankings: what was retrieved.
        relevance_level: smallest grade that is relevant.
    """
    write_json(folder / MAP, embedding_map(embedded, eval_set), indent=None)
    write_json(folder / SEPARATION, separation(embedded, eval_set, rankings, relevance_level), indent=None)


def embedding_map(embedded: Embedded, eval_set: EvaluationSplit) -> dict[str, Any]:
    """A sample of queries and passages on the plane in which their vectors differ most.

    The sample depends on the ids alone, so that the maps of several models of one data set hold the same points. A
    passage of several windows is where its first one is.

    Args:
        embedded: vectors of `eval_set`.
        eval_set: ids, judgements, sources and groups.

    Returns:
        ``method``; ``explained``: share of the sample's variance along x and y; ``labels``: what colours mean
        (``source``, ``group`` or empty); ``points``: columns ``kind`` (query, passage or rest), ``id``, ``label``,
        ``x``, ``y`` and ``pair``, the index of a query's passage or -1.
    """
    queries, passages = embedded.queries, embedded.passages
    at = np.arange(len(passages)) if embedded.rows is None else embedded.rows.first
    row_of = dict(zip(eval_set.passage_ids, at.tolist(), strict=True))
    labelled_by, labels = _labels(eval_set)
    kinds: list[str] = []
    ids: list[str] = []
    named: list[str] = []
    pairs: list[int] = []
    rows: list[np.ndarray] = []
    for i in _sample(eval_set.query_ids, MAP_QUERIES):
        best = _best_positive(eval_set.qrels[eval_set.query_ids[i]], row_of)
        kinds += ["query"] if best is None else ["query", "passage"]
        ids += [eval_set.query_ids[i]] if best is None else [eval_set.query_ids[i], best]
        named += [labels[i]] * (1 if best is None else 2)
        pairs += [-1] if best is None else [len(rows) + 1, -1]
        rows += [queries[i]] if best is None else [queries[i], passages[row_of[best]]]
    shown = set(ids)
    count = len(eval_set.passage_ids)
    drawn = np.random.default_rng(0).choice(count, min(count, MAP_PASSAGES), replace=False)
    others = [i for i in drawn.tolist() if eval_set.passage_ids[i] not in shown]
    kinds += ["rest"] * len(others)
    ids += [eval_set.passage_ids[i] for i in others]
    named += [""] * len(others)
    pairs += [-1] * len(others)
    rows += [passages[at[i]] for i in others]
    plane, explained = principal_plane(np.asarray(rows, dtype=np.float64))
    x, y = (np.round(plane[:, axis], 4).tolist() for axis in (0, 1))
    points = {"kind": kinds, "id": ids, "label": named, "x": x, "y": y, "pair": pairs}
    return {"method": "PCA", "explained": explained, "labels": labelled_by, "points": points}


def principal_plane(vectors: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """The first two principal components of (n, d) `vectors`, (n, 2), and the share of the variance along each.

    The component with the largest absolute value is positive, as scikit-learn's `svd_flip` has it.
    """
    centred = vectors - vectors.mean(axis=0)
    # n is bounded and d may be thousands: the n x n matrix of inner products has the same components
    values, components = np.linalg.eigh(centred @ centred.T)
    plane = np.zeros((len(vectors), 2))
    total, explained = float(np.square(centred).sum()), [0.0, 0.0]
    for axis in range(min(2, len(vectors))):
        value = max(float(values[-1 - axis]), 0.0)
        component = components[:, -1 - axis] * np.sqrt(value)
        plane[:, axis] = component * (np.sign(component[np.argmax(np.abs(component))]) or 1.0)
        explained[axis] = round(value / total, 4) if total > 0 else 0.0
    return plane, explained


def separation(
    embedded: Embedded,
    eval_set: EvaluationSplit,
    rankings: Rankings,
    relevance_level: int,
) -> dict[str, Any]:
    """How the scores of relevant passages lie to those of the best passage that is not relevant.

    Args:
        embedded: vectors of `eval_set`.
        eval_set: ids and judgements.
        rankings: query id -> (passage id, score), best first.
        relevance_level: smallest grade that is relevant.

    Returns:
        ``queries``, those with both kinds; ``positive`` and ``negative``: histograms with the same ``edges`` of each
        query's best relevant passage and of its best other one; ``auc``: the chance that a relevant passage drawn from
        these scores higher than such a negative of any query (ties half); ``overlap``: the area that both histograms
        share; ``above``: share of the queries whose own relevant passage scores higher. Empty without such queries.
    """
    row_of = {passage_id: row for row, passage_id in enumerate(eval_set.passage_ids)}
    positive, negative = [], []
    for i, query_id in enumerate(eval_set.query_ids):
        relevant = {p for p, grade in eval_set.qrels[query_id].items() if grade >= relevance_level}
        out = eval_set.left_out.get(query_id, frozenset())
        candidates = sorted(row_of[p] for p in relevant - out if p in row_of)
        best_other = next((score for p, score in rankings.get(query_id, ()) if p not in relevant), None)
        if candidates and best_other is not None:
            found = candidates if embedded.rows is None else embedded.rows.vectors_of(np.array(candidates))
            vectors = np.asarray(embedded.passages[found], dtype=np.float32)
            positive.append(float((vectors @ np.asarray(embedded.queries[i], dtype=np.float32)).max()))
            negative.append(float(best_other))
    if not positive:
        return {}
    high, low = np.array(positive), np.array(negative)
    edges = np.linspace(min(high.min(), low.min()), max(high.max(), low.max()) + 1e-9, BINS + 1)
    counts = {"positive": np.histogram(high, edges)[0], "negative": np.histogram(low, edges)[0]}
    shared = np.minimum(counts["positive"], counts["negative"]).sum() / len(high)
    return {
        "queries": len(high),
        **{kind: {"edges": np.round(edges, 5).tolist(), "counts": found.tolist()} for kind, found in counts.items()},
        "auc": round(area_under_curve(high, low), 5),
        "overlap": round(float(shared), 5),
        "above": round(float((high > low).mean()), 5),
    }


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float:
    """The chance that one of `positive` is above one of `negative`, ties counted half (Mann-Whitney's U over n m)."""
    ordered = np.sort(negative)
    below, not_above = np.searchsorted(ordered, positive, "left"), np.searchsorted(ordered, positive, "right")
    return float((below + not_above).mean() / (2 * len(negative)))


def _sample(ids: Sequence[str], count: int) -> list[int]:
    """Indices of so many ids, those whose digest is smallest."""

    def digest(i: int) -> bytes:
        return hashlib.blake2b(ids[i].encode(), digest_size=8).digest()

    return sorted(range(len(ids)), key=digest)[:count]


def _best_positive(grades: Mapping[str, int], row_of: Mapping[str, int]) -> str | None:
    present = [p for p, grade in grades.items() if grade > 0 and p in row_of]
    return max(present, key=lambda p: (grades[p], p), default=None)


def _labels(eval_set: EvaluationSplit) -> tuple[str, list[str]]:
    """What colours mean, and the label of each query: its source, or its group where few groups have half of them."""
    sources, groups = Counter(eval_set.sources), Counter(eval_set.groups)
    if len(sources) > 1:
        name, values, counts = "source", eval_set.sources, sources
    elif len(groups) < len(eval_set.query_ids):
        name, values, counts = "group", eval_set.groups, groups
    else:
        return "", [""] * len(eval_set.query_ids)
    coloured = {value for value, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:LABELS]}
    # colours of a few points among many grey ones say nothing
    if 2 * sum(counts[value] for value in coloured) < len(values):
        return "", [""] * len(values)
    return name, [value if value in coloured else "" for value in values]
