"""Memory and speed of mining's search and choice at a size at which the vectors are the smallest part.

``python -m tests.peers.bench_search --help``; what is measured is said in README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from sharpen.progress import clock, progress
from tests.peers import machine
from tests.peers.floor import search_flops
from tests.peers.process import environment, run_process
from tests.peers.results import command, faster, spread, table, write_section
from tests.peers.rounds import Schedule, in_turn
from tests.peers.search_process import PASSAGES, QUERIES

BOUND_GIB = 4.0
# The cosine of a query and its own passage. The best of a million random ones reaches about 0.26 at 384 dimensions, so
# that the margin filters nothing of what is near the top and there is something to choose from.
COSINE = 0.6
FULL = 100_000
_ROWS = 65_536


def main() -> None:
    given = arguments()
    described = machine.describe(given.threads)
    names = ["Sharpen", *(["faiss"] if given.faiss else [])]
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    rates = []
    with tempfile.TemporaryDirectory(prefix="bench-search-", dir=given.folder) as name:
        folder = Path(name)
        write_vectors(folder, given.queries, given.passages, given.dimension, given.seed)
        schedule = Schedule("search", names, given.rounds)
        for round_ in range(given.rounds):
            rates.append(machine.product_rate(given.dimension, given.threads))
            for engine in in_turn(names, round_):
                where = folder / f"{round_}-{engine}"
                arguments_ = [
                    *[sys.executable, "-m", "tests.peers.search_process", "--engine", engine],
                    *["--vectors", str(folder), "--output", str(where), "--depth", str(given.depth)],
                ]
                run_process(engine, arguments_, where, environment(where, given.threads), given.limit_minutes)
                measured[engine].append(json.loads((where / "facts.json").read_text()))
                facts = measured[engine][-1]
                schedule.ended(engine, f"{facts['seconds']:.1f} s, {facts['peak_gib']:.2f} GiB")
            title = f"Search and choice, {given.queries:,} queries x {given.passages:,} passages x {given.dimension}"
            write_section(title, report(measured, max(rates), described, given))


def arguments() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.bench_search", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=FULL, help="2000 gives the rate and, nearly, the memory")
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument(
        "--depth", type=int, default=210, help="ranks that are searched; negatives come from rank 11 on"
    )
    parser.add_argument("--rounds", type=int, default=1, help="processes per engine, in turn")
    parser.add_argument("--threads", type=int, default=machine.cores())
    parser.add_argument("--faiss", action="store_true", help="beside it the search alone by faiss' IndexFlatIP")
    parser.add_argument("--folder", type=Path, help="for the vectors (4 bytes a number); else the temporary folder")
    parser.add_argument("--limit_minutes", type=float, default=180, help="a process that takes longer is ended")
    parser.add_argument("--seed", type=int, default=42)
    given = parser.parse_args()
    if not 16 <= given.queries <= given.passages or not 26 <= given.depth <= given.passages or given.dimension < 8:
        parser.error(
            "--queries must be 16 to --passages, --depth 26 (rank 11 and 15 more) to --passages, --dimension at least 8"
        )
    return given


def write_vectors(folder: Path, queries: int, passages: int, dimension: int, seed: int) -> None:
    """Random passages of length 1, and queries with a cosine of `COSINE` to the passage of the same number."""
    rows = np.lib.format.open_memmap(folder / PASSAGES, mode="w+", dtype=np.float32, shape=(passages, dimension))
    asked = np.lib.format.open_memmap(folder / QUERIES, mode="w+", dtype=np.float32, shape=(queries, dimension))
    draw = np.random.default_rng(seed)
    with progress("Vectors", passages, "passages") as reporter:
        for start in range(0, passages, _ROWS):
            block = unit(draw.standard_normal((min(_ROWS, passages - start), dimension), dtype=np.float32))
            rows[start : start + len(block)] = block
            block = block[: max(0, queries - start)]
            noise = unit(draw.standard_normal(block.shape, dtype=np.float32))
            asked[start : start + len(block)] = unit(COSINE * block + np.sqrt(1 - COSINE**2) * noise)
            reporter.advance(min(_ROWS, passages - start))


def unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors (n, d) scaled to length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def report(measured: dict[str, list[dict[str, Any]]], rate: float, described: str, given: argparse.Namespace) -> str:
    """The section: machine, command, table, what the columns mean."""
    flops = search_flops(given.queries, given.passages, given.dimension)
    floor = flops / rate
    ours = measured["Sharpen"]
    peak = max(one["peak_gib"] for one in ours)
    met = "within" if peak <= BOUND_GIB else "ABOVE"
    whole = clock(float(np.median([one["seconds"] for one in ours])) * FULL / given.queries)
    estimate = "" if given.queries == FULL else f" {FULL:,} queries would take {whole} at this rate."
    return "\n\n".join(
        [
            f"Machine: {described}.",
            f"Command: `{command('tests.peers.bench_search')}`.",
            figures(measured, floor, given.queries),
            f"Encoding is skipped: {given.passages:,} random passages and {given.queries:,} queries of "
            f"{given.dimension} dimensions lie memory-mapped on disk, each query at a cosine of {COSINE} to its own "
            f"passage. Exact search to rank {given.depth}, 15 negatives drawn from rank 11 on, false negatives "
            f"estimated on {ours[0]['hidden']:,} queries with two positives. {ours[0]['written']:,} negatives were "
            f"written in {ours[0]['parts']} part(s), the first after {ours[0]['first_part_seconds']:.1f} s, all after "
            f"{ours[0]['seconds']:.1f} s.{estimate}",
            "Memory is the resident high-water mark of a fresh process, mapped vectors, texts and ids included; "
            f"{met} the bound of {BOUND_GIB:.0f} GiB. {given.threads} thread(s).",
            f"Floor: {floor:.3g} s = {flops / 1e12:.3g} TFLOP at {rate / 1e9:,.0f} GFLOP/s, the highest of {len(ours)} "
            "measured rates of products of a block of queries and a block of passages in fp32.",
        ]
    )


def figures(measured: dict[str, list[dict[str, Any]]], floor: float, queries: int) -> str:
    """The table."""
    ours = [facts["seconds"] for facts in measured["Sharpen"]]
    lines = []
    for name, runs in measured.items():
        seconds = [facts["seconds"] for facts in runs]
        lines.append(
            [
                "Sharpen: search, choice, output" if name == "Sharpen" else "faiss IndexFlatIP: search alone",
                spread(seconds),
                "" if name == "Sharpen" else faster(seconds, ours),
                f"{queries / float(np.median(seconds)):,.0f}",
                *(f"{max(facts[of] for facts in runs):.2f}" for of in ("peak_gib", "heap_gib", "base_gib")),
                f"{floor / float(np.median(seconds)):.1%}",
            ]
        )
    head = ["", "s: median (range)", "Sharpen is faster by: median (rounds)", "queries/s", "peak GiB"]
    return table([*head, "of it no file's pages, GiB", "GiB before the search", "of the floor"], lines)


if __name__ == "__main__":
    main()
