"""The runner of the benchmarks: memory, failures, hangs, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.peers.process import environment, run_process
from tests.peers.rounds import in_turn
from tests.peers.rows import ROOT

pytestmark = pytest.mark.processes

SLEEPS_WITH_A_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("step 3 of 10, child", child.pid, flush=True)
time.sleep(600)
"""


def run(code: str, folder: Path, limit_minutes: float = 1.0):
    return run_process("peer", [sys.executable, "-c", code], folder, environment(folder, 1), limit_minutes)


def child_of(folder: Path) -> int:
    return int((folder / "log.txt").read_text().split()[-1])


def gone(pid: int) -> bool:
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_memory_of_the_process_and_its_children_together(tmp_path: Path) -> None:
    held = "held = b'x' * (150 << 20); time.sleep(0.8)"
    code = (
        f"import subprocess, sys, time\nchild = subprocess.Popen([sys.executable, '-c', {f'import time; {held}'!r}])\n"
    )
    ended = run(f"{code}{held}\nchild.wait()", tmp_path)
    assert 0.29 < ended.peak_gib < 0.40
    assert ended.seconds > 0.8 and ended.cpu_seconds < ended.seconds


def test_a_peak_between_two_looks_counts(tmp_path: Path) -> None:
    ended = run("import time\nheld = b'x' * (200 << 20)\ndel held\ntime.sleep(0.3)", tmp_path)
    assert 0.19 < ended.peak_gib < 0.25


def test_a_failure_tells_its_last_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("print('loading', end='\\r'); print('loaded'); raise RuntimeError('no such model')", tmp_path)
    assert stopped.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("error: peer ended with exit code 1; its last lines:\nloaded\n")
    assert "RuntimeError: no such model" in told


def test_a_hang_is_ended_with_its_children(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(SLEEPS_WITH_A_CHILD, tmp_path, limit_minutes=0.02)
    assert stopped.value.code == 1
    assert "error: peer was not done after 0.02 minutes; its last lines:\nstep 3 of 10" in capsys.readouterr().err
    assert gone(child_of(tmp_path))


def test_a_benchmark_that_is_ended_ends_its_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.peers.test_process import SLEEPS_WITH_A_CHILD, run\n"
        "run(SLEEPS_WITH_A_CHILD, Path(sys.argv[1]))"
    )
    benchmark = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    log = tmp_path / "log.txt"
    while not (log.is_file() and "child" in log.read_text()) and benchmark.poll() is None:
        time.sleep(0.05)
    benchmark.send_signal(signal.SIGTERM)
    assert benchmark.wait(30) == 143
    assert gone(child_of(tmp_path))


def test_each_round_starts_with_another_contestant() -> None:
    assert [in_turn("abc", round_) for round_ in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]
