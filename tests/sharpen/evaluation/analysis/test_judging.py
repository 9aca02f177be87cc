"""The list of unjudged passages against its definition."""

from __future__ import annotations

import csv
import math
import random
from pathlib import Path

import pytest

from sharpen.evaluation.analysis.judging import pool, write_judging_list
from sharpen.evaluation.facts import unjudged_facts
from tests.sharpen.evaluation.splits import a_split

QUERIES = {f"q{n}": f"query {n}" for n in range(6)}
PASSAGES = {f"p{n:02}": f"passage {n}" for n in range(40)}


def made(seed: int, systems: int):
    draw = random.Random(seed)
    qrels = {q: {p: draw.randint(0, 2) for p in draw.sample(sorted(PASSAGES), 8)} for q in QUERIES}
    rankings = [
        {q: [(p, 1.0 / n) for n, p in enumerate(draw.sample(sorted(PASSAGES), 15), start=1)] for q in QUERIES}
        for _ in range(systems)
    ]
    return a_split(QUERIES, PASSAGES, qrels), rankings


def weight(rankings: dict, query_id: str, passage_id: str) -> float:
    for rank, (found, _) in enumerate(rankings[query_id][:10], start=1):
        if found == passage_id:
            return 1 / math.log2(rank + 1)
    return 0.0


@pytest.mark.parametrize("systems", [1, 2, 4])
def test_the_order_is_that_of_what_a_judgement_may_change(systems: int) -> None:
    split, rankings = made(systems, systems)
    listed = pool(split, rankings)
    expected = {(q, p) for q in QUERIES for one in rankings for p, _ in one[q][:10] if p not in split.qrels[q]}
    assert {(q, p) for q, p, _ in listed} == expected and len(listed) == len(expected)
    keys = []
    for query_id, passage_id, ranks in listed:
        weights = [weight(one, query_id, passage_id) for one in rankings]
        assert [1 / math.log2(rank + 1) if rank else 0.0 for rank in ranks] == pytest.approx(weights)
        spread = max(weights) - min(weights) if systems > 1 else weights[0]
        keys.append((-round(spread, 9), -round(sum(weights), 9), query_id, passage_id))
    assert keys == sorted(keys)


def test_what_nobody_judged_is_counted() -> None:
    split, (rankings,) = made(7, 1)
    listed = pool(split, [rankings])
    assert unjudged_facts(split, rankings) == {
        "unjudged_in_top_10": len(listed),
        "queries_with_unjudged": len({q for q, *_ in listed}),
    }


def test_the_file_can_be_opened_in_a_spreadsheet_without_harm(tmp_path: Path) -> None:
    passages = {"p1": "=HYPERLINK(1)", "p2": 'two\nlines, and "quotes"'}
    split = a_split({"q": "-1 degrees"}, passages, {"q": {"p3": 1}})
    ranked = {"q": [("p1", 2.0), ("p2", 1.0)]}
    assert write_judging_list(tmp_path / "judge.csv", split, {"model": ranked, "bm25": {"q": [("p2", 3.0)]}}, 10) == 2
    with (tmp_path / "judge.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {
            "query_id": "q",
            "passage_id": "p1",
            "grade": "",
            "query": "'-1 degrees",
            "passage": "'=HYPERLINK(1)",
            "rank_model": "1",
            "rank_bm25": "",
        },
        {
            "query_id": "q",
            "passage_id": "p2",
            "grade": "",
            "query": "'-1 degrees",
            "passage": passages["p2"],
            "rank_model": "2",
            "rank_bm25": "1",
        },
    ]
    assert write_judging_list(tmp_path / "judge.csv", split, {"model": ranked}, 1) == 1
