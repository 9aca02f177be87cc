"""Where trec_eval's own test files stand, if this machine has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("SHARPEN_TEST_DATA") or Path(__file__).parents[4] / "shared" / "data") / "trec_eval"

needs_trec_data = pytest.mark.skipif(
    not ROOT.is_dir(), reason="trec_eval's test files are not here; SHARPEN_TEST_DATA names the folder that holds them"
)
