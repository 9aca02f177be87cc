"""What is freed stays with the process while a model computes, and goes back to the system afterwards."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is not glibc's")

PROGRAM = """
import json, resource, sys
import numpy as np
from sharpen.hardware import allocator

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def work():
    for _ in range(20):
        blocks = [np.ones(2**21, dtype=np.uint8) for _ in range(8)]  # 16 MiB, freed at the next turn
        del blocks

kept = allocator.retain_freed_memory() if sys.argv[1] != "usual" else False
if sys.argv[1] == "back":
    allocator.return_freed_memory()
start = resident()
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
held = resident() - start
allocator.release_freed_memory()
print(json.dumps({"kept": kept, "faults": faults, "held": held, "after": resident() - start}))
"""


THREADS = """
import json, os, resource, sys, threading
import numpy as np
from sharpen.hardware import allocator

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
kept = allocator.retain_freed_memory()
start = resident()
barrier = threading.Barrier(12)
def work():
    # one block a thread, all at once, so that each thread needs a heap
    barrier.wait()
    for _ in range(3):
        blocks = [np.ones(2**21, dtype=np.uint8) for _ in range(8)]
        del blocks
for _ in range(3):
    threads = [threading.Thread(target=work) for _ in range(12)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
limited = resident() - start
print(json.dumps({"kept": kept, "held": limited}))
"""

# imported before torch, as in every step; the threads are there at once, so that each wants a heap
HEAPS = """
import ctypes, json, os, sys, tempfile, threading
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
if sys.argv[1] == "step":
    import components
barrier = threading.Barrier(12)
def work():
    barrier.wait()
    bytearray(1000)
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
libc.fclose.argtypes = [ctypes.c_void_p]
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
with tempfile.NamedTemporaryFile() as target:
    file = libc.fopen(target.name.encode(), b"w")
    libc.malloc_info(0, file)
    libc.fclose(file)
    print(json.dumps({"heaps": target.read().count(b"<heap nr=")}))
"""


def run(how: str, **environ: str) -> dict[str, int]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "OMP_"))}
    program = {"threads": THREADS, "step": HEAPS, "another process": HEAPS}.get(how, PROGRAM)
    done = subprocess.run(
        [sys.executable, "-c", program, how],
        env=ours | environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_freed_memory_is_kept_and_given_back_when_the_work_is_done() -> None:
    usual, kept = run("usual"), run("keep")
    assert kept["kept"]
    assert usual["faults"] > 20 * 2**24 // 4096 // 2  # the pages of every turn anew
    assert kept["faults"] < usual["faults"] / 20
    assert kept["held"] >= 15 * 2**20
    assert kept["after"] < 4 * 2**20


def test_memory_goes_back_at_once_where_it_is_scarce() -> None:
    assert run("back")["held"] < 4 * 2**20


def test_who_sets_the_allocator_by_hand_is_heeded() -> None:
    assert not run("keep", MALLOC_TRIM_THRESHOLD_="131072")["kept"]
    assert not run("keep", GLIBC_TUNABLES="glibc.malloc.arena_max=2")["kept"]


def test_many_threads_share_a_heap_a_core() -> None:
    """With a heap for each thread that ever ran, 12 of them would hold what 12 computed at once."""
    limited, unlimited = run("threads"), run("threads", MALLOC_ARENA_MAX="12")
    assert limited["kept"] and unlimited["kept"]
    assert limited["held"] < unlimited["held"]


def test_a_step_limits_its_heaps_before_anything_starts_threads() -> None:
    assert run("step")["heaps"] <= 2 < run("another process")["heaps"]
    assert run("step", OMP_NUM_THREADS="3")["heaps"] == 3
    assert run("step", MALLOC_ARENA_MAX="5")["heaps"] == 5
