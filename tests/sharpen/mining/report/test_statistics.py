"""The figures: hidden positives and consistency on data with a known answer, histograms, the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sharpen.mining import rng
from sharpen.mining.report.histogram import BINS, histograms
from sharpen.mining.report.page import render_page
from sharpen.mining.report.statistics import MiningStats, shortened
from sharpen.mining.report.summary import summary
from sharpen.mining.rng import RngStream
from sharpen.mining.settings import MiningSettings
from sharpen.settings import EncoderSettings
from tests.sharpen.mining.corpora import World, mined, world
from tests.sharpen.reports.html_pages import HOSTILE, check_page


def two_positives(queries: int) -> World:
    """Every query has a positive A of score 8 and B of score 4 among others of 2 and below; the last has A alone."""
    passages = [("a", "A", [8.0]), ("b", "B", [4.0])]
    passages += [(f"p{number:02}", f"other {number}", [2.0 - number]) for number in range(30)]
    rows = [(f"q{number:03}", f"query {number}", [1.0]) for number in range(queries + 1)]
    positives = [(query_id, letter) for query_id, _, _ in rows for letter in "ab"]
    return world(rows, passages, [pair for pair in positives if pair != (rows[-1][0], "b")])


def test_hidden_positives_on_data_with_a_known_answer(tmp_path: Path) -> None:
    made = two_positives(40)
    values = {"range_for_sampling": "0-20", "sampling": "top", "negative_number": 2, "seed": 3}
    _, figures = mined(made, MiningSettings.checked(values), tmp_path)
    # text 0 is A, text 1 is B
    hidden = [int(rng.generator(3, f"q{n:03}", RngStream.HIDE).choice(np.array([0, 1]))) for n in range(40)]
    a, b = hidden.count(0), hidden.count(1)
    assert min(a, b) > 5
    report = figures.false_negatives.report()
    assert report is not None
    # A scores above B, the positive that is left, so the margin catches it; B scores far below A and is taken.
    assert report == {
        "queries": 40,
        "rate_as_set": b / 40,
        "rate_without_filters": 1.0,
        "rate_top_without_filters": 1.0,
        "outcome": {"picked": b, "relative_margin": a} if b > a else {"relative_margin": a, "picked": b},
    }


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ({"range_for_sampling": "5-20", "relative_margin": None}, {"above_the_range"}),
        ({"max_score": 3.0, "relative_margin": None, "range_for_sampling": "0-20"}, {"max_score"}),
        ({"range_for_sampling": "0-2", "relative_margin": None, "negative_number": 1, "sampling": "top"}, {"picked"}),
        ({"range_for_sampling": "0-20", "relative_margin": None, "sampling": "random"}, {"not_drawn", "picked"}),
    ],
)
def test_where_hidden_positives_go(values: dict, outcome: set[str], tmp_path: Path) -> None:
    settings = MiningSettings.checked({"negative_number": 3, "top_up": "off", **values})
    _, figures = mined(two_positives(60), settings, tmp_path)
    assert set(figures.false_negatives.outcome) == outcome
    assert figures.false_negatives.outcome.total() == figures.false_negatives.queries == 60


def test_no_estimate_where_no_query_has_several_positives(tmp_path: Path) -> None:
    passages = [("a", "one", [2.0]), ("b", "ONE", [2.0]), ("c", "two", [1.0])]
    made = world([("q", "x", [1.0])], passages, [("q", "a"), ("q", "b")])
    _, figures = mined(made, MiningSettings.checked({}), tmp_path)
    assert figures.report()["hidden_positives"] is None


def ranked_positives() -> World:
    """Three queries whose positives have the ranks 1, 3 and 30."""
    passages = [(f"p{number:02}", f"text {number}", [50.0 - number]) for number in range(40)]
    queries = [(f"q{number}", f"query {number}", [1.0]) for number in range(3)]
    return world(queries, passages, [("q0", "p00"), ("q1", "p02"), ("q2", "p29"), ("q2", "p35")])


@pytest.mark.parametrize("action", ["report", "drop"])
def test_consistency(action: str, tmp_path: Path) -> None:
    settings = MiningSettings.checked(
        {"consistency_top": 2, "on_inconsistent": action, "range_for_sampling": "0-40", "negative_number": 3}
    )
    rows, figures = mined(ranked_positives(), settings, tmp_path)
    dropped = action == "drop"
    assert {row["query_id"] for row in rows} == ({"q0"} if dropped else {"q0", "q1", "q2"})
    report = figures.report()
    assert report["consistency"] == {"top": 2, "inconsistent_queries": 2, "dropped_queries": 2 * dropped}
    assert report["share_of_queries_with_a_positive_in_top"] == {"1": 1 / 3, "10": 2 / 3, "100": 1.0}
    assert report["negatives"] == len(rows) == sum(report["picked_by"].values())
    listed = pl.read_parquet(tmp_path / "inconsistent").rows()
    assert listed == [("q1", 3, 48.0, dropped), ("q2", 30, 15.0, dropped)]


def test_histograms_share_their_edges_and_lose_nothing() -> None:
    generator = np.random.default_rng(0)
    positives, negatives = generator.normal(0.7, 0.1, 500), generator.normal(0.2, 0.1, 3000)
    first, second = histograms(positives.astype(np.float32), negatives.astype(np.float32))
    assert first["edges"] == second["edges"] and len(first["edges"]) == BINS + 1
    assert sum(first["counts"]) == 500 and sum(second["counts"]) == 3000
    same, _ = histograms(np.ones(3, dtype=np.float32), np.ones(2, dtype=np.float32))
    assert sum(same["counts"]) == 3


def whole(figures: MiningStats, settings: MiningSettings) -> dict[str, Any]:
    """The figures as they stand in report.json, with what `mine` adds."""
    return {
        **figures.report(),
        "model": "m",
        "model_hash": "h",
        "data": "d",
        "data_fingerprint": "f",
        "search": {"model": {"index": "exact"}},
        "seconds": {"total": 1.0},
        "settings": settings.model_dump(mode="json"),
        "encoder": EncoderSettings.checked({}).model_dump(mode="json"),
    }


def test_the_page_tells_topping_up_from_the_random_share(tmp_path: Path) -> None:
    """Ten negatives a query: two drawn for random_share, three of the range, four after it, and one more at random."""
    passages = [("a", "A", [50.0]), *((f"p{number:02}", f"text {number}", [20.0 - number]) for number in range(40))]
    queries = [(f"q{number}", f"query {number}", [1.0]) for number in range(5)]
    made = world(queries, passages, [(query_id, "a") for query_id, _, _ in queries])
    values = {"range_for_sampling": "1-4", "further_ranks": 4, "negative_number": 10, "random_share": 0.2}
    settings = MiningSettings.checked(values)
    _, figures = mined(made, settings, tmp_path)
    report = whole(figures, settings)
    assert report["topped_up"] == {"from_further_ranks": 20, "at_random": 5, "queries": 5}
    assert report["drawn_for_random_share"] == 10
    page = render_page(report)
    for name, count in (
        ("sampled from the range", 15),
        ("topped up from the ranks after the range", 20),
        ("drawn from the whole corpus, as random_share asks", 10),
        ("topped up from the whole corpus, at random", 5),
    ):
        assert f'<th scope="row">{name}</th><td class="num">{count}</td>' in page
    assert "5 queries were topped up, because the filters left too few passages of the range" in page
    assert "5 queries were topped up: 20 negatives from further ranks, 5 at random" in summary(report)


def test_the_page_escapes_texts_and_needs_nothing_else(tmp_path: Path) -> None:
    made = two_positives(5)
    made.data.queries = made.data.queries.with_columns(text=pl.lit("<script>alert('x')</script> & ") + pl.col("text"))
    settings = MiningSettings.checked({"negative_number": 3, "consistency_top": 1})
    _, figures = mined(made, settings, tmp_path)
    report = whole(figures, settings)
    json.dumps(report, allow_nan=False)
    page = render_page(report)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "//" not in page and page.count("<svg") == 1
    check_page(page)
    assert "6 queries" in page and "10-32 became" not in page
    assert any("hidden positives" in line for line in summary(report))


def test_hostile_names_and_texts_stay_text_on_the_page(tmp_path: Path) -> None:
    settings = MiningSettings.checked({"negative_number": 3, "consistency_top": 1})
    _, figures = mined(two_positives(5), settings, tmp_path)
    report = whole(figures, settings)
    plain = len(check_page(render_page(report)))
    report |= dict.fromkeys(("model", "model_hash", "data", "data_fingerprint"), HOSTILE)
    report |= {
        "notices": [HOSTILE],
        "examples": [{k: _hostile(v) for k, v in row.items()} for row in report["examples"]],
    }
    report["sources"] = [{k: _hostile(v) for k, v in row.items()} for row in report["sources"]]
    search = next(iter(report["search"].values()))
    search |= {"index": HOSTILE, "recall": 0.5, "ranks": 9, "queries": 5}
    report["search"] = {f"source {HOSTILE}": search}
    text = check_page(render_page(report))
    assert len(text) > plain + 10 * len(HOSTILE) / 2
    assert text.count("<script>alert(1)</script>") >= 8


def _hostile(value: object) -> object:
    return HOSTILE if isinstance(value, str) else value


def test_long_texts_are_cut() -> None:
    assert shortened("a \n b") == "a b"
    assert len(shortened("word " * 200)) <= 300
