"""Real processes that are killed, and what becomes of their children."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest

from sharpen.processes.parent_death import dies_with_parent

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part of this is Linux's"),
]

# a process, its child and that one's child; each tells its id
PROGRAM = """
import os, subprocess, sys, time
from sharpen.processes.parent_death import dies_with_parent
print(os.getpid(), flush=True)
depth = int(sys.argv[1])
if depth:
    subprocess.run(dies_with_parent([sys.executable, *sys.orig_argv[1:3], str(depth - 1)]))
time.sleep(60)
"""


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("killed", [0, 1])
def test_descendants_end_with_a_killed_process_at_any_depth(killed: int) -> None:
    first = subprocess.Popen([sys.executable, "-c", PROGRAM, "2"], stdout=subprocess.PIPE, text=True)
    assert first.stdout
    pids = [int(first.stdout.readline()) for _ in range(3)]
    psutil.Process(pids[killed]).kill()
    end = time.monotonic() + 30
    while any(is_running(pid) for pid in pids[killed:]):
        assert time.monotonic() < end
        time.sleep(0.02)
    first.kill()
    first.wait()


def test_a_parent_that_was_dead_before_is_noticed() -> None:
    """The ancestor that the command names is a process that ended before the child asked the kernel."""
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    command = dies_with_parent([sys.executable, "-c", "print('alive')"])
    command[4] = str(dead.pid)
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGKILL, "")


def test_the_program_gets_its_words_and_its_exit_code_is_passed_on() -> None:
    program = "import sys; print(sys.argv[1:]); sys.exit(7)"
    ended = subprocess.run(
        dies_with_parent([sys.executable, "-c", program, "a b", "[c]", ""]), capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (7, "['a b', '[c]', '']\n")
