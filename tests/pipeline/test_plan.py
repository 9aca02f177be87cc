"""The graph's first step: what it refuses, what it decides, and what it hands on."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.parameters import load
from pipeline.plan import plan
from pipeline.run_form import compiled_json, run_inputs
from sharpen.registry import last_run
from sharpen.registry.outcome import find_block
from sharpen.registry.run_record import TrainingInputs
from sharpen.store import storage
from tests.sharpen.data.input_files import pair, write_rows

NAMES = [name for name in plan.component_spec.outputs if name != "plan_page"]  # type: ignore[union-attr]


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The run form, filled in for data and a model of this machine."""
    monkeypatch.delenv("SHARPEN_OUTCOME", raising=False)
    monkeypatch.setenv("SHARPEN_RUN", str(tmp_path / "runs" / "mine"))
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"weights")
    rows = write_rows(tmp_path / "a.jsonl", [pair(n) for n in range(3)])
    given = [f"train_data={rows}", f"base_model={model}", f"store={tmp_path / 'store'}", "data.seed=3"]
    return run_inputs(load(None, given))


def planned(tmp_path: Path, inputs: dict[str, Any], compiled: str = "") -> dict[str, str]:
    page = SimpleNamespace(path=str(tmp_path / "page.md"))
    outputs = plan.python_func(**inputs, compiled=compiled or compiled_json(1, None), plan_page=page)
    return dict(zip(NAMES, outputs, strict=True))


def refused(
    tmp_path: Path, inputs: dict[str, Any], capsys: pytest.CaptureFixture[str], compiled: str = ""
) -> list[str]:
    with pytest.raises(SystemExit) as ended:
        planned(tmp_path, inputs, compiled)
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()


def record(found: dict[str, str], root: str) -> None:
    """The run that was planned finishes."""
    hashes = storage.join(root, "runs", "examples.u64")
    storage.write_bytes(hashes, b"12345678")
    examples = json.dumps({"content": "c", "count": 1, "examples": hashes})
    seen = TrainingInputs.from_json(found["run_inputs"], examples)
    last_run.remember(root, "sharpened", seen, verdict="promote", version="v0001", run_id="first")


def test_a_first_run_trains_and_every_step_gets_its_own_settings(tmp_path: Path, inputs: dict[str, Any]) -> None:
    found = planned(tmp_path, inputs)
    assert (found["Output"], found["reason"]) == ("train", "no earlier run of this model has finished")
    # tokens are counted as the models of the run cut them
    of_data = {"seed": 3, "tokenizer": inputs["base_model"], "query_max_len": 64, "passage_max_len": 256}
    assert (json.loads(found["data"]), found["training"], found["known"]) == (of_data, "{}", "")
    assert found["train_data"] == inputs["train_data"] and found["start_model"] == inputs["base_model"]
    fingerprints = [value for name, value in found.items() if name.endswith("_fingerprint")]
    assert len({*fingerprints}) == 9
    page = (tmp_path / "page.md").read_text()
    assert "no earlier run of this model has finished" in page and "data.seed" in page
    # other settings of the training are no other data
    other = planned(tmp_path, {**inputs, "training_temperature": 0.5})
    assert [name for name in NAMES if other[name] != found[name]] == ["run_inputs", "run_settings", "training"]


def test_a_run_with_nothing_new_is_recorded_and_hands_on_what_any_skipped_run_does(
    tmp_path: Path, inputs: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    root = inputs["store"]
    record(planned(tmp_path, inputs), root)
    capsys.readouterr()
    found = planned(tmp_path, inputs)
    said = "skipped: 0 new examples since v0001, min_new_examples is 1"
    assert (found["Output"], found["reason"]) == ("skip", said)
    of_data_prep = [found[name] for name in ("train_data", "eval_data", "known", "data", "data_fingerprint")]
    assert of_data_prep == ["", "", "", "{}", ""]
    noted = last_run.read(root, "sharpened")
    assert noted is not None and (noted.skipped["run_id"], noted.skipped["reason"]) == ("mine", said)
    verdict, lines = find_block(capsys.readouterr().out) or ("", [])
    assert verdict == "skip" and f"  - {said}" in lines
    assert planned(tmp_path, {**inputs, "retraining_force": True})["Output"] == "train"
    # other rows: their examples are counted when they are prepared
    write_rows(tmp_path / "a.jsonl", [pair(n) for n in range(4)])
    found = planned(tmp_path, inputs)
    assert found["Output"] == "train" and json.loads(found["known"])["since"] == "v0001"


def test_windows_are_counted_from_the_day_of_the_run_and_what_is_recorded_repeats_it(
    tmp_path: Path, inputs: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = compiled_json(1, None)  # made once, as by a schedule; the days are those of its runs
    windowed = {**inputs, "overrides": {**inputs["overrides"], "retraining.since": "30d", "retraining.only_new": True}}
    monthly = [planned(tmp_path, windowed, compiled)]
    plan = json.loads(monthly[0]["data_plan"])
    assert (plan["since"], plan["only_new"], plan["trained_examples"]) == ("30d", True, "")
    days = {datetime.now(UTC).date() - timedelta(days=one) for one in range(2)}  # it may be midnight
    assert date.fromisoformat(plan["today"]) in days
    # whoever has nothing to compare with is known all the same, as data_prep may find nothing new
    known = json.loads(monthly[0]["known"])
    assert (known["registry"], known["model_name"], known["examples"]) == (inputs["store"], "sharpened", "")
    day = storage.join(inputs["store"], "models", "sharpened", "outcomes", "mine.day")
    storage.write_bytes(day, b"2026-01-31")
    again = planned(tmp_path, windowed, compiled)
    assert json.loads(again["data_plan"])["today"] == "2026-01-31"
    monkeypatch.setenv("SHARPEN_RUN", str(tmp_path / "runs" / "next"))
    assert planned(tmp_path, windowed, compiled)["data_plan"] == monthly[0]["data_plan"]
    assert json.loads(again["run_inputs"])["data_plan"] == again["data_plan"]
    # a window is a setting that a model depends on
    identities = [json.loads(found["run_inputs"])["identity"] for found in (again, planned(tmp_path, inputs))]
    assert identities[0] != identities[1] and identities[0]["code"] == identities[1]["code"]
    wrong = {**inputs, "overrides": {**inputs["overrides"], "retraining.replay_share": 0.5}}
    (line,) = refused(tmp_path, wrong, capsys)
    assert line.startswith("error: retraining.replay_share: has no effect where neither since nor only_new leaves")


def test_wrong_values_end_the_run_in_one_line_each(
    tmp_path: Path, inputs: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = refused(tmp_path, {**inputs, "training_temperature": -1.0}, capsys)
    assert line.startswith("error: training.temperature: Input should be greater than 0")
    (line,) = refused(tmp_path, {**inputs, "overrides": {"training.temprature": 1}}, capsys)
    assert line == "error: training.temprature: unknown setting; did you mean temperature?"
    lines = refused(tmp_path, {**inputs, "train_data": "none.jsonl", "base_model": str(tmp_path / "none")}, capsys)
    assert [line.split(": ")[1] for line in lines] == ["train_data", "base_model"]
    (line,) = refused(tmp_path, inputs, capsys, compiled_json(1, load()))
    assert line.startswith(f"error: store: {inputs['store']} is on this machine")
