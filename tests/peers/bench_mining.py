"""Mining and encoding speed and memory of Sharpen beside FlagEmbedding and sentence-transformers, on the same work.

``python -m tests.peers.bench_mining --help``; what is measured is said in README.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from sharpen.hardware.device import use_bf16
from tests.peers import machine
from tests.peers.contestants import flagembedding_python, require_flagembedding
from tests.peers.floor import FORMULA
from tests.peers.miners import CACHED, DEFAULT, MARGIN, MINERS, NEGATIVES, RANGE, MiningTask, hn_mine
from tests.peers.mining_data import MiningData, write_mining_data
from tests.peers.neighbour import neighbours
from tests.peers.process import Ended, environment, run_process
from tests.peers.results import command, faster, spread, table, write_section
from tests.peers.rounds import Schedule, in_turn
from tests.peers.rows import minilm

OURS = "Sharpen"
ENCODERS = [OURS, "sentence-transformers"]
PRECISIONS = ["fp32", "bf16", DEFAULT]


@dataclass
class Measured:
    """All runs of one contestant: with empty caches, and again with nothing changed."""

    first: list[Ended] = field(default_factory=list)
    second: list[Ended] = field(default_factory=list)

    def seconds(self, *, second: bool = False) -> list[float]:
        """Of each round."""
        return [one.seconds for one in (self.second if second else self.first)]


@dataclass(frozen=True)
class Encoded:
    """One process that only encoded."""

    seconds: float
    peak_gib: float
    vectors: np.ndarray


def main() -> None:
    given = arguments()
    if "FlagEmbedding" in given.peers and "mine" in given.parts:
        require_flagembedding(given.flagembedding, hn_mine(given.flagembedding))
    described = machine.describe(given.threads)
    model = minilm()
    with tempfile.TemporaryDirectory(prefix="bench-mining-") as name:
        folder = Path(name)
        lengths = (given.query_max_len, given.passage_max_len)
        data = write_mining_data(folder, model, given.queries, given.passages, lengths, given.seed)
        for precision in given.precision:
            if "encode" in given.parts:
                encode(folder / f"encode-{precision}", model, data, precision, described, given)
            if "mine" in given.parts:
                mine(folder / f"mine-{precision}", model, data, precision, described, given)


def arguments() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.bench_mining", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--queries", type=int, help="training queries; all of MedQuAD's unless given")
    parser.add_argument("--passages", type=int, help="passages; all of MedQuAD's unless given")
    parser.add_argument("--query_max_len", type=int, default=64, help="tokens")
    parser.add_argument("--passage_max_len", type=int, default=256, help="tokens")
    parser.add_argument("--rounds", type=int, default=3, help="processes per contestant, in turn")
    parser.add_argument("--parts", nargs="+", choices=["encode", "mine"], default=["encode", "mine"])
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=PRECISIONS,
        default=PRECISIONS,
        help=f"{DEFAULT}: what each contestant takes by itself",
    )
    parser.add_argument("--neighbour", action="store_true", help="beside processes that keep half of the cores busy")
    parser.add_argument("--threads", type=int, default=machine.cores(), help="of every contestant")
    parser.add_argument("--batch_size", type=int, default=32, help="texts that a peer encodes at once")
    parser.add_argument(
        "--peers", nargs="*", choices=list(MINERS)[1:], default=["FlagEmbedding", "sentence-transformers, faiss"]
    )
    parser.add_argument("--limit_minutes", type=float, default=120, help="a process that takes longer is ended")
    parser.add_argument("--seed", type=int, default=42, help="of the cut")
    parser.set_defaults(flagembedding=flagembedding_python())
    given = parser.parse_args()
    least = {"queries": 1, "passages": 256, "query_max_len": 8, "passage_max_len": 8, "rounds": 1, "threads": 1}
    least |= {"batch_size": 1}
    values = {name: getattr(given, name) for name in least}
    if faults := [f"--{name} must be at least {least[name]}" for name, v in values.items() if v and v < least[name]]:
        parser.error("; ".join(faults))
    return given


def mine(
    folder: Path, model: Path, data: MiningData, precision: str, described: str, given: argparse.Namespace
) -> None:
    """All rounds of mining at one precision, and their section of RESULTS.md."""
    names = [OURS, *given.peers]
    measured = {name: Measured() for name in names}
    schedule = Schedule(f"mining, {precision}", names, given.rounds)
    rates = []
    for round_ in range(given.rounds):
        rates.append(machine.matmul_rate(fastest(precision), given.threads))
        for name in in_turn(names, round_):
            one = measured[name]
            where = folder / f"{round_}-{list(MINERS).index(name)}"
            for output, runs in (("first", one.first), ("second", one.second)):
                if output == "second" and name not in CACHED:
                    continue
                lengths = (given.query_max_len, given.passage_max_len)
                task = MiningTask(
                    *(data, model, where, output, lengths),
                    *(precision, given.batch_size, given.flagembedding),
                )
                environ = environment(where, given.threads, ours=name != "FlagEmbedding")
                with company(given):
                    runs.append(run_process(name, MINERS[name](task), where, environ, given.limit_minutes))
            again = f", again {one.second[-1].seconds:.1f} s" if one.second else ""
            schedule.ended(name, f"{one.first[-1].seconds:.1f} s{again}, {one.first[-1].peak_gib:.2f} GiB")
        title = f"Mining{beside(given)}, {precision}, {data.queries:,} queries x {data.passages:,} passages"
        write_section(title, mining_report(measured, data, precision, max(rates), described, given))


def company(given: argparse.Namespace) -> AbstractContextManager[None]:
    """What else computes on the machine while a contestant runs."""
    return neighbours(max(1, machine.cores() // 2)) if given.neighbour else nullcontext()


def beside(given: argparse.Namespace) -> str:
    """The condition, in a section's title."""
    return " beside a busy neighbour" if given.neighbour else ""


def fastest(precision: str) -> str:
    """The arithmetic of the floor: the fastest that a contestant computes in."""
    if precision != DEFAULT:
        return precision
    return "bf16" if use_bf16("auto", torch.device("cpu")) else "fp32"


def mining_report(
    measured: dict[str, Measured],
    data: MiningData,
    precision: str,
    rate: float,
    described: str,
    given: argparse.Namespace,
) -> str:
    """The section: machine, command, table, what the columns mean."""
    ours = measured[OURS]
    encoding = data.encode_queries + data.encode_passages
    floor = (encoding + data.search) / rate
    peak = max(one.peak_gib for one in ours.first)
    lines = []
    for name, one in measured.items():
        own = name == OURS
        again = one.seconds(second=True)
        lines.append(
            [
                name,
                spread(one.seconds()),
                "" if own else faster(one.seconds(), ours.seconds()),
                f"{statistics.median(first.cpu_seconds for first in one.first):.0f}",
                f"{max(first.peak_gib for first in one.first):.2f}",
                "" if own else f"{peak / max(first.peak_gib for first in one.first):.0%}",
                f"{floor / statistics.median(one.seconds()):.1%}",
                spread(again) if again else "no cache",
                faster(one.seconds(), again) if again else "",
            ]
        )
    head = ["", "s: median (range)", "Sharpen is faster by: median (rounds)", "CPU s", "peak GiB"]
    head += ["Sharpen's peak of it", "of the floor", "again, nothing changed: s", "faster than the first by"]
    return "\n\n".join(
        [
            f"Machine: {described}.",
            f"Command: `{command('tests.peers.bench_mining')}`.",
            table(head, lines),
            f"{len(ours.first)} round(s) in turn. A run is a whole process, from its start to its end: imports, model, "
            f"{data.queries:,} queries and {data.passages:,} passages of MedQuAD encoded by all-MiniLM-L6-v2 (cut at "
            f"{given.query_max_len} and {given.passage_max_len} tokens), exact search, {NEGATIVES} negatives of each "
            f"query drawn from the ranks {RANGE}, and the output written. {given.threads} thread(s) each. Peak memory "
            "is the resident high-water mark of the process and its children. `again` repeats the command with the "
            "caches that the first run left: Sharpen's vectors and sentence-transformers' `cache_folder`; every first "
            "run starts with empty caches.",
            f"Settings: {settings_told(precision, given)}{conditions_told(given)}",
            f"Floor: {floor:.3g} s = {encoding / 1e12:.3g} TFLOP of encoding the {data.tokens:,} unpadded tokens "
            f"of the distinct texts ({FORMULA}; forward only here) and {data.search / 1e12:.3g} TFLOP of search, at "
            f"{rate / 1e9:,.0f} GFLOP/s, the highest of {len(ours.first)} measured rates of matrix products.",
        ]
    )


def settings_told(precision: str, given: argparse.Namespace) -> str:
    """What each contestant was given, in words."""
    arithmetic = {
        "bf16": "bf16 autocast of the encoder for all (FlagEmbedding computes in fp32 on a CPU by itself; autocast is "
        "put around its script)",
        "fp32": "fp32 for all",
        DEFAULT: "each computes in what it takes by itself on this CPU: Sharpen in "
        f"{fastest(DEFAULT)} (`encoder.precision=auto`), the peers in fp32",
    }
    return (
        f"{arithmetic[precision]}; peers encode {given.batch_size} texts at once, Sharpen its default number of "
        "tokens. Sharpen and sentence-transformers leave out what scores above the positive less "
        f"{MARGIN:.0%}; FlagEmbedding has no such rule. Sharpen also estimates false negatives and writes a report; "
        "its further ranks are off, so that all search to the same depth."
    )


def conditions_told(given: argparse.Namespace) -> str:
    """Who else computed meanwhile, in words."""
    busy = max(1, machine.cores() // 2)
    return f" Beside each, {busy} other process(es) of the same priority compute without a pause." * given.neighbour


def encode(
    folder: Path, model: Path, data: MiningData, precision: str, described: str, given: argparse.Namespace
) -> None:
    """All rounds of encoding the passages at one precision, and their section of RESULTS.md."""
    measured: dict[str, list[Encoded]] = {name: [] for name in ENCODERS}
    schedule = Schedule(f"encoding, {precision}", ENCODERS, given.rounds)
    rates = []
    for round_ in range(given.rounds):
        rates.append(machine.matmul_rate(fastest(precision), given.threads))
        for name in in_turn(ENCODERS, round_):
            where = folder / f"{round_}-{name}"
            output = where / "vectors.npy"
            arguments = [
                *[sys.executable, "-m", "tests.peers.encode_process", "--engine", name, "--model", str(model)],
                *["--texts", str(data.pool), "--max_len", str(given.passage_max_len), "--precision", precision],
                *["--batch_size", str(given.batch_size), "--output", str(output)],
            ]
            with company(given):
                run_process(name, arguments, where, environment(where, given.threads), given.limit_minutes)
            facts = json.loads(output.with_suffix(".json").read_text())
            measured[name].append(Encoded(**facts, vectors=np.load(output)))
            schedule.ended(name, f"{facts['seconds']:.1f} s, {facts['peak_gib']:.2f} GiB")
        title = f"Encoding{beside(given)}, {precision}, {data.passages:,} passages"
        write_section(title, encoding_report(measured, data, max(rates), described, given))


def encoding_report(
    measured: dict[str, list[Encoded]], data: MiningData, rate: float, described: str, given: argparse.Namespace
) -> str:
    """The section: machine, command, table, what the columns mean."""
    ours = measured[OURS]
    floor = data.encode_passages / rate
    lines = []
    for name, runs in measured.items():
        seconds = [one.seconds for one in runs]
        lines.append(
            [
                name,
                spread(seconds),
                f"{data.passages / statistics.median(seconds):,.0f}",
                "" if name == OURS else faster(seconds, [one.seconds for one in ours]),
                f"{max(one.peak_gib for one in runs):.2f}",
                f"{floor / statistics.median(seconds):.1%}",
            ]
        )
    head = ["", "s: median (range)", "passages/s", "Sharpen is faster by: median (rounds)", "peak GiB"]
    cosines = np.einsum("ij,ij->i", ours[0].vectors, measured[ENCODERS[1]][0].vectors)
    return "\n\n".join(
        [
            f"Machine: {described}.",
            f"Command: `{command('tests.peers.bench_mining')}`.",
            table([*head, "of the floor"], lines),
            f"{len(ours)} round(s) in turn, a process each with {given.threads} thread(s). The clock runs while the "
            f"{data.passages:,} passages, cut at {given.passage_max_len} tokens, are tokenised and encoded by "
            "all-MiniLM-L6-v2; model and texts are in memory. sentence-transformers is `encode` with "
            f"`batch_size={given.batch_size}`. The least cosine between the two vectors of a passage is "
            f"{cosines.min():.6f}.",
            f"Floor: {floor:.3g} s = {data.encode_passages / 1e12:.3g} TFLOP of a forward pass over the unpadded "
            f"tokens of the distinct passages ({FORMULA}) at {rate / 1e9:,.0f} GFLOP/s, the highest of {len(ours)} "
            "measured rates of matrix products.",
        ]
    )


if __name__ == "__main__":
    main()
