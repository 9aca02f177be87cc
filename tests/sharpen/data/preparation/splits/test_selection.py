"""What of the training queries is trained on: windows, what champions have not seen, and a share of the rest."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import chi2

from sharpen.data import query_keys
from sharpen.data.examples import examples_of
from sharpen.data.preparation.data_plan import DataPlan, NothingNew
from sharpen.data.preparation.settings import DataSettings
from sharpen.data.preparation.splits import make_splits
from sharpen.data.preparation.splits.notes import split_notes, split_rows
from sharpen.data.preparation.working_set import WorkingSet
from sharpen.data.window import Window
from tests.sharpen.data.preparation.splits.tables import DAY_0, NO_GROUPS, groups_of, rows, splits, working_set
from tests.sharpen.data.preparation.splits.test_earlier import Registry, changed


class RegistryOfExamples(Registry):
    """One that holds what champions were trained on, too."""

    examples: set[int] = set()  # noqa: RUF012

    def plan(self, **selection: object) -> DataPlan:
        file = self.folder / f"examples-{self.runs}.u64"
        file.write_bytes(query_keys.as_bytes(self.examples))
        return replace(super().plan(), trained_examples=str(file), **selection)  # type: ignore[arg-type]

    def record(self, work: WorkingSet, *, promoted: bool) -> None:
        super().record(work, promoted=promoted)
        if promoted:
            self.examples = {*self.examples, *trained_on(work)}


def trained_on(work: WorkingSet) -> list[int]:
    return examples_of(work.data, work.brought_splits).filter(pl.col("split") == "train")["example"].to_list()


def window(day: float) -> dict[str, Window]:
    return {"log": Window(DAY_0 + timedelta(days=day), f"day {day}")}


def test_only_what_no_champion_was_trained_on(tmp_path: Path) -> None:
    registry, first = RegistryOfExamples(tmp_path), working_set(rows(200))
    make_splits(first, NO_GROUPS, DataSettings(), registry.plan(only_new=True))
    assert first.splitting["selected"] == {"new": len(splits(first)["train"]), "replayed": 0, "left_out": 0}
    registry.record(first, promoted=True)
    with pytest.raises(NothingNew, match="champions of this model were trained on every example; bring new ones"):
        make_splits(working_set(rows(200)), NO_GROUPS, DataSettings(), registry.plan(only_new=True))
    # a query that gets another positive is trained on with that one only
    given = rows(260)
    old = min(splits(first)["train"])
    given = [replace(row, positives=(*row.positives, "another")) if row.query_id == old else row for row in given]
    second = working_set(given)
    make_splits(second, NO_GROUPS, DataSettings(), registry.plan(only_new=True))
    now = splits(second)
    new = {f"q{n}" for n in range(200, 260)} - now["test"] - now["dev"]
    assert now["train"] == new | {old}
    assert now["test"] >= splits(first)["test"] and now["dev"] >= splits(first)["dev"]
    left = second.data.qrels.filter((pl.col("query_id") == old) & (pl.col("split") == "train"))
    assert left["passage_id"].to_list() == ["another"]
    assert second.splitting["selected"] == {"new": len(new) + 1, "replayed": 0, "left_out": len(splits(first)["train"])}
    notes = "\n".join(split_notes({"splitting": second.splitting, "dropped": {}}))
    assert f"selected: {len(new) + 1} new examples and 0 of the others; {len(splits(first)['train'])} are left" in notes
    assert ("examples new", f"{len(new) + 1}") in split_rows({"splitting": second.splitting, "dropped": {}})
    # what was read is counted whole, for the next run's decision
    assert second.read_examples is not None and second.read_examples.size == 261


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9, 0.95])
def test_replayed_examples_have_the_share_that_is_set(share: float) -> None:
    work = working_set(rows(500))
    make_splits(work, NO_GROUPS, DataSettings(), DataPlan(replay_share=share), window(470))
    selected = work.splitting["selected"]
    assert selected["new"] == len([name for name in splits(work)["train"] if int(name[1:]) >= 470])
    possible = selected["replayed"] + selected["left_out"]
    wanted = min(possible, round(share / (1 - share) * selected["new"]))
    assert selected["replayed"] == wanted == len(trained_on(work)) - selected["new"]


def test_every_older_example_is_drawn_about_as_often_as_any_other() -> None:
    drawn = np.zeros(60)
    for seed in range(40):
        work = working_set(rows(90))
        shares = {"test_share": 0.1, "dev_share": 0.0, "seed": seed}
        make_splits(work, NO_GROUPS, DataSettings.checked(shares), DataPlan(replay_share=0.5), window(60))
        for name in splits(work)["train"]:
            if int(name[1:]) < 60:
                drawn[int(name[1:])] += 1
    expected = drawn.mean()
    assert expected > 15
    # the variance of draws without replacement
    statistic = ((drawn - expected) ** 2 / (expected * (1 - expected / 40))).sum()
    assert statistic < chi2.ppf(0.9999, 59)


def test_over_ten_retrainings_with_windows_nothing_that_was_held_out_is_trained_on(tmp_path: Path) -> None:
    dice, registry = random.Random(11), RegistryOfExamples(tmp_path)
    given = [replace(row, group=f"document {index % 60}" if index % 2 else None) for index, row in enumerate(rows(400))]
    was: dict[str, str] = {}
    trained: set[str] = set()
    selections = [
        {},
        {"since": 300, "replay_share": 0.3},
        {"since": 380},
        {"only_new": True, "replay_share": 0.5},
        {"since": 350, "only_new": True, "replay_share": 0.2},
    ]
    replayed = 0
    for step in range(10):
        work, selection = working_set(given), dict(selections[step % 5])
        since = selection.pop("since", None)
        windows = {} if since is None else window(float(since))  # type: ignore[arg-type]
        make_splits(work, groups_of(given), DataSettings(), registry.plan(**selection), windows)
        now = {name: split for split, names in splits(work).items() for name in names}
        assert not {name: (was[name], now[name]) for name in was.keys() & now.keys() if was[name] != now[name]}
        assert trained.isdisjoint(name for name, split in now.items() if split != "train")
        if selection.get("only_new") and not selection.get("replay_share"):
            assert registry.examples.isdisjoint(trained_on(work))
        replayed += work.splitting.get("selected", {}).get("replayed", 0)
        was |= {name: split for name, split in now.items() if split != "train"}
        promoted = step % 3 != 1
        trained |= {name for name, split in now.items() if split == "train"} if promoted else set()
        registry.record(work, promoted=promoted)
        given = changed(given, dice, step)
    assert replayed > 50 and len(was) > 60
