"""Splits by time and by hash, large components, groups, and what becomes of shared passages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharpen.data.preparation.settings import DataSettings
from sharpen.data.preparation.splits import make_splits
from sharpen.data.preparation.splits.notes import split_notes, split_rows
from sharpen.data.relevance import MASKED, Relevance
from sharpen.errors import InputError
from tests.sharpen.data.preparation.splits.tables import NO_GROUPS, Row, groups_of, rows, splits, working_set

BY_TIME = DataSettings(split_by="time")


def notes(work) -> str:
    return "\n".join(split_notes({"splitting": work.splitting, "dropped": work.counts}))


def test_by_time_the_newest_are_test_and_the_next_dev() -> None:
    work = working_set(rows(200))
    make_splits(work, NO_GROUPS, BY_TIME)
    found = splits(work)
    assert found["test"] == {f"q{n}" for n in range(180, 200)}
    assert found["dev"] == {f"q{n}" for n in range(170, 180)}
    assert "test begins at 2026-06-30T00:00:00" in notes(work) and "dev begins at 2026-06-20" in notes(work)
    assert ("first time of test", "2026-06-30T00:00:00+00:00") in split_rows(
        {"splitting": work.splitting, "dropped": work.counts}
    )


def test_by_time_ties_are_drawn_and_missing_times_trained_on_and_both_are_reported() -> None:
    # 40 queries of one moment, of which test needs 20
    given = [replace(row, day=min(row.day or 0, 160)) for row in rows(200)]
    given = [replace(row, day=None) if index < 10 else row for index, row in enumerate(given)]
    found = []
    for seed in (1, 2):
        work = working_set(given)
        make_splits(work, NO_GROUPS, BY_TIME.model_copy(update={"seed": seed}))
        found.append(splits(work))
        assert len(found[-1]["test"]) == 20 and found[-1]["test"] <= {f"q{n}" for n in range(160, 200)}
        assert {f"q{n}" for n in range(10)} <= found[-1]["train"]
        assert "test begins at 2026-06-10T00:00:00+00:00; 40 queries have this very time" in notes(work)
        assert "10 queries without a time are trained on" in notes(work)
    assert found[0] != found[1]
    with pytest.raises(InputError, match=r"split_by is time, but no training query has a time"):
        make_splits(working_set([replace(row, day=None) for row in given]), NO_GROUPS, BY_TIME)


@pytest.mark.parametrize("rule", ["time", "hash", "group"])
def test_groups_never_straddle_unless_it_is_set(rule: str) -> None:
    # group of a query's number modulo 50: each holds old and new queries
    given = [replace(row, group=f"document {index % 50}") for index, row in enumerate(rows(300))]
    straddling = {}
    for apart in (False, True):
        work = working_set(given)
        make_splits(work, groups_of(given), DataSettings(split_by=rule, split_groups=apart))
        by_group = work.data.queries.group_by("group").agg(splits="split")
        straddling[apart] = sum(len(set(found)) > 1 for found in by_group["splits"])
        assert splits(work)["test"] and splits(work)["dev"]
    assert straddling[False] == 0 and straddling[True] > 10


def test_by_time_a_group_is_as_new_as_its_newest_query() -> None:
    """So nothing in train is newer than the beginning of test, where groups stay together."""
    given = [replace(row, group=f"document {index % 50}") for index, row in enumerate(rows(300))]
    work = working_set(given)
    make_splits(work, groups_of(given), BY_TIME)
    newest = {split: max(int(name[1:]) for name in names) for split, names in splits(work).items()}
    assert newest["train"] < newest["dev"] < newest["test"]


def test_by_time_new_queries_about_old_passages_are_no_leak_but_counted() -> None:
    given = [replace(row, positives=(f"p{index % 40}",)) for index, row in enumerate(rows(200))]
    work = working_set(given)
    leaks = make_splits(work, NO_GROUPS, BY_TIME)
    assert {name: len(ids) for name, ids in splits(work).items()} == {"train": 170, "dev": 10, "test": 20}
    assert leaks.shared["train"] > 100
    # 20 test queries about 20 passages: a group for each, as queries of one passage succeed and fail together
    assert work.data.queries_of("test")["group"].n_unique() == 20
    strict = working_set(given)
    make_splits(strict, NO_GROUPS, DataSettings(split_by="time", leak_check="query_and_passage"))
    assert len(splits(strict)["train"]) < 100


def hub(count: int, alone: int) -> list[Row]:
    """Queries that hang together by passages, a chain with a passage of its own for each, and `alone` that do not."""
    chain = [Row(f"c{n}", f"chained {n}", (f"own{n}", f"link{n}", f"link{n + 1}")) for n in range(count)]
    return [*chain, *rows(alone)]


def test_a_component_larger_than_half_a_split_is_trained_on_unless_it_is_cut() -> None:
    whole, cut = working_set(hub(600, 400)), working_set(hub(600, 400))
    make_splits(whole, NO_GROUPS, DataSettings())
    assert all(name.startswith("q") for name in splits(whole)["test"] | splits(whole)["dev"])
    assert "600 queries hang together in 1 component(s) larger than half of a split; they are trained on" in notes(
        whole
    )
    leaks = make_splits(cut, NO_GROUPS, DataSettings(large_components="cut"))
    assert "they are cut by text and group" in notes(cut)
    tested = [name for name in splits(cut)["test"] if name.startswith("c")]
    assert len(tested) > 30
    # neighbours in the chain of what is held out are left out of training (and of dev, by test), and nothing else is
    number = {name: int(name[1:]) for name in splits(cut)["test"] | splits(cut)["dev"] if name.startswith("c")}
    near = {f"c{n + step}" for n in number.values() for step in (-1, 1) if 0 <= n + step < 600} - number.keys()
    assert near and near.isdisjoint(splits(cut)["train"])
    assert leaks.total("train") + leaks.total("dev") == len(near)
    assert len(splits(cut)["train"]) == 1000 - cut.counts["leaking_queries"] - len(splits(cut)["test"]) - len(
        splits(cut)["dev"]
    )
    # a chain that was cut is many groups, not one
    groups = cut.data.queries_of("test")["group"]
    assert groups.n_unique() > 0.7 * len(groups)


def test_shared_positives_can_be_masked_and_are_never_negatives_then() -> None:
    work = working_set(hub(600, 400))
    leaks = make_splits(work, NO_GROUPS, DataSettings(large_components="cut", on_leak="mask"))
    found = splits(work)
    # every query of the chain has a passage of its own left to train on
    assert leaks.total("train") == 0 and len(found["train"] | found["dev"] | found["test"]) == 1000 - leaks.total("dev")
    masked = work.data.qrels.filter(split=MASKED)
    assert masked.height == work.counts["positives_masked"] > 30
    assert f"{masked.height:,} positives of training queries are masked" in notes(work)
    answers = {split: set(work.data.qrels.filter(split=split)["passage_id"]) for split in found}
    assert answers["train"].isdisjoint(answers["test"] | answers["dev"])
    relevance = Relevance.of(work.data)
    pairs = set(masked.select("query_id", "passage_id").iter_rows())
    assert pairs.isdisjoint(relevance.positives().select("query_id", "passage_id").iter_rows())
    keys = dict(work.data.queries.select("query_id", "text_key").iter_rows())
    texts = dict(work.data.corpus.select("passage_id", "text_key").iter_rows())
    never = set(relevance.never_negatives().select("query_key", "text_key").iter_rows())
    assert {(keys[query], texts[passage]) for query, passage in pairs} <= never


def test_a_query_whose_only_positive_is_shared_is_left_out_when_masking() -> None:
    given = [replace(row, positives=("everywhere",)) for row in rows(100)] + [
        replace(row, query_id=f"x{row.query_id}", text=f"other {row.text}", positives=(f"x{row.query_id}",))
        for row in rows(100)
    ]
    work = working_set(given)
    leaks = make_splits(work, NO_GROUPS, DataSettings(split_by="hash", on_leak="mask"))
    assert leaks.counts["train"]["shared_positive"] == 100 - sum(
        not name.startswith("x") for name in splits(work)["test"] | splits(work)["dev"]
    ) - leaks.total("dev")
    assert work.data.qrels.filter(split=MASKED).is_empty()


def test_by_hash_a_query_is_drawn_by_its_text_alone() -> None:
    """Whatever passages it shares, and whatever is added."""
    few = [replace(row, positives=("everywhere", f"p{index}")) for index, row in enumerate(rows(1000))]
    found = []
    for given in (
        few,
        [*few, *(replace(row, query_id=f"n{row.query_id}", text=f"new {row.text}") for row in rows(500))],
    ):
        work = working_set(given)
        make_splits(work, NO_GROUPS, DataSettings(split_by="hash", on_leak="mask"))
        found.append(splits(work))
    assert 90 <= len(found[0]["test"]) <= 110
    moved = found[0]["test"] - found[1]["test"]
    assert len(moved) <= 5
