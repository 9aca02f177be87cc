"""Run a script that knows no bf16 on a CPU under autocast: ``python autocast.py SCRIPT ARGUMENTS``.

Runs in the environments of the peers too: it imports nothing of this repository.
"""

from __future__ import annotations

import runpy
import sys

import torch


def main() -> None:
    sys.argv = sys.argv[1:]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
