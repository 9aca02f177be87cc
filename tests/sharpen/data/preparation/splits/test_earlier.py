"""Splits over several retrainings: what was held out stays there, and what a champion saw is never tested."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from sharpen.data import query_keys
from sharpen.data.preparation.data_plan import DataPlan
from sharpen.data.preparation.settings import DataSettings
from sharpen.data.preparation.splits import make_splits
from sharpen.data.preparation.splits.notes import split_notes
from sharpen.data.preparation.working_set import WorkingSet
from sharpen.errors import InputError
from tests.sharpen.data.preparation.splits.tables import NO_GROUPS, Row, groups_of, rows, splits, working_set


class Registry:
    """The files of a registry that a run reads, written as its finished runs write them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.held_out, self.trained, self.runs = folder, {"dev": set(), "test": set()}, set(), 0

    def plan(self) -> DataPlan:
        if not self.runs:
            return DataPlan()
        held_out, trained = self.folder / f"{self.runs}.json", self.folder / f"{self.runs}.u64"
        held_out.write_bytes(query_keys.held_out_as_bytes(self.held_out))
        trained.write_bytes(query_keys.as_bytes(self.trained))
        return DataPlan(held_out=str(held_out), trained_queries=str(trained))

    def record(self, work: WorkingSet, *, promoted: bool) -> None:
        self.runs += 1
        for split in ("dev", "test"):
            self.held_out[split] |= keys_of(work, split)
        self.trained |= keys_of(work, "train") if promoted else set()


def keys_of(work: WorkingSet, split: str) -> set[int]:
    queries = work.data.queries_of(split)
    return set(query_keys.with_ids(queries["text_key"], queries["query_id"]))


def changed(given: list[Row], dice: random.Random, step: int) -> list[Row]:
    """The data of the next night: more rows, some gone, some with another text, some joined by a passage or a group."""
    after = [row for row in given if dice.random() > 0.03]
    for _ in range(len(after) // 25):
        at = dice.randrange(len(after))
        after[at] = replace(after[at], text=f"{after[at].text} (version {step})")
        one, other = dice.sample(range(len(after)), 2)
        after[one] = replace(after[one], positives=(*after[one].positives, after[other].positives[0]))
    for number in range(80):
        name = f"n{step}-{number}"
        passages = (f"p {name}", *([dice.choice(after).positives[0]] if dice.random() < 0.3 else []))
        group = f"document {dice.randrange(60)}" if dice.random() < 0.5 else None
        after.append(Row(name, f"question {name}", passages, group, day=400 + step + dice.random()))
    dice.shuffle(after)
    return after


@pytest.mark.parametrize(
    "settings",
    [{}, {"large_components": "cut", "on_leak": "mask"}, {"split_by": "hash"}, {"split_by": "time"}],
    ids=["group", "cut", "hash", "time"],
)
def test_over_ten_retrainings_no_query_moves_and_none_that_was_trained_on_is_tested(tmp_path, settings) -> None:
    dice, registry = random.Random(7), Registry(tmp_path)
    given = [replace(row, group=f"document {index % 60}" if index % 2 else None) for index, row in enumerate(rows(400))]
    was: dict[str, str] = {}
    trained: set[str] = set()
    sizes = []
    for step in range(10):
        work = working_set(given)
        make_splits(work, groups_of(given), DataSettings(**settings), registry.plan())
        now = {name: split for split, names in splits(work).items() for name in names}
        moved = {name: (was[name], now[name]) for name in was.keys() & now.keys() if was[name] != now[name]}
        assert not moved
        held_out = {name for name, split in now.items() if split != "train"}
        assert held_out.isdisjoint(trained)
        texts = {split: set(work.data.queries_of(split)["text_key"]) for split in ("train", "dev", "test")}
        assert texts["train"].isdisjoint(texts["test"] | texts["dev"])
        was |= {name: split for name, split in now.items() if split != "train"}
        promoted = step % 3 != 1
        trained |= {name for name, split in now.items() if split == "train"} if promoted else set()
        registry.record(work, promoted=promoted)
        sizes.append(len(splits(work)["test"]) / len(now))
        given = changed(given, dice, step)
    # new queries are held out too, by the same rule, so that test keeps its share
    assert min(sizes) > 0.06 and max(sizes) < 0.16
    assert any(name.startswith("n") for name, split in now.items() if split == "test")


def test_without_freezing_queries_do_move_but_none_that_a_champion_saw_is_tested(tmp_path: Path) -> None:
    dice, registry = random.Random(7), Registry(tmp_path)
    given, was, moved = rows(400), {}, 0
    for step in range(4):
        work = working_set(given)
        make_splits(work, NO_GROUPS, DataSettings(freeze_splits=False, seed=step), registry.plan())
        now = {name: split for split, names in splits(work).items() for name in names}
        moved += sum(was[name] == "test" and now[name] == "train" for name in was.keys() & now.keys())
        assert registry.trained.isdisjoint(keys_of(work, "test") | keys_of(work, "dev"))
        was = now
        registry.record(work, promoted=step == 0)
        given = changed(given, dice, step)
    assert moved > 10


def test_new_queries_join_a_held_out_document_and_not_one_that_would_outgrow_its_split(tmp_path: Path) -> None:
    given = [replace(row, group=f"document {index % 40}") for index, row in enumerate(rows(400))]
    registry = Registry(tmp_path)
    first = working_set(given)
    make_splits(first, groups_of(given), DataSettings())
    registry.record(first, promoted=True)
    document = first.data.queries_of("test")["group"][0]
    few = [Row(f"few{n}", f"few {n}", (f"few{n}",), document) for n in range(2)]
    second = working_set([*given, *few])
    make_splits(second, groups_of([*given, *few]), DataSettings(), registry.plan())
    assert {"few0", "few1"} <= splits(second)["test"] and splits(first)["test"] <= splits(second)["test"]
    many = [Row(f"many{n}", f"many {n}", (f"many{n}",), document) for n in range(200)]
    third = working_set([*given, *many])
    leaks = make_splits(third, groups_of([*given, *many]), DataSettings(), registry.plan())
    # they may not stand in train beside their document in test
    assert not [name for names in splits(third).values() for name in names if name.startswith("many")]
    assert leaks.counts["train"]["same_group"] == 200
    assert splits(first)["test"] <= splits(third)["test"]


def test_documents_that_become_one_stay_in_their_splits_and_what_leaks_is_left_out(tmp_path: Path) -> None:
    given = [replace(row, group=f"document {index % 40}") for index, row in enumerate(rows(400))]
    registry, first = Registry(tmp_path), working_set(given)
    make_splits(first, groups_of(given), DataSettings())
    registry.record(first, promoted=True)
    tested, trained = (first.data.queries_of(split)["group"][0] for split in ("test", "train"))
    merged = [replace(row, group="both" if row.group in (tested, trained) else row.group) for row in given]
    second = working_set(merged)
    leaks = make_splits(second, groups_of(merged), DataSettings(), registry.plan())
    assert leaks.counts["train"]["same_group"] == 10
    assert splits(second)["test"] == splits(first)["test"]
    assert splits(second)["train"] == splits(first)["train"] - {row.query_id for row in given if row.group == trained}


def test_a_test_of_the_users_own_is_respected_whatever_earlier_runs_did(tmp_path: Path) -> None:
    registry, first = Registry(tmp_path), working_set(rows(200))
    make_splits(first, NO_GROUPS, DataSettings())
    registry.record(first, promoted=True)
    brought = [replace(row, split="test" if index % 10 == 0 else "train") for index, row in enumerate(rows(200))]
    second = working_set(brought)
    make_splits(second, NO_GROUPS, DataSettings(dev_share=0), registry.plan())
    assert splits(second)["test"] == {f"q{n}" for n in range(0, 200, 10)}
    assert len(splits(second)["train"]) == 180


def test_what_is_new_is_reported_and_nothing_left_to_test_says_why(tmp_path: Path) -> None:
    registry, first = Registry(tmp_path), working_set(rows(200))
    make_splits(first, NO_GROUPS, DataSettings())
    registry.record(first, promoted=True)
    second = working_set(rows(300))
    make_splits(second, NO_GROUPS, DataSettings(), registry.plan())
    facts = second.splitting
    assert facts["earlier"] == {split: len(names) for split, names in splits(first).items()}
    assert sum(facts["new"].values()) == 100
    assert "as in earlier runs; new: " in "\n".join(split_notes({"splitting": facts, "dropped": {}}))
    registry.trained |= keys_of(first, "test") | keys_of(first, "dev")
    with pytest.raises(InputError, match="champions of this model were trained on 200 of the queries"):
        make_splits(working_set(rows(200)), NO_GROUPS, DataSettings(), registry.plan())
    (tmp_path / "1.json").write_text("{]")
    with pytest.raises(InputError, match=r"1\.json: damaged .*; delete it"):
        make_splits(working_set(rows(200)), NO_GROUPS, DataSettings(), DataPlan(held_out=str(tmp_path / "1.json")))
