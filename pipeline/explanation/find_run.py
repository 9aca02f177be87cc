"""Which finished run a person means: by its id, by the model's name, or by the address of its evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sharpen.errors import InputError
from sharpen.registry.decisions import Record
from sharpen.terminal import one_line

_SHOWN = 5


def find_run(run: str, records: Sequence[Record]) -> Record:
    """The decision about a run; of several that fit, the latest.

    Args:
        run: id of a run or its beginning, address of its evaluation, local folder of a run, or name of a model; empty:
            the latest run of all.
        records: all decisions, the earliest first.

    Raises:
        InputError: there is no such run; the line names the latest.
    """
    wanted, name = run.rstrip("/"), Path(run).name
    ways = (
        lambda one: not wanted or one.evaluation.rstrip("/") == wanted,
        lambda one: one.run_id and one.run_id in (wanted, name),
        lambda one: one.model == wanted,
        lambda one: one.run_id.startswith(wanted),
    )
    for fits in ways:
        if found := [one for one in records if fits(one)]:
            return found[-1]
    latest = ", ".join(one.run_id for one in records[: -_SHOWN - 1 : -1] if one.run_id)
    known = f"the latest are {latest}" if latest else "none has ended yet; `sharpen run` makes one"
    named = f"{one_line(run)}: no such run; " if run else ""
    raise InputError(f"{named}{known} (sharpen runs list)")
