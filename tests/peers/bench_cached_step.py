"""What the gradient cache costs where it is not needed: a cached step beside a plain one, on the same batch.

``python -m tests.peers.bench_cached_step --help``; what is measured is said in README.md.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from sharpen.data.readers import read_dataset
from sharpen.distributed import ProcessGroup
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.training.data.build_dataset import make_examples
from sharpen.training.data.collator import ShardedBatch, shard_batch
from sharpen.training.data.sampler import BatchSampler
from sharpen.training.data.tokens import Tokens
from sharpen.training.gradient.activation_budget import ActivationBudget
from sharpen.training.gradient.micro_batch import MicroBatchConfig
from sharpen.training.gradient.step import gradient_step
from sharpen.training.objective import objective_of
from sharpen.training.settings import TrainingSettings
from tests.peers import machine
from tests.peers.results import command, table, write_section
from tests.peers.rows import Size, minilm, write_rows

MODES = {
    "off": "plain: every activation is kept",
    "on": "cached: none is kept",
    "half": "auto, with half the memory that all would take",
    "auto": "auto, the default",
}
BOUND = 1.35


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    described = machine.describe(given.threads)
    size = Size(given.queries, given.group, given.query_max_len, given.passage_max_len, 1)
    for precision in given.precision:
        settings, encoder, layout = prepared(size, precision)
        seconds, gradients = timed(settings, encoder, layout, given.rounds)
        write_section(f"Cached step, {precision}, {size}", report(seconds, gradients, layout, described))


def arguments() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.bench_cached_step", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=16, help="queries of the batch")
    parser.add_argument("--group", type=int, default=4, help="passages per query, the positive included")
    parser.add_argument("--query_max_len", type=int, default=64, help="tokens")
    parser.add_argument("--passage_max_len", type=int, default=256, help="tokens")
    parser.add_argument("--rounds", type=int, default=5, help="steps of each kind, in turn, after one that is dropped")
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=machine.cores())
    given = parser.parse_args()
    if min(given.queries, given.group) < 2 or min(given.rounds, given.threads) < 1:
        parser.error("--queries and --group must be at least 2, --rounds and --threads at least 1")
    return given


def prepared(size: Size, precision: str) -> tuple[TrainingSettings, Encoder, ShardedBatch]:
    """One batch of the benchmark's rows, as a training would make it."""
    settings = TrainingSettings.checked({"train_batch_size": size.queries, "train_group_size": size.group})
    lengths = {"query_max_len": size.query_max_len, "passage_max_len": size.passage_max_len}
    encoding = EncoderSettings.checked({**lengths, "precision": precision})
    model = minilm()
    encoder = Encoder.load(str(model), encoding, training=True).train()
    with tempfile.TemporaryDirectory(prefix="bench-cached-step-") as folder:
        examples = make_examples(read_dataset(str(write_rows(Path(folder), model, size).file)), None, settings)
    batch = BatchSampler(examples, settings).batch(0)
    return settings, encoder, shard_batch(batch, Tokens(examples, encoder), settings, 0, 1)


def timed(
    settings: TrainingSettings, encoder: Encoder, layout: ShardedBatch, rounds: int
) -> tuple[dict[str, list[float]], dict[str, torch.Tensor]]:
    """Seconds of each round, and the gradient of the last, of each kind of step."""
    objective, exchange = objective_of(settings, normalize=encoder.normalize), ProcessGroup()
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    gradients: dict[str, torch.Tensor] = {}
    everything = ActivationBudget(float("inf"))
    gradient_step(encoder, layout, objective, MicroBatchConfig(budget=everything), exchange)
    memories = {mode: MicroBatchConfig(cache=mode) for mode in MODES if mode != "half"}
    memories["half"] = MicroBatchConfig(budget=ActivationBudget(everything.taken / 2))
    for round_ in range(rounds + 1):
        for mode in MODES:
            encoder.zero_grad(set_to_none=True)
            torch.manual_seed(round_)
            started = time.perf_counter()
            gradient_step(encoder, layout, objective, memories[mode], exchange)
            took = time.perf_counter() - started
            if round_:
                seconds[mode].append(took)
            gradients[mode] = torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None])
        print(f"round {round_}/{rounds}", flush=True)
    return seconds, gradients


def report(
    seconds: dict[str, list[float]], gradients: dict[str, torch.Tensor], layout: ShardedBatch, described: str
) -> str:
    """The section: machine, command, table, what the columns mean."""
    plain, plain_gradient = seconds["off"], gradients["off"].double()
    lines = []
    for mode, name in MODES.items():
        ratios = [one / other for one, other in zip(seconds[mode], plain, strict=True)]
        error = (gradients[mode].double() - plain_gradient).norm() / plain_gradient.norm()
        median = statistics.median(seconds[mode])
        lines.append(
            [
                name,
                f"{median:.3g} ({min(seconds[mode]):.3g} to {max(seconds[mode]):.3g})",
                "" if mode == "off" else f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})",
                "" if mode == "off" else f"{error:.1e}",
            ]
        )
    head = ["gradient_cache", "s a step: median (range)", "of the plain step: median (range)", "gradient differs by"]
    tokens = sum(len(ids) for ids in layout.tokens)
    return "\n\n".join(
        [
            f"Machine: {described}.",
            f"Command: `{command('tests.peers.bench_cached_step')}`.",
            table(head, lines),
            f"One batch of {len(layout.tokens)} texts and {tokens:,} tokens, in one process, the kinds of step in "
            f"turn, {len(plain)} rounds after one that is dropped; ratios are taken within a round, and {BOUND}x is "
            "the most that a cached step may cost. A step is encoding, loss and gradient, without the optimiser; all "
            "kinds use the same micro-batches and draw the same dropout, so gradients agree but for rounding.",
        ]
    )


if __name__ == "__main__":
    main()
