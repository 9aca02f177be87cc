"""Memory, seconds and exactness of the loss at a batch whose score matrix would need gibibytes.

``python -m tests.peers.bench_loss_memory --help``; what is measured is said in README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

from tests.peers import machine
from tests.peers.results import command, table, write_section
from tests.peers.rows import ROOT

BOUND_GIB = 1.5


def main() -> None:
    given = arguments()
    described = machine.describe(given.threads)
    large = measured(given.queries, given.passages, given.dimension, given.sample, given.threads)
    part = (given.queries // 16, given.passages // 16, given.dimension)
    small = measured(*part, -1, given.threads)
    head = ["queries x passages x dimensions", "extra GiB", "score matrix alone, GiB", "seconds", "loss"]
    head += ["loss error", "worst query gradient", "worst passage gradient", "gradients compared"]
    lines = [
        line((given.queries, given.passages, given.dimension), large),
        line(part, small),
    ]
    met = "within" if large["extra_gib"] <= BOUND_GIB else "ABOVE"
    body = [
        f"Machine: {described}.",
        f"Command: `{command('tests.peers.bench_loss_memory')}`.",
        table(head, lines),
        "Extra memory is the high-water mark of the resident memory of a fresh process, less what was resident before "
        f"the call (inputs included) and less the returned gradient; {met} the bound of {BOUND_GIB} GiB at the first "
        "size. Errors are relative to a float64 reference that works block by block from the definition "
        "(loss_reference.py): of the loss over all rows, and the largest |difference| / |gradient| over the compared "
        f"vectors, which are {given.sample} queries and {given.sample} passages drawn at random at the first size and "
        "all of them at the second. Random vectors of length 1, temperature 0.02.",
    ]
    size = f"{given.queries:,} x {given.passages:,} x {given.dimension}"
    write_section(f"Loss memory, {size}", "\n\n".join(body))


def arguments() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.bench_loss_memory", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=32_768)
    parser.add_argument("--passages", type=int, default=65_536)
    parser.add_argument("--dimension", type=int, default=768)
    parser.add_argument("--sample", type=int, default=512, help="queries and passages whose gradient is compared")
    parser.add_argument("--threads", type=int, default=machine.cores())
    given = parser.parse_args()
    if given.queries < 32 or given.passages < given.queries or given.sample < 1 or given.dimension < 1:
        parser.error(
            "--queries must be at least 32, --passages at least --queries, --sample and --dimension at least 1"
        )
    return given


def measured(queries: int, passages: int, dimension: int, sample: int, threads: int) -> dict[str, float]:
    """What `loss_process` prints for this size."""
    print(f"loss of {queries:,} x {passages:,} x {dimension}", flush=True)
    ended = subprocess.run(
        [
            *[sys.executable, "-m", "tests.peers.loss_process", "--queries", str(queries)],
            *["--passages", str(passages), "--dimension", str(dimension), "--sample", str(sample)],
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    if ended.returncode:
        sys.exit(f"error: the loss's process ended with exit code {ended.returncode}")
    return json.loads(ended.stdout)


def line(size: tuple[int, int, int], facts: dict[str, float]) -> list[str]:
    """One row of the table."""
    return [
        f"{size[0]:,} x {size[1]:,} x {size[2]}",
        f"{facts['extra_gib']:.2f}",
        f"{facts['scores_gib']:.2f}",
        f"{facts['seconds']:.1f}",
        f"{facts['loss']:.6f}",
        *(f"{facts[name]:.1e}" for name in ("loss_error", "rows_error", "columns_error")),
        f"{facts['rows_checked']:,} + {facts['columns_checked']:,}",
    ]


if __name__ == "__main__":
    main()
