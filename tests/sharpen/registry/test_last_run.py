"""The record of the last finished run, on a disk and in a real S3 store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sharpen.errors import InputError, StepFailed
from sharpen.registry import last_run, registry
from sharpen.registry.outcome import find_outcome
from sharpen.registry.run_record import LastRun, TrainingInputs
from sharpen.store import storage

NAME = "code-search"


@pytest.fixture
def seen(root: str) -> TrainingInputs:
    return written(root, b"12345678")


def written(root: str, data: bytes) -> TrainingInputs:
    address = storage.join(root, "runs", "1", "examples", "examples.u64")
    storage.write_bytes(address, data)
    return TrainingInputs({"settings": "s", "code": "c"}, "content", len(data) // 8, address)


def files(root: str) -> list[str]:
    return [file.name for file in storage.list_files(storage.join(root, "models", NAME))]


def test_a_record_outlives_the_run_that_it_is_of(root: str, seen: TrainingInputs) -> None:
    assert last_run.read(root, NAME) is None
    made = last_run.remember(root, NAME, seen, verdict="promote", version="v0001", run_id="run-1")
    storage.delete(storage.join(root, "runs"))
    found = last_run.read(root, NAME)
    assert found == made
    assert found is not None and found.told == "v0001" and found.skipped == {}
    assert replace(found.seen, examples=seen.examples) == seen
    assert storage.read_bytes(found.seen.examples) == b"12345678"
    # no model yet: a record alone is none
    assert registry.list_models(root) == []
    assert LastRun.from_json(found.as_json()) == found


def test_the_next_run_takes_its_place_and_its_files(root: str, seen: TrainingInputs) -> None:
    last_run.remember(root, NAME, seen, verdict="promote", version="v0001", run_id="run-1")
    second = last_run.remember(root, NAME, written(root, b"12345678abcdefgh"), verdict="reject", version="", run_id="2")
    assert second.told == "run 2, which was not promoted"
    assert last_run.read(root, NAME) == second
    (kept,) = (name for name in files(root) if name.startswith("examples/"))
    assert second.seen.examples.endswith(kept)
    # the same examples again: their file stays
    again = last_run.remember(root, NAME, second.seen, verdict="promote", version="v0002", run_id="3")
    assert storage.read_bytes(again.seen.examples) == b"12345678abcdefgh"


def test_a_skipped_run_is_noted_and_changes_nothing_else(
    root: str, seen: TrainingInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = last_run.remember(root, NAME, seen, verdict="promote", version="v0001", run_id="run-1")
    monkeypatch.setenv("SHARPEN_RUN", "s3://b/runs/run-2")
    last_run.record_skip(root, NAME, reason="skipped: nothing", sources="s", least=3)
    found = last_run.read(root, NAME)
    assert found is not None
    noted = {"run_id": "run-2", "reason": "skipped: nothing", "sources": "s", "least": "3"}
    assert noted.items() <= found.skipped.items()
    assert replace(found, skipped={}) == made
    assert (told := find_outcome(root, NAME, "run-2")) is not None
    assert (told.verdict, told.reasons) == ("skip", ["skipped: nothing"])
    assert find_outcome(root, NAME, "run-1") is find_outcome(root, NAME, "run-3") is None


def test_this_process_records_its_own_run(root: str, seen: TrainingInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARPEN_RUN", "s3://b/runs/mine")
    last_run.record_run(root, NAME, seen, "promote", registry.version_address(root, NAME, "v0012"), "")
    record = last_run.read(root, NAME)
    assert record is not None and (record.run_id, record.version) == ("mine", "v0012")


def test_a_damaged_record_is_named(root: str) -> None:
    storage.write_bytes(storage.join(root, "models", NAME, "last_run.json"), b"{")
    for read in (lambda: last_run.read(root, NAME), lambda: find_outcome(root, NAME, "x")):
        with pytest.raises(InputError, match="record of the last run: damaged"):
            read()


def test_two_runs_that_end_together_leave_one_whole_record(
    root: str, seen: TrainingInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run's record comes in between reading and writing ours."""
    original, other = last_run._read, written(root, b"abcdefgh")
    calls = []

    def read_and_be_overtaken(*arguments: str):
        found = original(*arguments)
        if not calls:
            calls.append(1)
            monkeypatch.setattr(last_run, "_read", original)
            last_run.remember(root, NAME, other, verdict="promote", version="v0002", run_id="other")
        return found

    monkeypatch.setattr(last_run, "_read", read_and_be_overtaken)
    mine = last_run.remember(root, NAME, written(root, b"12345678"), verdict="promote", version="v0001", run_id="mine")
    assert last_run.read(root, NAME) == mine
    assert storage.read_bytes(mine.seen.examples) == b"12345678"
    assert len([name for name in files(root) if name.startswith("examples/")]) == 1


def test_a_record_that_never_stands_still_is_given_up(
    root: str, seen: TrainingInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> str:
        raise storage.PreconditionFailed("overtaken")

    monkeypatch.setattr(last_run.storage, "write_json", never)
    with pytest.raises(StepFailed, match="run one at a time"):
        last_run.remember(root, NAME, seen, verdict="reject", version="", run_id="")


def test_a_registry_may_be_copied_to_another_root(root: str, seen: TrainingInputs, tmp_path: Path) -> None:
    last_run.remember(root, NAME, seen, verdict="promote", version="v0001", run_id="run-1")
    for name in files(root):
        data = storage.read_bytes(storage.join(root, "models", NAME, name))
        storage.write_bytes(str(tmp_path / "copy" / "models" / NAME / name), data)
    found = last_run.read(str(tmp_path / "copy"), NAME)
    assert found is not None and found.seen.examples.startswith(str(tmp_path / "copy"))
    assert storage.read_bytes(found.seen.examples) == b"12345678"
