"""The loss never holds the matrix of all scores: measured as the resident memory of a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
QUERIES, PASSAGES, DIMENSION = 8_192, 65_536, 16


@pytest.mark.processes
def test_memory_stays_below_half_a_matrix_of_scores() -> None:
    ended = subprocess.run(
        [
            *[sys.executable, "-m", "tests.peers.loss_process", "--queries", str(QUERIES)],
            *["--passages", str(PASSAGES), "--dimension", str(DIMENSION)],
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    facts = json.loads(ended.stdout)
    assert facts["scores_gib"] == QUERIES * PASSAGES * 4 / 2**30 == 2.0
    # Autograd over the whole batch holds at least three such matrices: scores, exponentials, their gradient. A block
    # takes a fifth of a GiB in all; how much more the C library's heap keeps differs from process to process.
    assert 0 < facts["extra_gib"] < facts["scores_gib"] / 2
