"""Whether a run goes on, for every way in which it can differ from the last one that finished."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sharpen.data.preparation.prepare import prepare
from sharpen.data.preparation.settings import DataSettings
from sharpen.errors import InputError
from sharpen.registry.run_record import LastRun, TrainingInputs
from sharpen.retraining.change_detection import ChangeDecision, compare, detect_changes
from sharpen.retraining.fingerprint import fingerprint_inputs
from sharpen.store import storage
from tests.sharpen.data.input_files import pair, write_rows

IDENTITY = {"settings": "s", "code": "c", "base_model": "b", "mining": "m"}


def asked(
    tmp_path: Path,
    last: LastRun | None,
    numbers: range = range(100),
    least: int = 1,
    content: str = "one",
    **changed: str,
) -> ChangeDecision:
    def read() -> np.ndarray:
        return np.array(numbers, dtype=np.uint64)

    return compare(last, IDENTITY | changed, content, read, str(tmp_path / f"{content}.u64"), least)


@pytest.fixture
def last(tmp_path: Path) -> LastRun:
    first = asked(tmp_path, None)
    assert (first.decision, first.reason) == ("train", "no earlier run of this model has finished")
    assert (first.new, first.gone, first.seen.count) == (None, None, 100)
    return LastRun("run-1", "2026-01-02T03:04:05+00:00", "promote", "v0003", first.seen)


def test_equal_content_is_not_read_again(tmp_path: Path, last: LastRun) -> None:
    def read() -> np.ndarray:
        raise AssertionError("read")

    answer = compare(last, IDENTITY, "one", read, str(tmp_path / "none"), 1)
    assert answer.decision == "skip"
    assert answer.reason == "skipped: 0 new examples since v0003, min_new_examples is 1"
    assert answer.seen == last.seen and not (tmp_path / "none").exists()
    assert answer.metrics == {"examples": 100, "new_examples": 0, "gone_examples": 0, "skipped": 1}


@pytest.mark.parametrize(
    ("numbers", "least", "reason"),
    [
        (range(112), 100, "skipped: 12 new examples since v0003, min_new_examples is 100"),
        (range(101), 2, "skipped: 1 new example since v0003, min_new_examples is 2"),
        (range(200), 100, "100 new examples since v0003, min_new_examples is 100"),
        (range(99), 1, "0 new and 1 gone examples since v0003, min_new_examples is 1"),
        (range(50, 130), 51, "skipped: 30 new and 50 gone examples since v0003, min_new_examples is 51"),
        (range(100), 1, "skipped: 0 new examples since v0003, min_new_examples is 1"),
        (range(100), 0, "0 new examples since v0003, min_new_examples is 0"),
    ],
)
def test_other_content_is_counted(tmp_path: Path, last: LastRun, numbers: range, least: int, reason: str) -> None:
    answer = asked(tmp_path, last, numbers, least, content="other")
    assert answer.reason == reason
    assert answer.decision == ("skip" if reason.startswith("skipped") else "train")
    assert answer.seen.count == len(numbers)
    assert storage.read_bytes(answer.seen.examples) == np.array(numbers, dtype="<u8").tobytes()


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
def test_whatever_else_changed_makes_it_run(
    tmp_path: Path, last: LastRun, changed: dict[str, str], reason: str
) -> None:
    answer = asked(tmp_path, last, range(100), 1000, "one", **changed)
    assert (answer.decision, answer.reason) == ("train", reason)
    assert answer.seen == replace(last.seen, identity=IDENTITY | changed)


def test_a_run_that_was_rejected_is_not_repeated_either(tmp_path: Path, last: LastRun) -> None:
    answer = asked(tmp_path, replace(last, verdict="reject", version=""))
    assert answer.decision == "skip"
    assert answer.reason.startswith("skipped: 0 new examples since run run-1, which was not promoted, min_new")


def test_a_run_that_lost_a_race_is_repeated(tmp_path: Path, last: LastRun) -> None:
    answer = asked(tmp_path, replace(last, verdict="overtaken", version=""))
    assert answer.decision == "train"
    assert "other runs changed the champion before run run-1 could promote its model" in answer.reason


def test_without_the_last_runs_hashes_it_runs(tmp_path: Path, last: LastRun) -> None:
    Path(last.seen.examples).unlink()
    answer = asked(tmp_path, last, least=1000)
    assert (answer.decision, answer.new) == ("train", None)
    assert answer.reason == "the examples of v0003 are not in the registry any more"
    assert Path(answer.seen.examples).exists()


def test_from_prepared_data_to_the_answer(tmp_path: Path) -> None:
    for name in ("base", "champion"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_text(name)
    rows = tmp_path / "a.jsonl"
    data = str(tmp_path / "data")

    def look(last: LastRun | None, start: str = "base", settings: str = "s") -> tuple[str, ChangeDecision]:
        content = fingerprint_inputs(str(rows), "", str(tmp_path / "base"), [], str(tmp_path / start))
        prepare([str(rows)], [], data, DataSettings())
        target = str(tmp_path / ("later" if last else "first"))
        identity = json.dumps(content.identity("code", settings))
        answer = detect_changes(data, identity, last.as_json() if last else "", 5, target=target)
        return content.fingerprint("code"), answer

    write_rows(rows, [pair(number) for number in range(20)])
    found, first = look(None)
    last = LastRun("run", "", "promote", "v0001", first.seen)
    assert first.decision == "train"
    assert look(last)[1].reason == "skipped: 0 new examples since v0001, min_new_examples is 5"
    # the same data, of which the hashes are not computed again
    assert not (tmp_path / "later").exists()
    # a run that would start from what this run made is on no newer data, but its fingerprint covers that model
    started, answer = look(last, "champion")
    assert answer.decision == "skip"
    assert started != found
    assert look(last, settings="t")[1].decision == "train"
    write_rows(rows, [pair(number) for number in range(24)])
    assert look(last)[1].reason == "skipped: 4 new examples since v0001, min_new_examples is 5"
    write_rows(rows, [pair(number) for number in range(25)])
    assert look(last)[1].decision == "train"
    (tmp_path / "base" / "model.safetensors").write_text("another")
    assert look(last)[1].reason == "the base model changed since v0001"


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"run_id": 1, "seen": {}}', '"x"'])
def test_a_damaged_record_is_told(text: str) -> None:
    with pytest.raises(InputError, match=r"damaged .* delete last_run\.json"):
        LastRun.from_json(text)
    with pytest.raises(InputError, match="damaged"):
        TrainingInputs.from_json(text)
