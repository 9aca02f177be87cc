"""Training speed and memory of Sharpen beside FlagEmbedding and sentence-transformers, on the same work.

``python -m tests.peers.bench_finetuning --help``; what is measured is said in README.md.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers import machine
from tests.peers.contestants import (
    CONTESTANTS,
    Run,
    Task,
    flagembedding_python,
    needs_checkpointing,
    require_flagembedding,
    run,
)
from tests.peers.floor import FORMULA
from tests.peers.results import command, faster, spread, table, write_section
from tests.peers.rounds import Schedule, in_turn
from tests.peers.rows import Rows, Size, minilm, write_rows

OURS = "Sharpen"


@dataclass
class Measured:
    """All rounds of one contestant.

    Attributes:
        runs: one a round.
        size: what a step was.
    """

    size: Size
    runs: list[Run] = field(default_factory=list)

    @property
    def steps(self) -> list[float]:
        """Seconds of all steps but each process's first, which warms up."""
        return [seconds for run in self.runs for seconds in run.seconds[1:]]

    @property
    def seconds(self) -> float:
        """Median seconds per step."""
        return statistics.median(self.steps)

    @property
    def cpu_seconds(self) -> float:
        """Median CPU seconds per step, over all threads."""
        return statistics.median(seconds for run in self.runs for seconds in run.cpu_seconds[1:])

    @property
    def of_rounds(self) -> list[float]:
        """Median seconds per step of each round."""
        return [statistics.median(run.seconds[1:]) for run in self.runs]

    @property
    def peak_gib(self) -> float:
        """Highest resident memory of any round."""
        return max(run.peak_gib for run in self.runs)

    @property
    def loss(self) -> float:
        """Mean of the logged losses of the first round."""
        return statistics.mean(self.runs[0].losses)


def main() -> None:
    given = arguments()
    size = Size(given.queries, given.group, given.query_max_len, given.passage_max_len, given.steps, given.seed)
    names = [OURS, *(name for name in given.peers if name != OURS)]
    if "FlagEmbedding" in names:
        require_flagembedding(given.flagembedding)
    described = machine.describe(given.threads)
    for precision in given.precision:
        with tempfile.TemporaryDirectory(prefix="bench-finetuning-") as folder:
            measure(Path(folder), names, size, precision, described, given)


def arguments() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.bench_finetuning", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=128, help="queries per step")
    parser.add_argument("--group", type=int, default=8, help="passages per query, the positive included")
    parser.add_argument("--query_max_len", type=int, default=64, help="tokens")
    parser.add_argument("--passage_max_len", type=int, default=256, help="tokens")
    parser.add_argument("--steps", type=int, default=4, help="steps per process; the first is dropped")
    parser.add_argument("--rounds", type=int, default=3, help="processes per contestant, in turn")
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=machine.cores(), help="of every contestant")
    parser.add_argument("--sub_batch_size", type=int, default=32, help="rows of a peer's micro-batch")
    parser.add_argument("--peers", nargs="*", choices=list(CONTESTANTS), default=list(CONTESTANTS)[1:3])
    parser.add_argument("--seed", type=int, default=42, help="of rows, negatives and trainings")
    parser.add_argument("--limit_minutes", type=float, default=120, help="a process that takes longer is ended")
    parser.set_defaults(flagembedding=flagembedding_python())
    given = parser.parse_args()
    least = {"queries": 2, "group": 2, "query_max_len": 8, "passage_max_len": 8, "steps": 2, "rounds": 1, "threads": 1}
    if faults := [f"--{name} must be at least {low}" for name, low in least.items() if getattr(given, name) < low]:
        parser.error("; ".join(faults))
    return given


def measure(
    folder: Path, names: list[str], size: Size, precision: str, described: str, given: argparse.Namespace
) -> None:
    """All rounds at one precision, and their section of RESULTS.md."""
    model = minilm()
    rows = write_rows(folder, model, size)
    measured = {name: Measured(size) for name in names}
    schedule = Schedule(f"fine-tuning, {precision}", names, given.rounds)
    rates = []
    for round_ in range(given.rounds):
        rates.append(machine.matmul_rate(precision, given.threads))
        for name in in_turn(names, round_):
            where = folder / f"{round_}-{list(CONTESTANTS).index(name)}"
            task = Task(
                *(size, precision, rows.file, model, where),
                *(given.threads, given.sub_batch_size, given.flagembedding),
            )
            measured[name].runs.append(run(name, task, given.limit_minutes))
            schedule.ended(name, f"{measured[name].of_rounds[-1]:.2f} s a step")
        # after every round, so that an interrupted benchmark keeps the rounds that are whole
        checkpointed = "FlagEmbedding" in names and needs_checkpointing(size)
        body = report(measured, rows, size, max(rates), described, given, checkpointed)
        write_section(f"Fine-tuning, {precision}, {size}", body)


def report(
    measured: dict[str, Measured],
    rows: Rows,
    size: Size,
    rate: float,
    described: str,
    given: argparse.Namespace,
    checkpointed: bool,
) -> str:
    """The section: machine, command, table, what the columns mean."""
    ours = measured[OURS]
    floor = rows.flops / rate
    lines = []
    for name, one in measured.items():
        lines.append(
            [
                name + (" (checkpointing)" if name == "FlagEmbedding" and checkpointed else ""),
                spread(one.steps),
                f"{size.queries / one.seconds:.3g}",
                "" if name == OURS else faster(one.of_rounds, ours.of_rounds),
                f"{one.cpu_seconds:.3g}",
                f"{one.peak_gib:.2f}",
                f"{floor / one.seconds:.1%}",
                f"{one.loss:.3f}",
            ]
        )
    head = ["", "s a step: median (range)", "examples/s", "Sharpen is faster by: median (rounds)"]
    head += ["CPU s a step", "peak GiB", "of the floor", "mean loss"]
    versions = {name: version for one in measured.values() for name, version in one.runs[0].versions.items()}
    notes = [
        f"Machine: {described}.",
        f"Command: `{command('tests.peers.bench_finetuning')}`.",
        f"Versions: {', '.join(f'{name} {version}' for name, version in sorted(versions.items()))}.",
        table(head, lines),
        f"{len(ours.runs)} round(s) in turn, {size.steps} steps a process, the first dropped; a step lasts from the "
        f"end of the one before, tokenising included. All train all-MiniLM-L6-v2 on the same "
        f"{size.queries * size.steps:,} MedQuAD rows with the "
        f"same {size.group - 1} random negatives each ({rows.repeated} texts occur twice), "
        "temperature 0.02, AdamW; the order of the rows is each trainer's own. The mean loss of the first round, "
        "dropout included, shows that they do the same work. The range of ratios is over the rounds.",
        f"Floor: {floor:.3g} s a step = {rows.flops / 1e12:.3g} TFLOP at {rate / 1e9:,.0f} GFLOP/s, the highest of "
        f"{len(ours.runs)} measured rates of matrix products with the threads of the contestants. FLOPs of the "
        f"{rows.tokens:,.0f} unpadded tokens of a step: {FORMULA}.",
    ]
    if checkpointed:
        notes.append(
            f"FlagEmbedding runs with gradient checkpointing and `--sub_batch_size {given.sub_batch_size}`: it keeps "
            "the activations of the whole batch, which do not fit into 24 GiB otherwise."
        )
    return "\n\n".join(notes)


if __name__ == "__main__":
    main()
