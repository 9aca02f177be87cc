"""How a local run ended, as its steps left it in KFP's folder, and the exit code of the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.command_line import run as run_with_exit_code
from pipeline import cli, parameters
from pipeline.local import run as local
from pipeline.local import summary


def left(folder: Path, task: str, page: str, **metadata: Any) -> None:
    written = folder / "kfp" / "a-run" / task / "executor_output.json"
    written.parent.mkdir(parents=True)
    written.write_text(json.dumps({"artifacts": {page: {"artifacts": [{"metadata": metadata}]}}}))


def test_the_last_step_that_decided_is_believed(tmp_path: Path) -> None:
    left(tmp_path, "promotion", "decision_page", verdict="overtaken", reasons=["a race"], evaluation="e", version="")
    assert local._decision(tmp_path)["verdict"] == "overtaken"
    second = {"verdict": "promote", "reasons": ["better again"], "evaluation": "e2", "version": "v"}
    left(tmp_path, "promotion-2", "decision_page", **second)
    assert local._decision(tmp_path) == second


def test_what_skipped_a_run_says_why(tmp_path: Path) -> None:
    for task, reason in (("plan", "the sources changed"), ("data-prep", "skipped: 1 new example")):
        written = tmp_path / "kfp" / "a-run" / task / "executor_output.json"
        written.parent.mkdir(parents=True)
        written.write_text(json.dumps({"parameterValues": {"reason": reason}}))
        assert local._decision(tmp_path) == {"verdict": "skip", "reasons": [reason], "evaluation": ""}


@pytest.mark.parametrize(("verdict", "code"), [("promote", 0), ("skip", 0), ("reject", 3), ("overtaken", 3)])
def test_the_exit_code_says_how_a_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verdict: str, code: int
) -> None:
    ended = local.LocalRun("run", "", verdict, ["the \x1b[31mreason"], "", "store", None, tmp_path / "log", 1.0)
    monkeypatch.setattr(local, "run", lambda *_, **__: ended)
    monkeypatch.setattr(summary, "show", lambda *_: None)
    monkeypatch.setattr(parameters, "load", lambda *_, **__: parameters.Settings())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHARPEN_OUTCOME", raising=False)
    try:
        run_with_exit_code(lambda: cli.app(["run", "--set", f"store={tmp_path}"], standalone_mode=False))
        found = 0
    except SystemExit as exit:
        found = int(exit.code or 0)
    told = capsys.readouterr().err
    assert found == code, told
    assert len(told.splitlines()) == (code != 0) and ("the \\x1b[31mreason" in told) == (code != 0)
