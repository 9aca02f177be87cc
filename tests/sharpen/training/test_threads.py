"""Several processes share the cores out, unless somebody asked for a number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.processes
@pytest.mark.parametrize(("asked", "expected"), [(None, "4"), ("1", "1")])
def test_threads_under_torchrun(tmp_path: Path, asked: str | None, expected: str) -> None:
    """torchrun says 1 when nobody said anything; a wish for 1 stays one."""
    surroundings = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if asked:
        surroundings["OMP_NUM_THREADS"] = asked
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "tests.sharpen.training.threads", str(tmp_path)]
    subprocess.run(command, check=True, env={**surroundings, "PYTHONPATH": str(ROOT)}, cwd=ROOT, timeout=600)
    assert [(tmp_path / rank).read_text() for rank in "01"] == [expected, expected]
