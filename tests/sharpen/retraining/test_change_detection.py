"""Whether a run goes on, for every way in which it can differ from the last one that finished."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sharpen.data.preparation.prepare import prepare
from sharpen.data.preparation.settings import DataSettings
from sharpen.errors import InputError
from sharpen.registry import last_run
from sharpen.registry.run_record import LastRun, TrainingInputs
from sharpen.retraining.change_detection import ChangeCount, KnownExamples, RunPlan, count_changes, plan_run
from sharpen.retraining.fingerprint import fingerprint_inputs
from sharpen.store import storage
from tests.sharpen.data.input_files import pair, write_rows

NAME = "nightly"
IDENTITY = {"settings": "s", "code": "c", "base_model": "b", "mining": "m"}


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "registry")


@pytest.fixture
def last(tmp_path: Path, root: str) -> LastRun:
    """The record of a run on 20 examples."""
    counted = count(tmp_path, 20)
    seen = TrainingInputs(IDENTITY, counted.content, counted.count, counted.examples, "sources")
    return last_run.remember(root, NAME, seen, verdict="promote", version="v0003", run_id="run-1")


def asked(root: str, last: LastRun | None, sources: str = "sources", least: int = 1, **changed: Any) -> RunPlan:
    force = changed.pop("force", False)
    return plan_run(root, NAME, last, IDENTITY | changed, sources, least, force=force)


def count(tmp_path: Path, rows: int, known: KnownExamples | None = None) -> ChangeCount:
    """What data_prep makes of so many rows."""
    path, data = write_rows(tmp_path / "a.jsonl", [pair(n) for n in range(rows)]), str(tmp_path / f"data-{rows}")
    prepare([str(path)], [], data, DataSettings())
    return count_changes(data, known.as_json() if known else "", target=str(tmp_path / f"examples-{rows}"))


def test_a_first_run_trains(root: str) -> None:
    assert asked(root, None) == RunPlan("train", "no earlier run of this model has finished")


def test_the_same_sources_are_not_prepared(root: str, last: LastRun) -> None:
    assert asked(root, last) == RunPlan("skip", "skipped: 0 new examples since v0003, min_new_examples is 1")
    assert asked(root, last, force=True) == RunPlan("train", "retraining.force is set")
    assert asked(root, last, least=0) == RunPlan("train", "min_new_examples is 0")


def test_other_sources_are_counted_when_they_are_prepared(root: str, last: LastRun, tmp_path: Path) -> None:
    planned = asked(root, last, "others", 5)
    assert (planned.decision, planned.reason) == ("train", "the sources changed since v0003")
    few, enough = count(tmp_path, 24, planned.known), count(tmp_path, 25, planned.known)
    assert (few.decision, few.reason) == ("skip", "skipped: 4 new examples since v0003, min_new_examples is 5")
    assert few.metrics == {"examples": 24, "new_examples": 4, "gone_examples": 0}
    assert (enough.decision, enough.reason) == ("train", "5 new examples since v0003, min_new_examples is 5")
    seen = TrainingInputs.from_json('{"identity": {}, "sources": "others"}', enough.seen)
    assert (seen.count, seen.sources) == (25, "others")
    assert len(storage.read_bytes(seen.examples)) == 25 * 8


def test_sources_that_held_too_little_are_not_prepared_again(root: str, last: LastRun, tmp_path: Path) -> None:
    planned = asked(root, last, "others", 5)
    count(tmp_path, 24, planned.known)
    found = last_run.read(root, NAME)
    assert found is not None and found.seen == last.seen
    again = asked(root, found, "others", 5)
    assert again == RunPlan("skip", "skipped: 4 new examples since v0003, min_new_examples is 5")
    # fewer are enough now, or something else changed
    assert asked(root, found, "others", 4).known is not None
    assert asked(root, found, "others", 5, code="x").decision == "train"
    # what is compared is the same in every run, so that the cache may answer
    assert planned.known is not None
    assert asked(root, found, "more", 5).known == replace(planned.known, sources="more")


@pytest.mark.parametrize(
    ("rows", "least", "reason"),
    [
        (21, 2, "skipped: 1 new example since v0003, min_new_examples is 2"),
        (19, 1, "0 new and 1 gone examples since v0003, min_new_examples is 1"),
        (10, 11, "skipped: 0 new and 10 gone examples since v0003, min_new_examples is 11"),
        (20, 1, "skipped: 0 new examples since v0003, min_new_examples is 1"),
    ],
)
def test_new_and_gone_examples_count(
    root: str, last: LastRun, tmp_path: Path, rows: int, least: int, reason: str
) -> None:
    counted = count(tmp_path, rows, asked(root, last, "others", least).known)
    assert counted.reason == reason
    assert counted.decision == ("skip" if reason.startswith("skipped") else "train")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"settings": "x"}, "the settings changed since v0003"),
        ({"code": "x"}, "the code changed since v0003"),
        ({"base_model": "x", "mining": "x"}, "the base model and what mining reads changed since v0003"),
        (
            {"settings": "x", "code": "x", "mining": "x"},
            "the settings, the code and what mining reads changed since v0003",
        ),
    ],
)
def test_whatever_else_changed_makes_it_run(root: str, last: LastRun, changed: dict[str, str], reason: str) -> None:
    assert asked(root, last, "others", 1000, **changed) == RunPlan("train", reason)


def test_a_run_that_was_rejected_is_not_repeated_either(root: str, last: LastRun) -> None:
    answer = asked(root, replace(last, verdict="reject", version=""))
    assert answer.decision == "skip"
    assert answer.reason.startswith("skipped: 0 new examples since run run-1, which was not promoted, min_new")


def test_a_run_that_lost_a_race_is_repeated(root: str, last: LastRun) -> None:
    answer = asked(root, replace(last, verdict="overtaken", version=""))
    assert answer.decision == "train"
    assert "other runs changed the champion before run run-1 could promote its model" in answer.reason


def test_without_the_last_runs_hashes_it_runs(root: str, last: LastRun, tmp_path: Path) -> None:
    planned = asked(root, last, "others", 1000)
    Path(last.seen.examples).unlink()
    gone = "the examples of v0003 are not in the registry any more"
    assert asked(root, last, least=1000) == RunPlan("train", gone)
    counted = count(tmp_path, 20, planned.known)
    assert (counted.decision, counted.reason, counted.new) == ("train", gone, None)


def test_a_record_of_an_older_version_compares_examples(root: str, last: LastRun) -> None:
    assert asked(root, replace(last, seen=replace(last.seen, sources=""))).known is not None


def test_what_stands_behind_the_addresses(tmp_path: Path) -> None:
    for name in ("base", "champion"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_text(name)
    rows = tmp_path / "a.jsonl"

    def look(start: str = "base") -> tuple[list[str], dict[str, str]]:
        content = fingerprint_inputs(str(rows), "", str(tmp_path / "base"), [], str(tmp_path / start))
        hashes = [content.sources, content.of_steps()["data"], content.fingerprint("code")]
        return hashes, content.identity("s")

    write_rows(rows, [pair(number) for number in range(20)])
    first, identity = look()
    # a run that would start from what this run made is on no newer data, but its fingerprint covers that model
    started, same = look("champion")
    assert (started[:2], same) == (first[:2], identity) and started[2] != first[2]
    write_rows(rows, [pair(number) for number in range(24)])
    grown, same = look()
    assert not {*grown} & {*first} and same == identity
    (tmp_path / "base" / "model.safetensors").write_text("another")
    assert look()[1]["base_model"] != identity["base_model"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"run_id": 1, "seen": {}}', '"x"'])
def test_a_damaged_record_is_told(text: str) -> None:
    with pytest.raises(InputError, match=r"damaged .* delete last_run\.json"):
        LastRun.from_json(text)
    with pytest.raises(InputError, match="damaged"):
        TrainingInputs.from_json(text)
