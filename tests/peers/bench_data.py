"""Speed and memory of data preparation beside `datasets`, on generated rows in FlagEmbedding's format.

``python -m tests.peers.bench_data --help``; what is measured is said in README.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from sharpen.progress import progress
from tests.peers import machine
from tests.peers.data_process import ENGINES
from tests.peers.process import Ended, environment, run_process
from tests.peers.results import command, faster, spread, table, write_section
from tests.peers.rounds import Schedule, in_turn

BOUNDS = {1_000_000: (60.0, 1.0), 10_000_000: (None, 1.5)}
"""Rows -> seconds and GiB that they may take on two cores."""
WORDS, QUERY_WORDS, PASSAGE_WORDS = 20_000, 9, 40
_ROWS = 10_000
FLOOR = "polars read and write"


def main() -> None:
    given = arguments()
    described = machine.describe(given.threads)
    names = [name for name in ENGINES if name == "Sharpen" or not given.alone]
    measured: dict[str, list[Ended]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="bench-data-", dir=given.folder) as name:
        folder = Path(name)
        rows = write_rows(folder / "rows.jsonl", given.rows, given.seed)
        schedule = Schedule("data", names, given.rounds)
        for round_ in range(given.rounds):
            for engine in in_turn(names, round_):
                where = folder / "run"
                arguments_ = [
                    *[sys.executable, "-m", "tests.peers.data_process", "--engine", engine],
                    *["--rows", str(rows), "--output", str(where / "out")],
                ]
                ended = run_process(engine, arguments_, where, environment(where, given.threads), given.limit_minutes)
                shutil.rmtree(where)
                measured[engine].append(ended)
                schedule.ended(engine, f"{ended.seconds:.1f} s, {ended.peak_gib:.2f} GiB")
        megabytes = rows.stat().st_size / 1e6
    write_section(f"Data preparation, {given.rows:,} rows", report(measured, megabytes, described, given))


def arguments() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.bench_data", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each contestant, in turn")
    parser.add_argument("--threads", type=int, default=machine.cores())
    parser.add_argument("--alone", action="store_true", help="Sharpen alone")
    parser.add_argument("--folder", type=Path, help="for rows and output, about 2 kB a row; else the temporary folder")
    parser.add_argument("--limit_minutes", type=float, default=60, help="a process that takes longer is ended")
    parser.add_argument("--seed", type=int, default=42)
    given = parser.parse_args()
    if given.rows < 1000 or given.rounds < 1:
        parser.error("--rows must be at least 1000, --rounds at least 1")
    return given


def write_rows(path: Path, rows: int, seed: int) -> Path:
    """Rows of a query and a positive, of words drawn by Zipf's law; a hundredth of the rows stands twice."""
    draw = np.random.default_rng(seed)
    words = np.array([f"word{number}" for number in range(WORDS)])
    shares = 1 / np.arange(1, WORDS + 1)
    line = ""
    with path.open("w", encoding="utf-8") as file, progress("Rows", rows, "rows") as reporter:
        for start in range(0, rows, _ROWS):
            count = min(_ROWS, rows - start)
            drawn = words[draw.choice(WORDS, (count, QUERY_WORDS + PASSAGE_WORDS), p=shares / shares.sum())]
            for number, row in enumerate(drawn, start):
                if number % 100 != 99:
                    query = f"{' '.join(row[:QUERY_WORDS])} {number}"
                    line = json.dumps({"query": query, "pos": [" ".join(row[QUERY_WORDS:])], "neg": []})
                file.write(line + "\n")
            reporter.advance(count)
    return path


def report(measured: dict[str, list[Ended]], megabytes: float, described: str, given: argparse.Namespace) -> str:
    """The section: machine, command, table, what was done."""
    return "\n\n".join(
        [
            f"Machine: {described}. {given.threads} thread(s).",
            f"Command: `{command('tests.peers.bench_data')}`.",
            figures(measured, given.rows),
            f"{given.rows:,} generated rows, {megabytes:,.0f} MB of JSON Lines: a query of {QUERY_WORDS + 1} words and "
            f"a positive of {PASSAGE_WORDS}; a hundredth repeats another one. Seconds are those of a fresh process, "
            "imports included; memory is the resident high-water mark of the process and its children, pages of mapped "
            "files included.",
            "Sharpen reads, checks, merges equal texts, splits by what hangs together, removes leaks, checks "
            "languages, lengths and near duplicates, and writes data set, fingerprint and statistics. datasets filters "
            "rows that are unusable, maps texts to the same keys, filters repeated queries, splits at random, writes "
            f"Parquet. The floor is {FLOOR}: the file as one Parquet file, nothing looked at.",
            *bound_lines(measured["Sharpen"], given.rows),
        ]
    )


def figures(measured: dict[str, list[Ended]], rows: int) -> str:
    """The table."""
    ours = [one.seconds for one in measured["Sharpen"]]
    floor = [one.seconds for one in measured.get(FLOOR, ())]
    lines = []
    for name, runs in measured.items():
        seconds = [one.seconds for one in runs]
        median = statistics.median(seconds)
        lines.append(
            [
                name,
                spread(seconds),
                spread([one.cpu_seconds for one in runs]),
                "" if name == "Sharpen" else faster(seconds, ours),
                f"{rows / median:,.0f}",
                f"{max(one.peak_gib for one in runs):.2f}",
                f"{median / statistics.median(floor):.1f}x" if floor else "",
            ]
        )
    head = [
        "",
        "s: median (range)",
        "CPU s",
        "Sharpen is faster by: median (rounds)",
        "rows/s",
        "peak GiB",
        "of the floor",
    ]
    return table(head, lines)


def bound_lines(ours: list[Ended], rows: int) -> list[str]:
    """Whether the bounds for this number of rows hold; none where it has none."""
    if rows not in BOUNDS:
        return []
    seconds, gib = BOUNDS[rows]
    found = statistics.median(one.seconds for one in ours), max(one.peak_gib for one in ours)
    lines = [f"memory {found[1]:.2f} GiB is {'within' if found[1] <= gib else 'ABOVE'} {gib:g} GiB"]
    if seconds is not None:
        lines.insert(0, f"{found[0]:.0f} s are {'within' if found[0] <= seconds else 'ABOVE'} {seconds:g} s")
    return [f"Bounds on two cores: {', '.join(lines)}."]


if __name__ == "__main__":
    main()
