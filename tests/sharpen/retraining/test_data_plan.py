"""What earlier runs say about a run's data: in a registry on a disk and in a real S3 store."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.data_prep.step import PreparedData, run_step
from sharpen.data import query_keys
from sharpen.data.dataset import DataSet
from sharpen.data.preparation.data_plan import DataPlan
from sharpen.registry import last_run, registry
from sharpen.registry.earlier_runs import held_out, trained_examples
from sharpen.registry.earlier_runs import run_day as run_day_module
from sharpen.registry.earlier_runs.run_day import run_day
from sharpen.registry.outcome import find_outcome
from sharpen.registry.promote import promote
from sharpen.registry.run_record import TrainingInputs
from sharpen.registry.settings import PromotionSettings
from sharpen.retraining.change_detection import KnownExamples
from sharpen.retraining.data_plan import complete_plan, plan_data
from sharpen.store import storage
from tests.sharpen.data.input_files import pair, write_rows
from tests.sharpen.registry.conftest import make_evaluation, make_model, root

__all__ = ["make_evaluation", "make_model", "root"]

NAME = "nightly"


class Nights:
    """Runs of a model one after the other: data are prepared and promoted as the pipeline does it."""

    def __init__(self, root: str, folder: Path, make_model: Any, make_evaluation: Any) -> None:
        self.root, self.folder, self.runs = root, folder, 0
        self.make_model, self.make_evaluation = make_model, make_evaluation

    def prepare(self, rows: list[Any], plan: DataPlan, known: str = "", **settings: Any) -> PreparedData:
        self.runs += 1
        path = write_rows(self.folder / "rows.jsonl", rows)
        where = [str(self.folder / f"{what}-{self.runs}") for what in ("data", "examples")]
        settings = {"test_share": 0.2, "dev_share": 0, **settings}
        return run_step(*where, str(path), "", json.dumps(settings), known, plan.as_json())

    def promote(self, done: PreparedData) -> TrainingInputs:
        """The run's model, which passes the gate, and the record of its end."""
        seen = TrainingInputs.from_json('{"identity": {}}', done.examples)
        data, champion = DataSet.open(done.prepared.address), registry.champion_address(self.root, NAME)
        model = self.make_model(f"weights of {self.runs}")
        texts = {split: data.queries_of(split)["text"].to_list() for split in ("test", "train")}
        evaluation = self.make_evaluation(model, champion, tested=texts["test"], trained=texts["train"])
        settings = PromotionSettings.checked({"min_queries": 1})
        ended = promote(model, evaluation, NAME, self.root, settings, examples=seen.trained)
        assert ended.verdict == "promote", ended.reasons
        held_out.keep(self.root, NAME, seen.held_out)
        version = ended.version.rpartition("/")[2]
        last_run.remember(self.root, NAME, seen, verdict="promote", version=version, run_id=f"run-{self.runs}")
        return seen


@pytest.fixture
def nights(root: str, tmp_path: Path, make_model: Any, make_evaluation: Any) -> Nights:
    return Nights(root, tmp_path, make_model, make_evaluation)


def texts(done: PreparedData, split: str) -> set[str]:
    return set(DataSet.open(done.prepared.address).queries_of(split)["text"])


def test_only_new_over_two_versions_and_a_rollback(nights: Nights, tmp_path: Path) -> None:
    root, new = nights.root, DataPlan(only_new=True)
    first = nights.prepare([pair(n) for n in range(40)], complete_plan(root, NAME, new))
    nights.promote(first)
    plan = complete_plan(root, NAME, new)
    assert plan.trained_examples.endswith("trained_examples/v0001.u64") and plan.held_out.endswith(
        "held_out/000001.json"
    )
    second = nights.prepare([pair(n) for n in range(60)], plan)
    assert texts(second, "test") >= texts(first, "test")
    assert not texts(second, "train") & texts(first, "train")
    nights.promote(second)
    # with nothing else the run ends green, and says why; whoever asks for the run finds it
    plan, known = complete_plan(root, NAME, new), KnownExamples(root, NAME, "", "", 1, "sources").as_json()
    third = nights.prepare([pair(n) for n in range(60)], plan, known)
    assert (third.decision, third.prepared.address) == ("skip", "")
    assert third.reason.startswith("skipped: champions of this model were trained on every example; bring new ones")
    outcome = find_outcome(root, NAME, "local")
    assert outcome is not None and (outcome.verdict, outcome.reasons) == ("skip", [third.reason])
    noted = last_run.read(root, NAME)
    assert noted is not None and noted.skipped["reason"] == third.reason
    # what only the second champion has seen is new to the first; its queries are trained on, not tested
    registry.rollback(root, NAME)
    plan = complete_plan(root, NAME, new)
    assert plan.trained_examples.endswith("v0001.u64")
    again = nights.prepare([pair(n) for n in range(60)], plan)
    assert texts(again, "train") == texts(second, "train") and texts(again, "test") == texts(second, "test")


def test_the_examples_of_a_version_are_those_of_the_champions_before_it_too(nights: Nights) -> None:
    root = nights.root
    seen = [nights.promote(nights.prepare([pair(n) for n in rows], DataPlan())) for rows in (range(40), range(30, 70))]
    files = [query_keys.read(trained_examples.of_version(root, NAME, version)) for version in ("v0001", "v0002")]
    assert set(files[0]) == set(query_keys.read(seen[0].trained))
    assert list(files[1]) == sorted({*query_keys.read(seen[0].trained), *query_keys.read(seen[1].trained)})
    # a version that was registered otherwise is not known, so all is new to it
    assert trained_examples.of_version(root, NAME, "v0003") == ""


def test_a_run_on_the_same_data_gets_the_plan_of_the_last_one_so_that_the_cache_answers(nights: Nights) -> None:
    root, given = nights.root, {"settings": "{}", "sources": "s"}
    first = plan_data(root, NAME, None, DataPlan(), **given)
    assert first.plan == DataPlan() and first.plan.as_json() == ""
    nights.promote(nights.prepare([pair(n) for n in range(40)], first.plan))
    last = last_run.read(root, NAME)
    assert last is not None
    last = replace(last, seen=replace(last.seen, data_plan=first.plan.as_json(), data_key=first.key))
    assert plan_data(root, NAME, last, DataPlan(), **given) == first
    for changed in ({"sources": "t"}, {"settings": '{"seed": 1}'}):
        other = plan_data(root, NAME, last, DataPlan(), **{**given, **changed})
        assert other.plan.held_out and other.plan.trained_queries and other.key != first.key
    window = plan_data(root, NAME, last, DataPlan(since="30d", today="2026-11-29"), **given)
    assert window.plan.held_out and (window.plan.since, window.plan.today) == ("30d", "2026-11-29")
    # a file that the last run's plan names may be deleted since
    gone = replace(last.seen, data_plan=replace(first.plan, held_out=f"{root}/gone.json").as_json())
    assert plan_data(root, NAME, replace(last, seen=gone), DataPlan(), **given).plan == other.plan


def test_what_was_held_out_adds_up_and_test_wins(root: str, tmp_path: Path) -> None:
    def keep(number: int, **keys: list[int]) -> str:
        file = tmp_path / f"{number}.json"
        file.write_bytes(query_keys.held_out_as_bytes(keys))
        held_out.keep(root, NAME, str(file))
        return held_out.newest(root, NAME)

    assert held_out.newest(root, NAME) == ""
    assert keep(1, dev=[1, 2], test=[3]).endswith("000001.json")
    newest = keep(2, dev=[3, 5], test=[2, 4])
    assert query_keys.read_held_out(newest) == {"dev": [1, 5], "test": [2, 3, 4]}
    # nothing that is not known already is no file
    assert keep(3, dev=[1], test=[2, 3]) == newest
    # another run is faster: its keys are added to, not replaced
    before = storage.write_bytes
    with pytest.MonkeyPatch.context() as patch:

        def overtaken(address: str, data: bytes, **options: Any) -> Any:
            patch.undo()
            before(address, query_keys.held_out_as_bytes({"dev": [1, 5], "test": [2, 3, 4, 6]}))
            return before(address, data, **options)

        patch.setattr(held_out.storage, "write_bytes", overtaken)
        last = keep(4, test=[7])
    assert last.endswith("000004.json") and query_keys.read_held_out(last)["test"] == [2, 3, 4, 6, 7]


def test_a_run_that_is_tried_again_on_another_day_counts_from_its_first(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        day = "2026-11-29"

        @classmethod
        def now(cls, _: Any) -> Any:
            from datetime import datetime

            return datetime.fromisoformat(f"{cls.day}T23:59:00")

    monkeypatch.setattr(run_day_module, "datetime", Clock)
    monkeypatch.setenv("SHARPEN_RUN", "runs/first")
    assert run_day(root, NAME) == "2026-11-29"
    Clock.day = "2026-11-30"
    assert run_day(root, NAME) == "2026-11-29"
    monkeypatch.setenv("SHARPEN_RUN", "runs/second")
    assert run_day(root, NAME) == "2026-11-30"
    monkeypatch.delenv("SHARPEN_RUN")
    monkeypatch.delenv("KFP_RUN_ID", raising=False)
    Clock.day = "2026-12-01"
    assert run_day(root, NAME) == "2026-12-01"
