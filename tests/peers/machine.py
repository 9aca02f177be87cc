"""The machine that a figure was measured on, and its measured floor."""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path


def describe() -> str:
    """One line: processor, cores in use, memory, system."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    flags = Path("/proc/cpuinfo").read_text()
    fast = [name for name in ("avx512_bf16", "amx_bf16") if name in flags]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {memory:.0f} GiB, {', '.join(fast) or 'no bf16 units'}, {platform.platform()}"


def matmul_rate(bf16: bool) -> float:
    """FLOP/s of a matrix product of a transformer's shape: the highest rate that an encoder could reach here."""
    import torch

    kind = torch.bfloat16 if bf16 else torch.float32
    left, right = torch.randn(4096, 384).to(kind), torch.randn(384, 1536).to(kind)
    times = []
    for _ in range(30):
        start = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - start)
    return 2 * 4096 * 384 * 1536 / statistics.median(times[5:])
