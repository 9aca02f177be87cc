"""Click logs: what they mean by the thresholds, and that position weights find the relevance that clicks come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from sharpen.data.dataset import DataSet
from sharpen.data.readers import ReadReport, detect_inputs, read_input
from sharpen.data.readers.columns.clicks import ClickLog, propensity
from sharpen.data.readers.columns.names import columns_of
from sharpen.data.readers.query_facts import QueryFacts
from sharpen.data.readers.tables import DataSetBuilder
from sharpen.data.source_settings import ClickSettings, SourceSettings
from tests.sharpen.data.input_files import write_rows

NAMES = ["query", "shown", "clicked", "position"]


def read(path: Path, **settings: object) -> tuple[DataSet, ReadReport]:
    report = ReadReport()
    [item] = detect_inputs(SourceSettings.checked({"address": str(path), **settings}))
    return read_input(item, "log", "train", report), report


def texts(data: DataSet) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Query and passage of the positives, and of the hard negatives."""
    named = [
        table.join(data.queries.select("query_id", query="text"), on="query_id").join(data.corpus, on="passage_id")
        for table in (data.qrels, data.given_negatives)
    ]
    return set(named[0].select("query", "text").rows()), set(named[1].select("query", "text").rows())


IMPRESSIONS = [
    {"query": "undo", "shown": "git revert", "clicked": 1, "position": 2},
    {"query": "Undo", "shown": "git revert", "clicked": 0, "position": 1},
    {"query": "undo", "shown": "git push", "clicked": 0, "position": 1},
    {"query": "undo", "shown": "git push", "clicked": False, "position": 2},
    {"query": "undo", "shown": "git tag", "clicked": "", "position": 3},
    {"query": "nobody clicks", "shown": "git tag", "clicked": 0, "position": 1},
]


def test_clicked_is_positive_and_shown_without_a_click_is_a_hard_negative(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "log.jsonl", IMPRESSIONS)
    data, report = read(path)
    assert texts(data) == ({("Undo", "git revert")}, {("Undo", "git push"), ("Undo", "git tag")})
    assert report.rows == 6 and report.notices == {f"{path}: query of the log without a positive": 1}
    # twice shown is asked for: once does not say enough
    data, report = read(path, clicks={"min_impressions": 2})
    assert texts(data) == ({("Undo", "git revert")}, {("Undo", "git push")})
    assert report.notices[f"{path}: shown passage of which the log does not say enough"] == 2
    # once in two is too little, but not without the bias of its position
    assert texts(read(path, clicks={"min_click_rate": 0.6})[0])[0] == set()
    fair = {"min_click_rate": 0.6, "propensities": [1.0, 0.5]}
    assert texts(read(path, clicks=fair)[0])[0] == {("Undo", "git revert")}
    # probably looked at less than 1.8 times
    unseen = {"propensities": [1.0, 0.5], "min_examined": 1.8}
    assert texts(read(path, clicks=unseen)[0])[1] == set()


def test_a_row_may_be_a_whole_page_and_a_log_many_files(tmp_path: Path) -> None:
    pages = [
        {"query": "undo", "shown": ["git push", "git revert", "git tag"], "clicked": ["git revert"]},
        {"query": "undo", "shown": ["git push", "git revert", "git tag"], "clicked": [0, 1, 0]},
        {"query": "undo", "shown": ["git push"], "clicked": ["git tag"]},
        {"query": "undo", "shown": "git push", "clicked": "maybe"},
        {"query": "undo", "shown": "git push", "clicked": 1, "position": 0},
    ]
    for number, page in enumerate(pages):
        write_rows(tmp_path / "days" / f"{number}.jsonl", [page])
    data, report = read(tmp_path / "days" / "*.jsonl", clicks={"min_clicks": 2, "propensities": "log2"})
    assert texts(data) == ({("undo", "git revert")}, {("undo", "git push"), ("undo", "git tag")})
    assert set(data.queries["source"]) == {"days"}
    assert [(Path(bad.file).name, bad.reason, bad.field) for bad in report.bad_rows] == [
        ("2.jsonl", "unknown_id", "clicked"),
        ("3.jsonl", "wrong_type", "clicked"),
        ("4.jsonl", "wrong_type", "position"),
    ]


def test_shown_may_be_ids_of_the_candidate_pool(tmp_path: Path) -> None:
    pool = [{"sku": "7", "what": "git revert"}, {"sku": "8", "what": "git push"}, {"sku": "9", "what": "git tag"}]
    corpus = write_rows(tmp_path / "corpus.jsonl", pool)
    columns = {"query": "asked", "passage_id": "sku", "text": "what"}
    rows = [
        {"asked": "undo", "shown": 7, "clicked": 1},
        {"asked": "undo", "shown": "8", "clicked": 0},
        {"asked": "undo", "shown": 10, "clicked": 0},
    ]
    data, report = read(write_rows(tmp_path / "log.jsonl", rows), corpus=str(corpus), columns=columns)
    assert texts(data) == ({("undo", "git revert")}, {("undo", "git push")})
    assert set(data.corpus["passage_id"]) == {"7", "8", "9"}
    assert [(bad.line, bad.reason) for bad in report.bad_rows] == [(3, "unknown_id")]


def test_weights_find_the_relevance_that_simulated_clicks_come_from() -> None:
    """The position-based model, with a ranker that puts relevant passages low, so that plain rates are misled."""
    rng = np.random.default_rng(7)
    queries, passages, sessions = 12, 8, 2500
    settings = ClickSettings.checked({"propensities": "reciprocal"})
    look = np.array([propensity(settings, position) for position in range(1, passages + 1)])
    relevance = rng.uniform(0.02, 0.6, (queries, passages))
    plain, weighted, right = [], [], []
    for query in range(queries):
        log, columns = ClickLog(settings), columns_of(NAMES, SourceSettings(address="log"), "log")
        tables, shown = DataSetBuilder(), np.zeros(passages)
        ranks = np.array([np.argsort(relevance[query] + rng.normal(0, 0.3, passages)) for _ in range(sessions // 50)])
        for order in ranks:
            for position, passage in enumerate(order, 1):
                for clicked in rng.random(50) < look[position - 1] * relevance[query, passage]:
                    row = {"query": "q", "shown": str(passage), "clicked": clicked, "position": position}
                    log.add(row, columns, QueryFacts(), tables)
                shown[passage] += 50
        [found] = log._queries.values()
        known = [found.shown[str(passage)] for passage in range(passages)]
        assert [one.impressions for one in known] == shown.tolist()
        plain.append([one.clicks / one.impressions for one in known])
        weighted.append([one.click_rate for one in known])
        right.append(relevance[query])
    plain, weighted, right = np.array(plain), np.array(weighted), np.array(right)
    assert abs((weighted - right).mean()) < 0.01 and np.abs(weighted - right).mean() < 0.05
    agreement = [
        np.mean([kendalltau(a, b).statistic for a, b in zip(rates, right, strict=True)]) for rates in (weighted, plain)
    ]
    assert agreement[0] > 0.85 and agreement[0] > agreement[1] + 0.3
    # what a threshold makes positive is relevant
    positive = weighted >= 0.3
    assert (right[positive] > 0.2).mean() > 0.97 and (right[~positive] < 0.4).mean() > 0.97


@pytest.mark.parametrize(
    ("propensities", "expected"),
    [
        ("none", [1, 1, 1]),
        ("reciprocal", [1, 1 / 2, 1 / 3]),
        ("log2", [1, 0.63093, 0.5]),
        ([0.9, 0.4], [0.9, 0.4, 0.4]),
    ],
)
def test_propensities_have_names_or_are_listed(propensities: object, expected: list[float]) -> None:
    settings = ClickSettings.checked({"propensities": propensities})
    assert [propensity(settings, position) for position in (1, 2, 3)] == pytest.approx(expected, abs=1e-5)
