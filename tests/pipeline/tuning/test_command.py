"""`sharpen tune`: wrong input is refused before work starts; a search leaves a report and settings that a run takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipeline import parameters
from pipeline.cli import app
from sharpen.errors import InputError
from tests.sharpen.data.input_files import write_rows


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--search", "training.lerning_rate=1..2"], "did you mean training.learning_rate"),
        (["--search", "training.learning_rate=0..2"], "greater than 0"),
        (["--trials", "0"], "trials: Input should be greater than or equal to 1"),
        (["--pruning", "sometimes"], "'halving', 'hyperband' or 'off'"),
        (["--set", "pretraining.enabled=true"], "a trial has no such step; pre-train once"),
        (["--set", "mining.rounds=2"], "a trial mines and trains one round"),
        (["--space", "none.yaml"], "none.yaml"),
        (["--preset", "hunderds"], "did you mean hundreds"),
        (["--preset", "strong-base"], "teachers.enabled: a trial has no such step"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_read(
    options: list[str], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["tune", *options])
    assert isinstance(result.exception, InputError) and result.exception.exit_code == 2
    assert fault in str(result.exception) and len(result.exception.faults) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.model
@pytest.mark.processes
def test_a_search_in_processes_of_its_own_leaves_a_report_and_settings_for_a_run(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(
        tmp_path / "rows.jsonl",
        [{"query": f"how to find tool {n} in the town", "pos": [f"tool {n} is in house {n}"]} for n in range(60)],
    )
    config = {
        "train_data": str(tmp_path / "rows.jsonl"),
        "base_model": str(tiny_model),
        "store": str(tmp_path / "store"),
    }
    config |= {"training": {"train_batch_size": 8, "train_group_size": 2, "max_steps": 2}, "data": {"dev_share": 0.2}}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    options = ["--preset", "hundreds", "--config", "my.yaml", "--trials", "1", "--evaluations", "2"]
    options += ["--folder", "my search"]
    done = CliRunner().invoke(app, ["tune", *options, "--search", "training.learning_rate=1e-5..1e-3:log"])
    assert done.exit_code == 0, done.output
    assert "searched: training.learning_rate" in done.stdout
    assert "1 trial: 1 trained to the end" in done.stdout and "no test query" in done.stdout
    assert "next    " in done.stdout and "run --config 'my search/best.yaml'" in done.stdout
    best = parameters.load(tmp_path / "my search" / "best.yaml")
    assert best.training.eval_steps == 0.5 and best.base_model == str(tiny_model) and best.training.max_steps == 2
    # the preset stands below the file
    assert best.preset == "hundreds" and best.data.test_share == 0.2 and best.training.train_batch_size == 8
    assert "Search for settings" in (tmp_path / "my search" / "tune.html").read_text(encoding="utf-8")
    trial = json.loads((tmp_path / "my search" / "trials" / "0" / "result.json").read_text(encoding="utf-8"))
    assert trial["steps"] == 2 and "fine-tuning" in (tmp_path / "my search" / "trials" / "0" / "log.txt").read_text()
