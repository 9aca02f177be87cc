"""The step as a command and as pipeline components."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.data_prep.__main__ import command
from sharpen.data.dataset import DataSet
from sharpen.data.preparation.settings import DataSettings, EarlierRuns, SelectionSettings
from sharpen.errors import InputError
from sharpen.registry.earlier_runs import held_out
from sharpen.retraining.change_detection import count_changes
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
    rows = write_rows(tmp_path / "some rows.jsonl", [pair(n, time=f"2026-0{1 + n % 2}-05") for n in range(80)])
    output = tmp_path / "the output"
    window = ("--since", "30d", "--today", "2026-02-20")
    done = run("--train-data", str(rows), "--output", str(output), "--test_share", "0.25", "--seed", "3", *window)
    assert done.returncode == 0, done.stderr
    assert f"next: python -m components.hard_negatives --data '{output}'" in done.stdout
    assert DataSet.open(str(output)).queries_of("test").height in (9, 10, 11)
    assert "since 30d (2026-01-21T00:00:00+00:00): 40 training queries, 40 are older" in done.stdout


def test_the_command_respects_earlier_runs_and_ends_well_where_nothing_is_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry, first, second = (str(tmp_path / name) for name in ("registry", "first", "second"))
    given = ["--train_data", str(write_rows(tmp_path / "a.jsonl", [pair(n) for n in range(40)])), "--dev_share", "0"]
    model = ["--registry", registry, "--model_name", "search"]
    command.main([*given, *model, "--output", first], standalone_mode=False)
    trained = count_changes(first, "", target=str(tmp_path / "examples"))
    held_out.keep(registry, "search", trained.held_out)
    given = [*given, "--seed", "7", "--output", second]
    command.main([*given, *model], standalone_mode=False)
    tests = [set(DataSet.open(folder).queries_of("test")["query_id"]) for folder in (first, second)]
    assert tests[0] <= tests[1]  # another seed alone would draw others
    capsys.readouterr()
    timed = str(write_rows(tmp_path / "b.jsonl", [pair(n, time="2026-01-01") for n in range(20)]))
    command.main(["--train_data", timed, "--since", "2026-01-02", "--output", second], standalone_mode=False)
    assert "nothing to do: no training query is as new as 2026-01-02; bring newer data" in capsys.readouterr().out
    for wrong, message in (
        (["--registry", registry], "registry and model_name go together"),
        (["--today", "yesterday"], "--today: "),
        (["--replay_share", "0.5"], "replay_share: has no effect where neither since nor only_new"),
    ):
        with pytest.raises(InputError, match=message):
            command.main([*given, *wrong], standalone_mode=False)


@pytest.mark.parametrize(
    ("rows", "more", "message"),
    [
        ([b"{", b"{", pair(1), pair(2)], [], "line 1: not valid JSON"),
        ([pair(1), pair(2)], ["--test_share", "0.9"], "--test_share: Input should be less than or equal to 0.5"),
        ([pair(1), pair(2)], ["--on_leak", "ignore"], "--on_leak: Input should be 'drop', 'mask' or 'fail'"),
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
    for name in (*DataSettings.model_fields, *SelectionSettings.model_fields, *EarlierRuns.model_fields):
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
from components.data_prep.component import data_prep
from pipeline.local.kfp_local import arguments_left_alone

@dsl.pipeline(name="data")
def data(train_data: str, settings: str, known: str) -> str:
    made = data_prep(train_data=train_data, eval_data="", settings=settings, fingerprint="", known=known, plan="")
    return made.outputs["data"]

if __name__ == "__main__":
    _, root, rows, settings, known = sys.argv
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=root)
    with arguments_left_alone():
        print("address:", data(train_data=rows, settings=settings, known=known).output)
"""


def run_pipeline(tmp_path: Path, rows: str, settings: dict, known: str = "") -> subprocess.CompletedProcess[str]:
    script = tmp_path / "graph_of_the_test.py"
    script.write_text(PIPELINE)
    arguments = [str(script), str(tmp_path / "root"), rows, json.dumps(settings), known]
    environment = {**os.environ, "SHARPEN_RUN": str(tmp_path / "run"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )


def test_the_components_run_under_kfp(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "a.jsonl", [pair(n) for n in range(40)])
    done = run_pipeline(tmp_path, str(rows), {"seed": 7})
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"address: {tmp_path}/run/data_prep" in done.stdout
    data = DataSet.open(str(tmp_path / "run" / "data_prep"))
    [written] = (tmp_path / "root").glob("*/data-prep/executor_output.json")
    artifacts = json.loads(written.read_text())["artifacts"]
    [artifact] = artifacts["prepared_data"]["artifacts"]
    card = {"address": str(tmp_path / "run" / "data_prep"), "fingerprint": data.fingerprint(), "sources": str(rows)}
    card |= {"test_queries": data.queries_of("test").height, "examples": 40}
    assert card.items() <= artifact["metadata"].items()
    assert json.loads(Path(artifact["uri"]).read_text()) == artifact["metadata"]
    decided = json.loads(written.read_text())["parameterValues"]
    assert (decided["Output"], decided["reason"]) == ("train", "")
    seen = json.loads(decided["examples"])
    assert seen["count"] == 40 and len(Path(seen["examples"]).read_bytes()) == 40 * 8


def test_a_skipped_run_prepares_nothing(tmp_path: Path) -> None:
    done = run_pipeline(tmp_path, "", {})
    assert done.returncode == 0, done.stdout + done.stderr
    [written] = (tmp_path / "root").glob("*/data-prep/executor_output.json")
    decided = json.loads(written.read_text())["parameterValues"]
    assert decided == {"Output": "skip", "data": "", "examples": "", "reason": ""}
    assert not (tmp_path / "run").exists()


def test_bad_settings_fail_the_component_with_one_line(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "a.jsonl", [pair(n) for n in range(40)])
    done = run_pipeline(tmp_path, str(rows), {"test_shares": 0.5})
    assert done.returncode != 0
    assert "data.test_shares: unknown setting; did you mean test_share?" in done.stdout + done.stderr
    assert not (tmp_path / "run" / "data_prep").exists()
