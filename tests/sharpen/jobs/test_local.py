"""Jobs on this machine: processes, exit codes, and what is told when one fails."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from sharpen.errors import InputError, StepFailed
from sharpen.jobs import JobSettings, run_job
from sharpen.jobs.local_backend import LocalBackend
from tests.sharpen.jobs.stories import a_job

PROGRAM = """
    import os, sys
    from sharpen import exit_status
    from sharpen.errors import InputError
    from pathlib import Path

    def work():
        out = Path(sys.argv[2])
        (out / os.environ.get("RANK", "0")).write_text(os.environ["OMP_NUM_THREADS"])
        kind = sys.argv[4]
        if kind == "input":
            raise InputError("data.jsonl:3: no positive")
        if kind == "defect":
            raise RuntimeError("broken")

    exit_status.run(work, "work")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "a_job_of_the_test.py").write_text(textwrap.dedent(PROGRAM))
    # jobs start in a user's folder that holds packages of our names
    for package in ("components", "pipeline", "sharpen"):
        (tmp_path / "user" / package).mkdir(parents=True)
        (tmp_path / "user" / package / "__init__.py").write_text("raise RuntimeError('not ours')")
    monkeypatch.chdir(tmp_path / "user")
    here = str(Path(__file__).parents[3])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), here]))
    return "a_job_of_the_test"


@pytest.mark.processes
@pytest.mark.parametrize("processes", [1, 2])
def test_every_process_runs_with_its_share_of_threads(module: str, tmp_path: Path, processes: int) -> None:
    out = tmp_path / "out"
    out.mkdir()
    run_job(module, {"out": str(out), "kind": "good"}, JobSettings.checked({"processes": processes, "threads": 3}))
    assert {path.name: path.read_text() for path in out.iterdir()} == {str(rank): "3" for rank in range(processes)}


@pytest.mark.processes
@pytest.mark.parametrize("processes", [1, 2])
def test_the_users_fault_comes_out_as_the_users_fault_once(
    module: str, tmp_path: Path, processes: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError) as caught:
        run_job(
            module, {"out": str(tmp_path), "kind": "input"}, JobSettings.checked({"processes": processes, "threads": 1})
        )
    assert caught.value.faults == ["data.jsonl:3: no positive"]
    assert "Traceback" not in capfd.readouterr().out


@pytest.mark.processes
def test_a_defect_fails_the_step(module: str, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="exit code 1"):
        run_job(module, {"out": str(tmp_path), "kind": "defect"}, JobSettings.checked({"processes": 1, "threads": 1}))


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    assert LocalBackend(a_job(processes=2)).build()["environment"]["OMP_NUM_THREADS"] == "3"
