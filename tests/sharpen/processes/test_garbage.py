"""Garbage is looked for rarely in our programs, and only there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sharpen.processes.garbage import THRESHOLDS

PROGRAM = """
import gc
print(*gc.get_threshold())
from components.command_line import run
from components.kfp_context import exit_on_error
{start}
print(*gc.get_threshold())
"""
OURS = " ".join(map(str, THRESHOLDS))


@pytest.mark.parametrize(
    ("start", "rarely"),
    [("run(lambda: None)", True), ("with exit_on_error('plan'): pass", True), ("import sharpen", False)],
    ids=["a command", "a step", "the library"],
)
def test_a_program_collects_rarely(start: str, rarely: bool) -> None:
    command = [sys.executable, "-c", PROGRAM.format(start=start)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pythons, ours = printed.splitlines()
    assert pythons != OURS
    assert ours == (OURS if rarely else pythons)
