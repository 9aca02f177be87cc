"""What the report shows of the steps before: the training's log, the data's figures, the mining's figures."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sharpen.evaluation.formatting import plain
from sharpen.store import storage

ROWS_SHOWN = 20
HASH = re.compile("[0-9a-f]{40,}")


@dataclass(frozen=True)
class Provenance:
    """Contents of training.json, stats.json and the mining's report.json; empty where there is none."""

    training: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    mining: dict[str, Any] = field(default_factory=dict)


def load_provenance(model: str, data: str, negatives: str = "") -> Provenance:
    """Read what the earlier steps left.

    Args:
        model: address of the model; a model that was not trained here has no training.json.
        data: address of the data set; the user's own files have no stats.json.
        negatives: address of the mining step's folder, or empty.

    Raises:
        InputError: `negatives` is named and is not a finished folder.
    """
    if negatives:
        storage.read_manifest(negatives)
    return Provenance(
        training=_read(model, "training.json"),
        data=_read(data, "stats.json") if storage.is_complete(data) else {},
        mining=_read(negatives, "report.json") if negatives else {},
    )


def _read(address: str, name: str) -> dict[str, Any]:
    uri = storage.join(address, name)
    value = storage.read_json(uri) if storage.exists(uri) else {}
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True)
class Block:
    """One thing to show: ``facts`` (name, value), ``counts`` (name, value, share), ``histogram`` or ``table``
    (per cell: text, ``num`` or nothing)."""

    kind: str
    title: str
    rows: list[tuple[Any, ...]]
    header: list[str] = field(default_factory=list)


def blocks(value: Mapping[str, Any], title: str = "") -> list[Block]:
    """Any nested figures as blocks, whatever their names are.

    Single values become facts; a dictionary of numbers becomes counts; ``{"edges" or "bins": […], "counts": […]}``
    becomes a histogram; a list of records, or a dictionary of like records, becomes a table; other dictionaries are
    gone through.
    """
    facts: list[tuple[Any, ...]] = []
    below: list[Block] = []
    for key, item in value.items():
        name = words(key)
        path = f"{title} · {name}" if title else name
        if bars := histogram_bars(item):
            below.append(Block("histogram", path, bars))
        elif isinstance(item, Mapping):
            if rows := _rows_alike(item):
                below.append(_table(path, rows))
            elif len(item) > 1 and all(is_number(number) for number in item.values()):
                below.append(Block("counts", path, _counts(item)))
            else:
                below += blocks(item, path)
        elif isinstance(item, list) and item and all(isinstance(row, Mapping) for row in item):
            below.append(_table(path, item))
        else:
            facts.append((name, written(item)))
    return ([Block("facts", title, facts)] if facts else []) + below


def histogram_bars(item: Any) -> list[tuple[Any, ...]]:
    """(label, count) per bin of a histogram that is given by edges and counts; empty if it is none."""
    if not isinstance(item, Mapping):
        return []
    counts, edges = item.get("counts"), item.get("edges", item.get("bins"))
    if not (isinstance(counts, list) and isinstance(edges, list) and counts and all(map(is_number, counts))):
        return []
    if len(edges) not in (len(counts), len(counts) + 1) or not all(map(is_number, edges)):
        return []
    rounded = [round(edge, 2) for edge in edges]
    labels = rounded if len(set(rounded)) == len(edges) else edges
    return [(written(edge), count) for edge, count in zip(labels, counts, strict=False)]


def flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, value) rows, each value as it would be typed."""
    rows: list[tuple[str, str]] = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            rows += flat(value, f"{prefix}{key}.")
        else:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            rows.append((f"{prefix}{key}", shown or "–"))
    return rows


def written(value: Any) -> str:
    """A single value as text; long hashes are shortened, for provenance states them in full."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if is_number(value):
        return plain(value)
    if value is None or value == "":
        return "–"
    if isinstance(value, Sequence) and not isinstance(value, str):
        more = f" … ({len(value)} in all)" if len(value) > ROWS_SHOWN else ""
        return ", ".join(written(part) for part in value[:ROWS_SHOWN]) + more or "–"
    text = str(value)
    return f"{text[:16]}…" if HASH.fullmatch(text) else text


def words(key: str) -> str:
    """``dropped_by_rule`` -> ``dropped by rule``."""
    return str(key).replace("_", " ").strip()


def is_number(value: Any) -> bool:
    """Whether a value is a finite number (and not true or false)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value - value == 0


def _counts(item: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    largest = max((abs(number) for number in item.values()), default=0) or 1
    return [(words(key), plain(number), abs(number) / largest) for key, number in item.items()]


def _rows_alike(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Records of single values under the same names, each with its own name in front; empty if it is none."""
    inner = list(item.values())
    if len(inner) < 2 or not all(isinstance(row, Mapping) and row and row.keys() == inner[0].keys() for row in inner):
        return []
    if any(isinstance(value, Mapping | list) for row in inner for value in row.values()):
        return []
    return [{"": words(name), **row} for name, row in item.items()]


def _table(title: str, rows: list[Mapping[str, Any]]) -> Block:
    header = list(dict.fromkeys(key for row in rows for key in row))
    cells = [
        tuple((written(row.get(key)), "num" if is_number(row.get(key)) else "") for key in header)
        for row in rows[:ROWS_SHOWN]
    ]
    return Block("table", title, cells, [words(key) for key in header])
