"""Passages in the top 10 that nobody judged, listed for people to judge: judge.csv.

What counts as irrelevant because nobody looked decides comparisons. So the pool of all systems' unjudged top 10 is put
in the order of what a judgement may change: how far the systems differ in the weight that they give the passage
(1 / log2(rank + 1), none below rank 10), as minimal test collections weigh documents (Carterette, Allan & Sitaraman,
SIGIR 2006); then by its weight in all systems together.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sharpen.data.judgements import GRADE, PASSAGE_ID, QUERY_ID
from sharpen.evaluation.facts import JUDGING_DEPTH, unjudged
from sharpen.evaluation.retrieval import Rankings
from sharpen.evaluation.split import EvaluationSplit

CANDIDATE = "model"
# a spreadsheet takes a text that begins so for a formula
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_judging_list(path: Path, eval_set: EvaluationSplit, systems: Mapping[str, Rankings], most: int) -> int:
    """Write judge.csv: query_id, passage_id, grade (empty), query, passage, and the rank in each system, best first.

    Args:
        path: file to write.
        eval_set: texts and judgements.
        systems: name -> rankings of the same queries.
        most: rows.

    Returns:
        how many rows were written.
    """
    listed = pool(eval_set, list(systems.values()))[:most]
    queries = dict(zip(eval_set.query_ids, eval_set.query_texts, strict=True))
    passages = dict(zip(eval_set.passage_ids, eval_set.passage_texts, strict=True))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([QUERY_ID, PASSAGE_ID, GRADE, "query", "passage", *(f"rank_{name}" for name in systems)])
        for query_id, passage_id, ranks in listed:
            shown = [_plain(queries[query_id]), _plain(passages[passage_id])]
            writer.writerow([query_id, passage_id, "", *shown, *(rank or "" for rank in ranks)])
    return len(listed)


def pool(eval_set: EvaluationSplit, systems: Sequence[Rankings]) -> list[tuple[str, str, list[int]]]:
    """(query id, passage id, rank in each system or 0) of the unjudged passages in a top 10, most informative first."""
    found = []
    for query_id in eval_set.query_ids:
        ranks: dict[str, list[int]] = {}
        for number, rankings in enumerate(systems):
            hits = rankings.get(query_id, [])
            position = {passage_id: rank for rank, (passage_id, _) in enumerate(hits[:JUDGING_DEPTH], start=1)}
            for passage_id in unjudged(eval_set, query_id, hits):
                ranks.setdefault(passage_id, [0] * len(systems))[number] = position[passage_id]
        found += [(query_id, passage_id, of_systems) for passage_id, of_systems in ranks.items()]
    return sorted(found, key=lambda row: (*(-weight for weight in _weights(row[2])), row[0], row[1]))


def _weights(ranks: Sequence[int]) -> tuple[float, float]:
    """How far the systems differ in a passage's weight (of a single system the weight itself), and all their weight."""
    weights = [1 / np.log2(rank + 1) if rank else 0.0 for rank in ranks]
    spread = max(weights) - min(weights) if len(weights) > 1 else weights[0]
    return round(float(spread), 9), round(float(sum(weights)), 9)


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
