"""Earlier runs side by side: what the gate said, the figures of dev to compare them by, and which settings differ."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from sharpen.registry.decisions import Record
from sharpen.terminal import plain_console, printable

# of a pipe or a file: nothing is cut off that a program may look for
_WIDE = 300


def differing(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each run its settings that not all runs share, as they are given to ``--set``; empty where none differ."""
    flat = [_flat(run) for run in runs]
    names = sorted({name for run in flat for name in run})
    told = [name for name in names if len({run.get(name) for run in flat}) > 1]
    return [" ".join(f"{name}={run[name]}" for name in told if name in run) for run in flat]


def show_runs(records: Sequence[Record]) -> None:
    """One row a run, the latest last."""
    console = plain_console()
    if not console.is_terminal:
        console = plain_console(width=_WIDE)
    if not records:
        console.print("no runs yet; `sharpen run` makes one")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for column, justify in (
        ("model", "left"),
        ("run", "left"),
        ("decided", "left"),
        ("verdict", "left"),
        ("metric", "left"),
        ("dev: base", "right"),
        ("champion", "right"),
        ("tuned", "right"),
        ("settings that differ", "left"),
    ):
        last = column == "settings that differ"
        table.add_column(column, justify=justify, no_wrap=not last, overflow="fold")  # type: ignore[arg-type]
    for record, settings in zip(records, differing([r.run_settings for r in records]), strict=True):
        when = datetime.datetime.fromisoformat(record.decided_at).strftime("%Y-%m-%d %H:%M")
        figures = [
            f"{record.dev[side]:.3f}" if side in record.dev else "" for side in ("base", "champion", "candidate")
        ]
        row = (record.model, record.run_id, when, record.verdict, record.metric, *figures, settings)
        table.add_row(*map(printable, row))
    console.print(table)
    if any(not record.dev for record in records):
        console.print("without figures: the data of that run have no dev split, by which runs could be compared")
    console.print("Compare runs by dev; the test queries are for the gate alone.")


def _flat(settings: Mapping[str, Any]) -> dict[str, str]:
    """``group.name`` -> value as text."""
    found = {}
    for group, values in settings.items():
        for name, value in values.items() if isinstance(values, Mapping) else [("", values)]:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            found[f"{group}.{name}".rstrip(".")] = text
    return found
