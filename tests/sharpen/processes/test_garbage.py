"""Garbage is looked for rarely in our programs, and only there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sharpen.processes.garbage import THRESHOLDS

PROGRAM = """
import gc
from components.command_line import run
from components.kfp_context import exit_on_error
{start}
print(*gc.get_threshold())
"""
OURS, PYTHONS = " ".join(map(str, THRESHOLDS)), "700 10 10"


@pytest.mark.parametrize(
    ("start", "found"),
    [("run(lambda: None)", OURS), ("with exit_on_error('plan'): pass", OURS), ("import sharpen", PYTHONS)],
    ids=["a command", "a step", "the library"],
)
def test_a_program_collects_rarely(start: str, found: str) -> None:
    command = [sys.executable, "-c", PROGRAM.format(start=start)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[-2] == found
