"""Mutated input of every format: each reader takes it, sets rows aside, or refuses it in plain lines.

Run by hand (``make fuzz``): ``python -m tests.fuzz_readers --inputs 10000``. A small slice with a fixed seed is part of
the tests. What must hold for any bytes: no exception but InputError, one line a fault, no hang; every row is counted;
an array is used whole or not at all.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from sharpen.errors import InputError, SharpenError
from tests.fuzz_inputs import FORMATS

SECONDS = 20
CHILD_INPUTS = 2000


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise TimeoutError when it takes longer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(
    name: str, inputs: range, kept: Path | None = None, at: Synchronized[int] | None = None
) -> tuple[Counter[str], list[str]]:
    """Read one mutated input of a format for each seed.

    Args:
        name: of the format.
        inputs: seeds.
        kept: folder for the inputs that failed.
        at: is set to the seed that is being read.

    Returns:
        Outcomes (read, refused, failed) and a line for each failure.
    """
    outcomes, failures = Counter[str](), []
    with tempfile.TemporaryDirectory() as base:
        for seed in inputs:
            if at is not None:
                at.value = seed
            folder = Path(base, str(seed))
            folder.mkdir()
            outcome = "read"
            try:
                with limited(SECONDS):
                    FORMATS[name](folder, random.Random(f"{name} {seed}"))
            except SharpenError as error:
                outcome = "refused"
                lines = error.faults if isinstance(error, InputError) else [str(error)]
                if any("\n" in line or len(line) > 2000 for line in lines):
                    outcome = "failed"
                    failures.append(f"{name} {seed}: not one line a fault: {lines!r}"[:400])
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                outcome = "failed"
                last = traceback.extract_tb(error.__traceback__)[-1]
                failures.append(f"{name} {seed}: {type(error).__name__}: {error} ({last.name}:{last.lineno})"[:400])
            outcomes[outcome] += 1
            if outcome == "failed" and kept:
                shutil.copytree(folder, kept / f"{name}-{seed}", dirs_exist_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
    return outcomes, failures


def fuzz_in_child(name: str, inputs: range, kept: Path | None) -> tuple[Counter[str], list[str]]:
    """As `fuzz`, in a process of its own: an input that ends it is a failure, and the next ones are read by another."""
    outcomes, failures, first = Counter[str](), [], inputs.start
    # not by fork, which the threads of polars do not survive
    context = multiprocessing.get_context("spawn")
    while first < inputs.stop:
        last, part = min(first + CHILD_INPUTS, inputs.stop), context.Value("q", first)
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_report, args=(sender, name, range(first, last), kept, part))
        child.start()
        sender.close()
        try:
            found, lines = receiver.recv()
        except EOFError:
            last, found = part.value + 1, {"failed": 1, "not counted": part.value - first}
            lines = [f"{name} {part.value}: the process ended"]
        child.join()
        outcomes.update(found)
        failures += lines
        first = last
    return outcomes, failures


def _report(sender: Connection, name: str, inputs: range, kept: Path | None, at: Synchronized[int]) -> None:
    with Path(os.devnull).open("w", encoding="utf-8") as sys.stdout:
        sender.send(fuzz(name, inputs, kept, at))


def main() -> None:
    """Fuzz all formats, or the named ones, and leave with 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("formats", nargs="*", help=f"of {', '.join(FORMATS)}; default: all")
    parser.add_argument("--inputs", type=int, default=10_000, help="mutated inputs a format")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--keep", type=Path, help="folder for inputs that failed")
    given = parser.parse_args()
    failed = 0
    for name in given.formats or FORMATS:
        outcomes, failures = fuzz_in_child(name, range(given.first, given.first + given.inputs), given.keep)
        print(f"{name}: {dict(sorted(outcomes.items()))}", *failures[:20], sep="\n  ", flush=True)
        failed += len(failures)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
