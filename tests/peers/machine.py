"""The machine that a figure was measured on, and the rate of its matrix products."""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path

import torch


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def describe(threads: int) -> str:
    """One line: processor, cores, memory, system, threads used, and how busy the machine was before."""
    facts = Path("/proc/cpuinfo").read_text()
    names = [line.split(":", 1)[1].strip() for line in facts.splitlines() if line.startswith("model name")]
    fast = [name for name in ("avx512_bf16", "amx_bf16") if name in facts]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    minute, five, _ = os.getloadavg()
    return (
        f"{names[0] if names else platform.processor()}, {cores()} cores, {memory:.0f} GiB, "
        f"{', '.join(fast) or 'no bf16 units'}, {platform.system()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}; {threads} thread(s) used; load average before the start {minute:.1f} (1 min), "
        f"{five:.1f} (5 min)"
    )


def matmul_rate(precision: str, threads: int, device: str = "cpu") -> float:
    """FLOP/s of a product of a transformer's shape on a device: what an encoder could reach at best there.

    4096 x 384 by 384 x 1536 on a CPU; 16384 x 1024 by 1024 x 4096 on a GPU, which smaller ones keep waiting for work.
    """
    shape = (4096, 384, 1536) if device == "cpu" else (16384, 1024, 4096)
    return _rate(shape, torch.bfloat16 if precision == "bf16" else torch.float32, threads, device)


def product_rate(dimension: int, threads: int) -> float:
    """FLOP/s of the inner products of 1,024 queries and 4,096 passages in fp32: what a search could reach at best."""
    return _rate((1024, dimension, 4096), torch.float32, threads)


def _rate(shape: tuple[int, int, int], kind: torch.dtype, threads: int, device: str = "cpu") -> float:
    rows, inner, columns = shape
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    left, right = (torch.randn(size, device=device).to(kind) for size in ((rows, inner), (inner, columns)))
    times = []
    for _ in range(60):
        start = time.perf_counter()
        torch.mm(left, right)
        if device != "cpu":
            # A GPU's product has only been asked for by now.
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    torch.set_num_threads(before)
    return 2 * rows * inner * columns / statistics.median(times[10:])
