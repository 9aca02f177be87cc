"""How many threads a process of torchrun takes on a machine of 8 cores: ``torchrun -m … FOLDER`` writes it there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from sharpen.hardware import measurement
from sharpen.training.processes import process_group

if __name__ == "__main__":
    os.sched_getaffinity = lambda pid: set(range(8))
    # all of them fast: the machine that runs this may have fewer
    measurement.fast_thread_count = lambda cores: cores
    with process_group() as exchange:
        (Path(sys.argv[1]) / str(exchange.rank)).write_text(str(torch.get_num_threads()))
