"""The step as a command and as pipeline components."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sharpen.data.dataset import DataSet
from sharpen.data.preparation.settings import DataSettings
from tests.sharpen.data.input_files import pair, write_rows

ROOT = Path(__file__).parents[3]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "components.data_prep", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


def test_the_command_prepares_data_and_says_what_comes_next(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "some rows.jsonl", [pair(n) for n in range(40)])
    output = tmp_path / "the output"
    done = run("--train-data", str(rows), "--output", str(output), "--test_share", "0.25", "--seed", "3")
    assert done.returncode == 0, done.stderr
    assert f"next: python -m components.hard_negatives --data '{output}'" in done.stdout
    assert DataSet.open(str(output)).queries_of("test").height in (9, 10, 11)


@pytest.mark.parametrize(
    ("rows", "more", "message"),
    [
        ([b"{", b"{", pair(1), pair(2)], [], "line 1: not valid JSON"),
        ([pair(1), pair(2)], ["--test_share", "0.9"], "--test_share: Input should be less than or equal to 0.5"),
        ([pair(1), pair(2)], ["--on_leak", "ignore"], "--on_leak: Input should be 'drop' or 'fail'"),
        ([pair(1), pair(2)], ["--eval_data", "nowhere.jsonl"], "eval_data: nowhere.jsonl: no such file or folder"),
        ([pair(1), pair(2)], ["--nonsense", "1"], "No such option"),
    ],
)
def test_wrong_input_ends_with_exit_code_2_and_no_traceback(
    tmp_path: Path, rows, more: list[str], message: str
) -> None:
    path = write_rows(tmp_path / "a.jsonl", rows)
    done = run("--train_data", str(path), "--output", str(tmp_path / "out"), *more)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_help_shows_every_setting_with_its_default() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in DataSettings.model_fields:
        assert f"--{name}" in done.stdout
    assert "default: 0.01" in " ".join(done.stdout.split())


def test_the_faces_import_fast_and_without_the_step() -> None:
    code = "import sys, components.data_prep.component, sharpen.data.preparation.settings\n"
    code += "print([name for name in ('torch', 'transformers', 'polars', 'scipy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


PIPELINE = """
import sys
from kfp import dsl, local
from components.data_prep.component import data_prep, detect_changes, fingerprint
from pipeline.local.kfp_local import arguments_left_alone

@dsl.pipeline(name="data")
def data(train_data: str, base_model: str, settings: str) -> str:
    found = fingerprint(train_data=train_data, eval_data="", base_model=base_model)
    made = data_prep(train_data=train_data, eval_data="", settings=settings, fingerprint=found.outputs["fingerprint"])
    detect_changes(
        data=made.outputs["Output"], identity=found.outputs["identity"], last_run="", min_new_examples=1
    )
    return made.outputs["Output"]

if __name__ == "__main__":
    _, root, rows, model, settings = sys.argv
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=root)
    with arguments_left_alone():
        print("address:", data(train_data=rows, base_model=model, settings=settings).output)
"""


def run_pipeline(tmp_path: Path, rows: Path, settings: dict) -> subprocess.CompletedProcess[str]:
    model = tmp_path / "model"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"")
    script = tmp_path / "graph_of_the_test.py"
    script.write_text(PIPELINE)
    arguments = [str(script), str(tmp_path / "root"), str(rows), str(model), json.dumps(settings)]
    environment = {**os.environ, "SHARPEN_RUN": str(tmp_path / "run"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )


def test_the_components_run_under_kfp(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "a.jsonl", [pair(n) for n in range(40)])
    done = run_pipeline(tmp_path, rows, {"seed": 7})
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"address: {tmp_path}/run/data_prep" in done.stdout
    data = DataSet.open(str(tmp_path / "run" / "data_prep"))
    [written] = (tmp_path / "root").glob("*/data-prep/executor_output.json")
    artifacts = json.loads(written.read_text())["artifacts"]
    [artifact] = artifacts["data"]["artifacts"]
    assert artifact["uri"] == str(tmp_path / "run" / "data_prep")
    assert artifact["metadata"] == {"rows": data.counts(), "fingerprint": data.fingerprint()}
    [metrics] = artifacts["statistics"]["artifacts"]
    assert metrics["metadata"]["test_queries"] == data.queries_of("test").height
    [written] = (tmp_path / "root").glob("*/detect-changes/executor_output.json")
    decided = json.loads(written.read_text())
    assert decided["parameterValues"]["Output"] == "train"
    assert decided["parameterValues"]["reason"] == "no earlier run of this model has finished"
    assert decided["artifacts"]["statistics"]["artifacts"][0]["metadata"] == {"examples": 40, "skipped": 0}


def test_bad_settings_fail_the_component_with_one_line(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "a.jsonl", [pair(n) for n in range(40)])
    done = run_pipeline(tmp_path, rows, {"test_shares": 0.5})
    assert done.returncode != 0
    assert "data.test_shares: unknown setting; did you mean test_share?" in done.stdout + done.stderr
    assert not (tmp_path / "run" / "data_prep").exists()
