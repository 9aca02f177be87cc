"""Memory and seconds of a training step by the length of its passages, with the gradient cache and without.

``python -m tests.peers.bench_long_passages --help``; what is measured is said in README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.peers import machine, random_model
from tests.peers.process import LOG, environment, run_process
from tests.peers.results import command, table, write_section

WAYS: dict[str, dict[str, Any]] = {
    "all activations": {"gradient_cache": "off"},
    "gradient cache": {"gradient_cache": "on"},
    "gradient cache and checkpointing": {"gradient_cache": "on", "gradient_checkpointing": True},
}
QUERIES = 2
# (hidden size, layers, passages a query, longest passages that each way is tried with)
MODELS = ((128, 2, 2, (8192, 8192, 8192)), (384, 6, 1, (2048, 8192, 2048)))


def main() -> None:
    given = arguments()
    described = machine.describe(given.threads)
    lines = []
    for hidden, layers, group, longest in MODELS:
        tried = [
            {"name": name, "length": length, "queries": QUERIES, "group": group, "settings": WAYS[name]}
            for length in given.lengths
            for name, most in zip(WAYS, longest, strict=True)
            if length <= most
        ]
        found = measured(hidden, layers, tried, given)
        lines += [line(hidden, layers, one, facts) for one, facts in zip(tried, found, strict=True)]
    head = ["model, passages, way", "tokens of passages", "extra GiB", "s", "tokens/s", "loss"]
    body = [
        f"Machine: {described}.",
        f"Command: `{command('tests.peers.bench_long_passages')}`.",
        table(head, lines),
        f"Whole trainings of one step ({given.precision}, {given.threads} thread(s), AdamW, dropout 0) of BERTs with "
        "random weights; two queries a step, each with two passages (the smaller model) or one. Extra memory is the "
        "high-water mark of a process of its own, less what was resident before the training: weights, gradients and "
        "optimiser state are in it. Seconds are those of the only step, start-up of the kernels included.",
    ]
    write_section(f"Long passages, up to {max(given.lengths):,} tokens, {given.precision}", "\n\n".join(body))


def arguments() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.bench_long_passages", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 2048, 8192])
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=20, help="most that one model may take")
    given = parser.parse_args()
    if min(given.lengths) < 32:
        parser.error("--lengths must be at least 32 each")
    return given


def measured(
    hidden: int, layers: int, tried: list[dict[str, Any]], given: argparse.Namespace
) -> list[dict[str, float]]:
    """What the process found for each length and way."""
    print(f"{layers} layers of {hidden}: {len(tried)} trainings", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        model, work = Path(folder) / "model", Path(folder) / "work"
        random_model.write(model, hidden=hidden, layers=layers, positions=max(given.lengths))
        module = ["-m", "tests.peers.long_passage_process", str(model), given.precision, json.dumps(tried)]
        environ = environment(Path(folder), given.threads)
        run_process("long passages", [sys.executable, *module, str(work)], work, environ, given.minutes)
        printed = (work / LOG).read_text().splitlines()
    return [json.loads(one) for one in printed if one.startswith('{"extra_gib"')]


def line(hidden: int, layers: int, one: dict[str, Any], facts: dict[str, float]) -> list[str]:
    """One row of the table."""
    return [
        f"{layers} x {hidden}, {one['length']:,} tokens, {one['name']}",
        f"{facts['tokens']:,}",
        f"{facts['extra_gib']:.2f}",
        f"{facts['seconds']:.1f}",
        f"{facts['tokens'] / facts['seconds']:,.0f}",
        f"{facts['loss']:.5f}",
    ]


if __name__ == "__main__":
    main()
