"""Signals to a command whose step runs: real processes, with a child that does not hear the terminal."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.pipeline.waiting import wait_until

pytestmark = pytest.mark.processes

COMMAND = """
import signal, subprocess, sys
{first}
from components.command_line import run
from sharpen.processes.parent_death import dies_with_parent
from pipeline.local.interruption import end_steps_when_interrupted

def main():
    step = "import signal, sys, time; {ignored}print('ready', flush=True); time.sleep(60)"
    try:
        subprocess.run(dies_with_parent([sys.executable, "-c", step]))
    finally:
        print("left in order", flush=True)

end_steps_when_interrupted()
run(main, "test")
"""
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGINT, signal.SIG_IGN); "
# these tests may be run under nohup themselves
HEARS = "signal.signal(signal.SIGHUP, signal.SIG_DFL)"


@pytest.mark.parametrize(
    ("number", "code", "ignored"),
    [(signal.SIGINT, 130, ""), (signal.SIGTERM, 143, DEAF), (signal.SIGHUP, 129, "")],
)
def test_a_signal_to_the_process_alone_ends_its_step_and_runs_what_is_to_be_done_at_the_end(
    number: signal.Signals, code: int, ignored: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND.format(first=HEARS, ignored=ignored)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 1
    process.send_signal(number)
    shown, told = process.communicate(timeout=600)
    assert (process.returncode, shown) == (code, "left in order\n")
    assert "Traceback" not in told
    assert not any(child.is_running() for child in children)


def test_what_nohup_ignores_stays_ignored(tmp_path: Path) -> None:
    process = subprocess.Popen(
        ["nohup", sys.executable, "-c", COMMAND.format(first="", ignored="")],
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.terminate()
    assert process.wait(600) == 143
    wait_until(lambda: not psutil.pid_exists(process.pid))
