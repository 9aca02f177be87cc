"""How many threads compute fastest side by side on this machine, by a short measurement.

Two threads on one core, as hyper-threading offers them, or more threads than a container's share of the processor, may
take each other's time. What is counted is how many passes of a small layer all threads finish together: how a step of
training and encoding share out their micro-batches.
"""

from __future__ import annotations

import threading
import time

import torch
from torch import nn

# How much faster half of the threads must be to be taken; other work on the machine makes less of a difference.
CLEARLY = 1.15
_SECONDS, _ROUNDS = 0.1, 2
# tokens and hidden size of the layer, that of a small encoder: a pass takes a few milliseconds
_TOKENS, _SIZE = 128, 384


def fast_thread_count(cores: int) -> int:
    """The cores, or half of them where those finish clearly more in the same time."""
    if cores < 2:
        return 1
    rates = dict.fromkeys((cores, cores // 2), 0.0)
    for _ in range(_ROUNDS):
        for count in rates:
            rates[count] = max(rates[count], passes_a_second(count))
    return cores // 2 if rates[cores // 2] >= CLEARLY * rates[cores] else cores


def passes_a_second(threads: int) -> float:
    """Forward and backward passes that so many threads, each on one core, finish together in a second."""
    start = threading.Barrier(threads)
    finished: list[float] = []

    def work() -> None:
        torch.set_num_threads(1)  # of this thread alone
        layer = nn.Sequential(nn.Linear(_SIZE, 4 * _SIZE), nn.GELU(), nn.Linear(4 * _SIZE, _SIZE))
        given = torch.ones(_TOKENS, _SIZE)
        layer(given).sum().backward()  # the first pass prepares its kernels
        start.wait()
        began, passes = time.perf_counter(), 0
        while (took := time.perf_counter() - began) < _SECONDS or not passes:
            layer(given).sum().backward()
            passes += 1
        finished.append(passes / took if took else 0.0)

    workers = [threading.Thread(target=work, name="hardware") for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(finished)
