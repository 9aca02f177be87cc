"""Training speed and memory of Sharpen beside FlagEmbedding and sentence-transformers, on the same work.

``python -m tests.peers.bench_finetuning --help``; what is measured is said in README.md.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
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
from tests.peers.neighbour import neighbours
from tests.peers.results import command, faster, spread, table, write_section
from tests.peers.rounds import Schedule, in_turn
from tests.peers.rows import Rows, Size, minilm, write_rows

OURS = "Sharpen"
IDLE, NEIGHBOUR = "idle", "neighbour"
# What is wanted: how many times as fast as each peer, by condition, and of Sharpen's own idle time beside a neighbour.
_AT_LEAST = {IDLE: 2.0, NEIGHBOUR: 1.0}
_OF_IDLE = 1.7
_QUICK = {"queries": 8, "steps": 2, "rounds": 3, "peers": ["sentence-transformers"]}


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
    found: dict[tuple[str, str], Mapping[str, Measured]] = {}
    for precision in given.precision:
        with tempfile.TemporaryDirectory(prefix="bench-finetuning-") as folder:
            by_condition = measure(Path(folder), names, size, precision, described, given)
        found |= {(condition, precision): measured for condition, measured in by_condition.items()}
    write_section(f"Fine-tuning beside a busy neighbour, {size}", summary(found, names, described, given))


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
    parser.add_argument(
        "--conditions", nargs="+", choices=[IDLE, NEIGHBOUR], default=[IDLE, NEIGHBOUR], help="of the machine"
    )
    parser.add_argument(
        "--quick", action="store_true", help="less than 20 minutes on two cores: " + ", ".join(map(str, _QUICK.items()))
    )
    parser.add_argument("--seed", type=int, default=42, help="of rows, negatives and trainings")
    parser.add_argument("--limit_minutes", type=float, default=120, help="a process that takes longer is ended")
    parser.set_defaults(flagembedding=flagembedding_python())
    if parser.parse_known_args()[0].quick:
        parser.set_defaults(**_QUICK)
    given = parser.parse_args()
    least = {"queries": 2, "group": 2, "query_max_len": 8, "passage_max_len": 8, "steps": 2, "rounds": 1, "threads": 1}
    if faults := [f"--{name} must be at least {low}" for name, low in least.items() if getattr(given, name) < low]:
        parser.error("; ".join(faults))
    return given


def measure(
    folder: Path, names: list[str], size: Size, precision: str, described: str, given: argparse.Namespace
) -> dict[str, dict[str, Measured]]:
    """All rounds at one precision, by condition, and the idle ones' section of RESULTS.md."""
    model = minilm()
    rows = write_rows(folder, model, size)
    measured = {condition: {name: Measured(size) for name in names} for condition in given.conditions}
    runs = [f"{condition}, {name}" for condition in given.conditions for name in names]
    schedule = Schedule(f"fine-tuning, {precision}", runs, given.rounds)
    rates = []
    for round_ in range(given.rounds):
        rates.append(machine.matmul_rate(precision, given.threads))
        for condition in in_turn(given.conditions, round_):
            for name in in_turn(names, round_):
                where = folder / f"{round_}-{condition}-{list(CONTESTANTS).index(name)}"
                task = Task(
                    *(size, precision, rows.file, model, where),
                    *(given.threads, given.sub_batch_size, given.flagembedding),
                )
                with neighbours(max(1, machine.cores() // 2)) if condition == NEIGHBOUR else nullcontext():
                    measured[condition][name].runs.append(run(name, task, given.limit_minutes))
                took = measured[condition][name].of_rounds[-1]
                schedule.ended(f"{condition}, {name}", f"{took:.2f} s a step")
        # after every round, so that an interrupted benchmark keeps the rounds that are whole
        checkpointed = "FlagEmbedding" in names and needs_checkpointing(size)
        if IDLE in measured:
            body = report(measured[IDLE], rows, size, max(rates), described, given, checkpointed)
            write_section(f"Fine-tuning, {precision}, {size}", body)
    return measured


def summary(
    found: Mapping[tuple[str, str], Mapping[str, Measured]],
    names: list[str],
    described: str,
    given: argparse.Namespace,
) -> str:
    """The section with a column for each condition and precision, and what is wanted of each."""
    lines = [[name, *(spread(measured[name].of_rounds) for measured in found.values())] for name in names]
    faults: list[str] = []
    for peer in names[1:]:
        ratios = []
        for (condition, precision), measured in found.items():
            ours, theirs = measured[OURS], measured[peer]
            ratios.append(faster(theirs.of_rounds, ours.of_rounds))
            if statistics.median(theirs.of_rounds) < _AT_LEAST[condition] * statistics.median(ours.of_rounds):
                faults.append(f"{condition}, {precision}: below {_AT_LEAST[condition]:g}x of {peer}")
        lines.append([f"Sharpen is faster than {peer} by", *ratios])
    own = []
    for condition, precision in found:
        idle = found.get((IDLE, precision))
        if condition == IDLE or idle is None:
            own.append("")
            continue
        times, before = (statistics.median(one[OURS].of_rounds) for one in (found[condition, precision], idle))
        own.append(f"{times / before:.2f}x")
        if times > _OF_IDLE * before:
            faults.append(f"{condition}, {precision}: ABOVE {_OF_IDLE:g}x of Sharpen's own idle time")
    lines.append(["Sharpen, of its own idle time", *own])
    lines += [
        [f"peak GiB, {name}", *(f"{measured[name].peak_gib:.2f}" for measured in found.values())] for name in names
    ]
    heads = {IDLE: "idle", NEIGHBOUR: "one busy neighbour a core-pair"}
    head = ["s a step: median (range of the rounds)", *(f"{heads[one]}, {precision}" for one, precision in found)]
    wanted = "; ".join(faults) if faults else "all of it is met"
    return "\n\n".join(
        [
            f"Machine: {described}.",
            f"Command: `{command('tests.peers.bench_finetuning')}`.",
            table(head, lines),
            f"{given.rounds} rounds in which conditions and contestants take turns, {given.steps} steps a process, the "
            f"first dropped. Beside a neighbour {max(1, machine.cores() // 2)} other process(es) of the same priority "
            f"compute without a pause. Wanted: idle at least {_AT_LEAST[IDLE]:g}x as fast as every peer, beside a "
            f"neighbour never slower, and at most {_OF_IDLE:g}x of Sharpen's own idle time: {wanted}.",
        ]
    )


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
