"""The choice against a slow second implementation, and what must hold for any data."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpen.data.text import normalize
from sharpen.index import exact
from sharpen.mining import rankings
from sharpen.mining.report.statistics import MiningStats
from sharpen.mining.rules import RULES
from sharpen.mining.settings import MiningSettings
from tests.sharpen.mining.corpora import Judge, Rankings, Second, World, mined, random_rankings, random_world, world
from tests.sharpen.mining.slow_choice import Slow


def few_scores(query: str, passage: str) -> float:
    """One of seven scores, some negative, for a pair of texts."""
    return hashlib.sha256(f"{query} {passage}".encode()).digest()[0] % 7 - 3.0


limits = st.none() | st.sampled_from([-4.0, -1.0, 0.0, 2.0])
mining = st.builds(
    lambda start, width, minimum, **values: MiningSettings.checked(
        {
            "range_for_sampling": f"{start}-{start + width}",
            "min_score": minimum if minimum is None else minimum - 8,
            **values,
        }
    ),
    start=st.integers(0, 6),
    width=st.integers(1, 12),
    minimum=limits,
    max_score=limits,
    negative_number=st.integers(1, 8),
    sampling=st.sampled_from(["random", "top"]),
    random_share=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    top_up=st.sampled_from(["further_ranks_then_random", "further_ranks", "random", "off"]),
    further_ranks=st.integers(0, 6),
    relative_margin=st.none() | st.sampled_from([0.0, 0.05, 0.5]),
    absolute_margin=st.none() | st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 3),
    relevance_level=st.sampled_from([1, 1, 2, 3]),
    candidate_sources=st.lists(st.sampled_from(["model", "bm25", "file:a", "model:b"]), min_size=1, unique=True)
    | st.just(["model"]),
)
worlds = st.builds(
    lambda seed, queries, passages: random_world(seed, queries=queries, passages=passages),
    seed=st.integers(0, 10**6),
    queries=st.integers(2, 6),
    passages=st.integers(6, 30),
)


def run(
    made: World, rules: MiningSettings, others: Rankings | None = None
) -> tuple[dict[str, list[dict]], MiningStats]:
    with tempfile.TemporaryDirectory() as folder:
        rows, figures = mined(made, rules, Path(folder), others)
    found = defaultdict(list)
    for row in rows:
        found[row["query_id"]].append(row)
    return found, figures


@settings(max_examples=80)
@given(worlds, mining, st.integers(0, 10**6))
def test_equals_the_slow_choice(made: World, rules: MiningSettings, seed: int) -> None:
    others = random_rankings(made, rules.candidate_sources, seed)
    found, figures = run(made, rules, others)
    slow = Slow(made, level=rules.relevance_level)
    expected = {query_id: slow.choose(query_id, rules, others) for query_id in figures.pool.query_ids}
    columns = ("passage_id", "picked_by", "rank", "source")
    assert {q: [tuple(row[name] for name in columns) for row in found[q]] for q in expected} == expected
    mined_count = {q: sum(row[1] != "given" for row in rows) for q, rows in expected.items()}
    assert figures.missing == sum(rules.negative_number - count for count in mined_count.values())
    assert figures.short_queries == sum(count < rules.negative_number for count in mined_count.values())
    assert counts(figures) == expected_counts(slow, figures.pool.query_ids, rules, others)


def expected_counts(
    slow: Slow, query_ids: list[str], rules: MiningSettings, others: Rankings | None = None
) -> dict[str, Any]:
    """What the report says of rules, topping up and random draws, counted over the slow choice."""
    at_random = int(rules.random_share * rules.negative_number + 0.5)
    further, topped_up, share, dropped = [], [], [], Counter[str]()
    for query_id in query_ids:
        picked = Counter(row[1] for row in slow.choose(query_id, rules, others))
        further.append(picked["further_rank"])
        share.append(min(at_random, picked["random"]))
        topped_up.append(picked["random"] - share[-1])
        dropped += slow.dropped(query_id, rules, others)
    queries = sum(a + b > 0 for a, b in zip(further, topped_up, strict=True))
    return {
        "dropped_by_rule": {rule: dropped[rule] for rule in RULES},
        "topped_up": {"from_further_ranks": sum(further), "at_random": sum(topped_up), "queries": queries},
        "drawn_for_random_share": sum(share),
    }


def counts(figures: MiningStats) -> dict[str, Any]:
    report = figures.report()
    return {name: report[name] for name in ("dropped_by_rule", "topped_up", "drawn_for_random_share")}


@pytest.mark.parametrize("second", [None, few_scores])
def test_every_rule_and_every_way_of_topping_up_is_counted(second: Second | None, tmp_path: Path) -> None:
    made = random_world(11, queries=80, passages=60)
    values: dict[str, Any] = {"max_score": 12.0, "min_score": -6.0, "absolute_margin": 1.0, "relative_margin": 0.8}
    if second:
        values |= {"absolute_margin": 0.05, "relative_margin": 0.5, "rescoring_max_score": 0.2, "rescoring_model": "m"}
    number = {"further_ranks": 6, "negative_number": 8, "random_share": 0.2}
    total: Counter[str] = Counter()
    for ranks in ("2-20", "20-55"):
        rules = MiningSettings.checked({**values, **number, "range_for_sampling": ranks})
        judge = Judge(second, "counted") if second else None
        _, figures = mined(made, rules, tmp_path / ranks, judge=judge)
        found = counts(figures)
        assert found == expected_counts(Slow(made, second), figures.pool.query_ids, rules)
        total.update(found["dropped_by_rule"] | found["topped_up"] | {"share": found["drawn_for_random_share"]})
    assert [name for name, count in total.items() if not count] == ([] if second else ["rescoring_max_score"])


@settings(max_examples=80)
@given(worlds, mining, st.integers(0, 10**6))
def test_no_positive_copy_or_filtered_passage_is_ever_emitted(made: World, rules: MiningSettings, seed: int) -> None:
    others = random_rankings(made, rules.candidate_sources, seed)
    found, _ = run(made, rules, others)
    slow = Slow(made, level=rules.relevance_level)
    for query_id, rows in found.items():
        ranking = {p: (rank, source) for p, rank, source in slow.ranking(query_id, rules, others)}
        texts = [slow.texts[row["passage_id"]] for row in rows]
        assert len(texts) == len(set(texts))
        assert not slow.known_texts(query_id) & set(texts)
        assert normalize(slow.queries[query_id]["text"]) not in texts
        for row in rows:
            assert row["score"] == slow.score(query_id, row["passage_id"])
            assert row["positive_score"] == slow.anchor(query_id)
            if row["rank"] is not None:
                assert ranking[row["passage_id"]] == (row["rank"], row["source"])
            if row["picked_by"] != "given":
                assert slow.passes(query_id, row["passage_id"], rules)


@settings(max_examples=40)
@given(worlds, mining, st.integers(1, 4), st.integers(1, 9))
def test_blocks_and_the_order_of_the_input_do_not_matter(
    made: World, rules: MiningSettings, query_block: int, passage_block: int
) -> None:
    others = random_rankings(made, rules.candidate_sources, 0)
    found, figures = run(made, rules, others)
    with pytest.MonkeyPatch.context() as patch:
        blocks = partial(exact.top_k_blocks, query_block=query_block, passage_block=passage_block)
        patch.setattr(rankings, "top_k_blocks", blocks)
        in_blocks, block_figures = run(made, rules, others)
    assert in_blocks == found
    assert block_figures.report() == figures.report()
    for name in ("corpus", "queries", "qrels", "given_negatives"):
        setattr(made.data, name, getattr(made.data, name).reverse())
    reversed_rows, reversed_figures = run(made, rules, others)
    assert reversed_rows == found
    assert reversed_figures.report() == figures.report()


def test_a_query_gets_the_same_negatives_when_other_queries_are_mined_elsewhere() -> None:
    made = random_world(7, queries=30, passages=60)
    rules = MiningSettings.checked({"range_for_sampling": "5-30", "negative_number": 6, "random_share": 0.4})
    whole, figures = run(made, rules)
    half = figures.pool.query_ids[::2]
    texts = made.data.queries.filter(pl.col("query_id").is_in(half))["text"]
    kept = pl.col("query_id").is_in(half) | pl.col("text").is_in(texts.implode())
    made.data.queries = made.data.queries.filter(kept)
    for name in ("qrels", "given_negatives", "teacher_scores"):
        table = getattr(made.data, name)
        setattr(made.data, name, table.join(made.data.queries, on="query_id", how="semi"))
    part, _ = run(made, rules)
    assert len(part) < len(whole)
    assert part == {query_id: whole[query_id] for query_id in part}


def line(positions: list[float], positive: float, **values: object) -> list[float]:
    """Scores of the chosen negatives for one query whose passages have these scores; the positive is one more."""
    passages = [(f"p{number:02}", f"text {number}", [score]) for number, score in enumerate(positions)]
    made = world([("q", "query", [1.0])], [*passages, ("x", "positive", [positive])], [("q", "x")])
    rules = {"range_for_sampling": "0-100", "sampling": "top", "negative_number": 50, "top_up": "off", **values}
    found, _ = run(made, MiningSettings.checked(rules))
    return [row["score"] for row in found["q"]]


def test_the_margin_is_right_for_negative_scores() -> None:
    """95 % of -8 is -7.6, which is above -8: a share of the score would let through what beats the positive."""
    assert line([-7.0, -7.75, -8.0, -8.25, -8.5, -9.0], -8.0, relative_margin=0.0625) == [-8.5, -9.0]
    assert line([8.5, 8.0, 7.75, 7.5, 7.25], 8.0, relative_margin=0.0625) == [7.5, 7.25]
    assert line([1.0, 0.0, -1.0], 0.0, relative_margin=0.5) == [0.0, -1.0]


def test_the_other_score_rules_include_their_bound() -> None:
    scores = [9.0, 7.0, 6.5, 6.0, 1.0]
    assert line(scores, 8.0, relative_margin=None, absolute_margin=1.5) == [6.5, 6.0, 1.0]
    assert line(scores, 8.0, relative_margin=None, max_score=7.0, min_score=6.0) == [7.0, 6.5, 6.0]
    assert line(scores, 8.0, relative_margin=None) == scores


def test_the_lowest_positive_is_the_anchor() -> None:
    passages = [("a", "a", [9.0]), ("b", "b", [4.0]), ("c", "c", [5.0]), ("d", "d", [3.0])]
    made = world([("q", "query", [1.0])], passages, [("q", "a"), ("q", "b")])
    found, figures = run(made, MiningSettings.checked({"range_for_sampling": "0-4", "negative_number": 2}))
    assert [(row["passage_id"], row["positive_score"]) for row in found["q"]] == [("d", 4.0)]
    assert figures.dropped["relative_margin"] == 1 and figures.dropped["known_positive_id"] == 2
    assert figures.missing == 1


def test_the_range_counts_the_ranks_of_the_search_positives_included() -> None:
    scores = [20.0, 19.0, 18.0, 17.0, 16.0]
    # the positive has rank 3, so that ranks 3 to 5 leave two candidates
    assert line(scores, 18.5, range_for_sampling="2-5", relative_margin=None) == [18.0, 17.0]


def test_a_sample_is_uniform_over_what_the_filters_leave() -> None:
    passages = [(f"p{number:02}", f"text {number}", [float(-number)]) for number in range(12)]
    queries = [(f"q{number:04}", f"query {number}", [1.0]) for number in range(3000)]
    made = world(queries, passages, [(query_id, "p00") for query_id, _, _ in queries])
    rules = {"range_for_sampling": "2-10", "sampling": "random", "negative_number": 2, "top_up": "off"}
    found, _ = run(made, MiningSettings.checked(rules))
    counts: dict[str, int] = defaultdict(int)
    for rows in found.values():
        for row in rows:
            counts[row["passage_id"]] += 1
    assert sorted(counts) == [f"p{number:02}" for number in range(2, 10)]
    # 3000 x 2 draws over 8 passages: 750 each, standard deviation sqrt(3000 x 1/4 x 3/4) = 24
    assert max(abs(count - 750) for count in counts.values()) < 5 * 24


def test_random_draws_reach_the_last_passage_that_is_left() -> None:
    """Only one of 3,000 passages passes max_score, and it stands far below the searched ranks."""
    passages = [(f"p{number:04}", f"text {number}", [5.0, 0.0]) for number in range(3000)]
    passages[2000] = ("p2000", "text 2000", [1.0, 0.0])
    made = world([("q", "query", [1.0, 0.0])], passages, [("q", "p0000")])
    rules = {"range_for_sampling": "0-10", "negative_number": 3, "further_ranks": 5, "max_score": 2.0}
    found, figures = run(made, MiningSettings.checked(rules))
    assert [(row["passage_id"], row["picked_by"], row["rank"]) for row in found["q"]] == [("p2000", "random", None)]
    assert figures.missing == 2 and figures.short_queries == 1
    assert figures.topped_up.tolist() == [0, 1, 1]


def test_given_negatives_are_kept_merged_and_scored_but_never_a_positive() -> None:
    passages = [("a", "Alpha", [5.0]), ("b", "beta", [4.9]), ("c", "gamma", [3.0]), ("d", "alpha", [2.0])]
    made = world(
        [("q", "query", [1.0])],
        passages,
        [("q", "a")],
        given=[("q", "b"), ("q", "a"), ("q", "d")],
        teacher=[("q", "b", 7.5), ("q", "c", -1.0)],
    )
    found, figures = run(made, MiningSettings.checked({"range_for_sampling": "0-4", "negative_number": 2}))
    rows = [(row["passage_id"], row["rank"], row["teacher_score"], row["picked_by"]) for row in found["q"]]
    assert rows == [("c", 3, -1.0, "search"), ("b", 2, 7.5, "given")]
    report = figures.report()
    assert report["given_known_positive_or_repeated"] == 2
    assert report["dropped_by_rule"]["given_negative"] == 1
    assert report["dropped_by_rule"]["known_positive_text"] == 1
