"""What a process tells before it fails, and where: the parent's file, or the container's termination message."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from components import command_line
from sharpen import exit_status
from sharpen.errors import InputError


@pytest.fixture
def message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pod's /dev/termination-log: an empty file that is there from the start."""
    file = tmp_path / "termination-log"
    file.touch()
    monkeypatch.setattr(exit_status, "TERMINATION_LOG", file)
    monkeypatch.delenv(exit_status.VARIABLE, raising=False)
    return file


def test_the_message_says_what_the_user_must_know(message: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exit_status.write_exit_status("finetuning", 2, ["a.jsonl:1: no query", "a.jsonl:2: no positive"])
    told = exit_status.parse_exit_status(message.read_text())
    assert told == exit_status.ExitStatus("finetuning", 2, ["a.jsonl:1: no query", "a.jsonl:2: no positive"])
    assert "error: a.jsonl:1: no query" in capsys.readouterr().err


def test_the_first_of_several_processes_is_heard_but_the_users_fault_before_all(message: Path) -> None:
    exit_status.write_exit_status("finetuning", 1, ["a peer went away"])
    exit_status.write_exit_status("finetuning", 1, ["the same a little later"])
    assert exit_status.parse_exit_status(message.read_text()) == exit_status.ExitStatus(
        "finetuning", 1, ["a peer went away"]
    )
    exit_status.write_exit_status("finetuning", 2, ["wrong"])
    exit_status.write_exit_status("finetuning", 2, ["wrong too"])
    exit_status.write_exit_status("finetuning", 1, ["and its consequence"])
    assert exit_status.parse_exit_status(message.read_text()) == exit_status.ExitStatus("finetuning", 2, ["wrong"])


@pytest.mark.parametrize("lines", [["x" * 9000], ["ä" * 3000], [f"line {number} " + "y" * 90 for number in range(100)]])
def test_a_message_is_never_longer_than_the_cluster_keeps(message: Path, lines: list[str]) -> None:
    exit_status.write_exit_status("finetuning", 2, lines)
    assert len(message.read_bytes()) <= 4096
    told = exit_status.parse_exit_status(message.read_text())
    assert told is not None
    assert lines[0].startswith(told.lines[0])


def test_outside_a_pod_there_is_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exit_status, "TERMINATION_LOG", tmp_path / "none")
    monkeypatch.delenv(exit_status.VARIABLE, raising=False)
    exit_status.write_exit_status("finetuning", 2, ["wrong"])
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "text", ["", "Segmentation fault", "[1]", "{}", '{"step": "a", "exit_code": "x", "lines": []}']
)
def test_other_messages_are_no_outcome(text: str) -> None:
    assert exit_status.parse_exit_status(text) is None


def test_torchruns_restarts_do_not_read_wrong_input_again(message: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> None:
        raise AssertionError("the work was done again")

    message.write_text(json.dumps({"step": "finetuning", "exit_code": 2, "lines": ["wrong"]}))
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with pytest.raises(SystemExit) as ended:
        command_line.run(never, "finetuning")
    assert ended.value.code == InputError.exit_code
    # a failure that may pass is tried again
    message.write_text(json.dumps({"step": "finetuning", "exit_code": 1, "lines": ["the store is away"]}))
    ran = []
    command_line.run(lambda: ran.append(1), "finetuning")
    # and so is everything in a container that started anew
    message.write_text("")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    command_line.run(lambda: ran.append(1), "finetuning")
    assert ran == [1, 1]


@pytest.mark.processes
def test_torchrun_gives_up_on_wrong_input_after_one_reading(tmp_path: Path) -> None:
    """Restarts of real torchrun workers: the input is read once, by whichever process comes first."""
    program = tmp_path / "program.py"
    log, reads = tmp_path / "termination-log", tmp_path / "reads"
    log.touch()
    program.write_text(
        f"""
from pathlib import Path
from sharpen import exit_status
from sharpen.errors import InputError
exit_status.TERMINATION_LOG = Path({str(log)!r})
def work():
    with open({str(reads)!r}, "a") as file:
        file.write("x")
    raise InputError("wrong")
exit_status.run(work, "test")
"""
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1", "--max-restarts=2"]
    root = Path(__file__).parents[2]
    done = subprocess.run([*torchrun, str(program)], cwd=root, env=_environment(root), capture_output=True, text=True)
    assert done.returncode != 0
    assert reads.read_text() == "x"
    assert exit_status.parse_exit_status(log.read_text()) == exit_status.ExitStatus("test", 2, ["wrong"])


def _environment(root: Path) -> dict[str, str]:
    import os

    return {**{k: v for k, v in os.environ.items() if k != exit_status.VARIABLE}, "PYTHONPATH": str(root)}
