"""Memory of each process of a training with the weights in shards (`training.fsdp`), by the number of processes.

``python -m tests.peers.bench_sharded_memory --help``; what is measured is said in README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.peers import machine, random_model
from tests.peers.process import environment, run_process
from tests.peers.results import command, table, write_section

PARTS = ("weights", "gradients", "optimizer")


def main() -> None:
    given = arguments()
    described = machine.describe(1)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        size = random_model.write(model, hidden=given.hidden, layers=given.layers, vocabulary=given.vocabulary)
        found = {count: measured(count, model, Path(folder), given.minutes) for count in given.processes}
    whole = sum(found[min(found)][0][part] for part in PARTS) * min(found)
    head = ["processes", *(f"{part}, MiB" for part in PARTS), "together, MiB", "of the whole", "1/n"]
    head += ["peak while training, MiB", "peak while reading, MiB", "s a step", "loss of the last step"]
    body = [
        f"Machine: {described}.",
        f"Command: `{command('tests.peers.bench_sharded_memory')}`.",
        table(head, [line(count, ranks, whole) for count, ranks in found.items()]),
        f"A BERT of {size / 1e6:.0f} million random weights in fp32, {given.layers} layers of {given.hidden}; AdamW; "
        "steps of 8 queries with two passages each, nothing of the first pass kept; gloo, one thread a process. The "
        "figures are those of the process that has most. Weights, gradients and optimiser state are counted in "
        "tensors; peaks are of the resident memory, interpreter and libraries included: while training, from when the "
        "weights are in shards, with the layer that is whole while it computes; while reading, before that.",
    ]
    write_section(f"Memory with weights in shards, {size / 1e6:.0f} million weights", "\n\n".join(body))


def arguments() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.bench_sharded_memory", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--vocabulary", type=int, default=30_522)
    parser.add_argument("--minutes", type=float, default=10, help="most that the steps of one number may take")
    given = parser.parse_args()
    if min(given.processes) < 1:
        parser.error("--processes must be at least 1 each")
    return given


def measured(count: int, model: Path, folder: Path, minutes: float) -> list[dict[str, Any]]:
    """What each of so many processes wrote."""
    print(f"{count} process(es)", flush=True)
    written = folder / f"of-{count}"
    written.mkdir()
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    module = ["-m", "tests.peers.sharded_process", str(model), str(written)]
    run_process(
        f"{count} process(es)", [sys.executable, *torchrun, *module], folder / "work", environment(folder, 1), minutes
    )
    return [json.loads((written / f"{rank}.json").read_text()) for rank in range(count)]


def line(count: int, ranks: list[dict[str, Any]], whole: float) -> list[str]:
    """One row of the table."""

    def most(name: str) -> float:
        return max(rank[name] for rank in ranks)

    together = max(sum(rank[part] for part in PARTS) for rank in ranks)
    return [
        str(count),
        *(mib(most(part)) for part in PARTS),
        mib(together),
        f"{together / whole:.3f}",
        f"{1 / count:.3f}",
        *(mib(most(name)) for name in ("peak_while_training", "peak_while_reading")),
        f"{most('seconds'):.1f}",
        f"{ranks[0]['loss']:.6f}",
    ]


def mib(size: float) -> str:
    """Bytes as MiB."""
    return f"{size / 2**20:,.0f}"


if __name__ == "__main__":
    main()
