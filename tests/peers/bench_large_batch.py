"""One step of a batch that a plain trainer needs many GPUs for: memory, seconds, pairs per second.

``python -m tests.peers.bench_large_batch --help``; what is measured is said in README.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.peers import machine
from tests.peers.contestants import TIMED
from tests.peers.floor import FORMULA, training_flops
from tests.peers.large_batch_data import SHAPES, write_model, write_rows
from tests.peers.process import environment, run_process
from tests.peers.results import command, spread, table, write_section
from tests.peers.rounds import Schedule

OURS = "Sharpen"
LARGE, SMALL = "the batch", "an eighth of it"


def main() -> None:
    given = arguments()
    described = machine.describe(given.threads)
    sizes = {LARGE: given.queries, SMALL: given.queries // 8}
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in sizes}
    rates = []
    schedule = Schedule("large batch", list(sizes), given.rounds)
    with tempfile.TemporaryDirectory(prefix="bench-large-batch-") as name:
        folder = Path(name)
        model = folder / "model"
        write_model(model, SHAPES[given.shape], given.seed)
        write_rows(folder / "rows.jsonl", given.queries * given.steps, given.group, given.words, given.seed)
        for round_ in range(given.rounds):
            for size, queries in sizes.items():
                where = folder / f"{round_}-{queries}"
                arguments_ = training(where, model, folder / "rows.jsonl", queries, given)
                run_process(OURS, arguments_, where, environment(where, given.threads), given.limit_minutes)
                facts = json.loads((where / "times.json").read_text())
                told = json.loads((where / "model" / "training.json").read_text())
                facts |= {name: told[name] for name in ("negatives_per_query", "device")}
                measured[size].append(facts)
                schedule.ended(size, f"{facts['seconds'][-1]:.1f} s a step, {extra(facts):.2f} GiB beside the rest")
            # On the device that the training said it used.
            device = measured[LARGE][-1]["device"]
            rates.append(machine.matmul_rate(given.precision, given.threads, device))
            title = f"Large batch, {given.precision}, {given.shape}, {given.queries:,} queries x group {given.group}"
            write_section(title, report(measured, sizes, max(rates), described, model, given))


def arguments() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.bench_large_batch", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=32_768, help="queries of the batch")
    parser.add_argument("--group", type=int, default=2, help="passages per query, the positive included")
    parser.add_argument("--words", type=int, nargs=2, default=[8, 24], help="of a query and of a passage")
    parser.add_argument("--shape", choices=list(SHAPES), default="tiny", help="size of the BERT with random weights")
    parser.add_argument("--steps", type=int, default=2, help="steps per process; the first is dropped")
    parser.add_argument("--rounds", type=int, default=1, help="processes")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--threads", type=int, default=machine.cores())
    parser.add_argument("--limit_minutes", type=float, default=120, help="a process that takes longer is ended")
    parser.add_argument("--seed", type=int, default=42)
    given = parser.parse_args()
    if given.queries < 16 or min(given.group, given.steps) < 2 or min(given.words) < 4 or max(given.words) > 120:
        parser.error("--queries must be at least 16, --group and --steps at least 2, --words 4 to 120")
    return given


def training(where: Path, model: Path, rows: Path, queries: int, given: argparse.Namespace) -> list[str]:
    """The step's own command, with a clock on it."""
    longest = max(given.words) + 3
    return [
        *[sys.executable, str(TIMED), str(where / "times.json"), "components.finetuning", "--data", str(rows)],
        *["--model", str(model), "--output", str(where / "model"), "--train_batch_size", str(queries)],
        *["--train_group_size", str(given.group), "--max_steps", str(given.steps), "--precision", given.precision],
        *["--query_max_len", str(longest), "--passage_max_len", str(longest), "--sentence_pooling_method", "mean"],
        *["--lr_scheduler_type", "constant", "--warmup_steps", "0", "--logging_steps", "1", "--save_steps", "0"],
        *["--seed", str(given.seed)],
    ]


def extra(facts: dict[str, Any]) -> float:
    """GiB that the steps took beside what was resident before them."""
    return facts["peak_in_training_gib"] - facts["before_training_gib"]


def report(
    measured: dict[str, list[dict[str, Any]]],
    sizes: dict[str, int],
    rate: float,
    described: str,
    model: Path,
    given: argparse.Namespace,
) -> str:
    """The section: machine, command, table, what the columns mean."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model)
    query, passage = (words + 3 for words in given.words)
    lines = []
    for name, runs in measured.items():
        queries = sizes[name]
        seconds = [one for facts in runs for one in facts["seconds"][1:]]
        floor = training_flops([query] * queries + [passage] * queries * given.group, config) / rate
        lines.append(
            [
                f"{queries:,} x {given.group}",
                f"{max(facts['negatives_per_query'] for facts in runs):,.0f}",
                spread(seconds),
                f"{queries / statistics.median(seconds):,.0f}",
                f"{statistics.median(facts['before_training_gib'] for facts in runs):.2f}",
                f"{max(map(extra, runs)):.2f}",
                f"{4 * queries**2 * given.group / 2**30:.2f}",
                f"{floor / statistics.median(seconds):.1%}",
            ]
        )
    head = ["queries x group", "negatives a query", "s a step: median (range)", "pairs/s", "GiB before the step"]
    head += ["GiB that it takes beside that", "score matrix alone, GiB", "of the floor"]
    first = measured[LARGE][0]
    gpu = f" Peak memory of the GPU: {first['gpu_peak_gib']:.2f} GiB." if first.get("gpu_peak_gib") else ""
    shape = SHAPES[given.shape]
    return "\n\n".join(
        [
            f"Machine: {described}.",
            f"Command: `{command('tests.peers.bench_large_batch')}`.",
            table(head, lines),
            f"Optimiser steps of `components.finetuning` on one process ({first['device']}), the first of each process "
            f"dropped: a BERT of {shape.layers} layers and {shape.hidden} dimensions with random weights, synthetic "
            f"texts of {query} and {passage} tokens, no text twice, in-batch negatives, gradient cache as it is by "
            f"default.{gpu} The step's memory is the high-water mark from the beginning of the training on, less what "
            "was resident then (model, texts, libraries).",
            f"Floor: FLOPs of forward and backward at {rate / 1e9:,.0f} GFLOP/s, measured on the same device "
            f"({FORMULA}).",
        ]
    )


if __name__ == "__main__":
    main()
