"""What a row says of its query besides texts: when it was asked, and fields by which results can be sliced."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sharpen.data.readers.rows import ReadReport, RowError, kind_of_value
from sharpen.data.source_settings import SourceSettings
from sharpen.data.task_type import TaskType, task_type
from sharpen.errors import InputError

TIME = ("time", "timestamp", "created_at")
FIELDS = ("fields", "metadata")
TYPE = ("type", "task_type")
# seconds since 1970 until the year 5138; larger numbers are milliseconds
_LAST_SECOND = 10**11


@dataclass(frozen=True, slots=True)
class QueryFacts:
    """Facts of a query: its task type, its fields as in the column `fields`, its time."""

    task_type: TaskType = TaskType.RETRIEVAL
    fields: str = ""
    time: datetime | None = None


class FactsReader:
    """Reads the facts of rows. What the user named must be right; what is only recognised by its name is left aside
    with a notice where it is not.

    Args:
        settings: of the source.
        shown: address of the file, for notices.
        report: takes the notices.
        names: of the columns, whose letters may be large; empty: small ones.
    """

    def __init__(self, settings: SourceSettings, shown: str, report: ReadReport, names: Sequence[str] = ()) -> None:
        self.settings, self.shown, self.report = settings, shown, report
        columns = settings.columns
        as_written = {name.strip().lower(): name for name in names}
        others = frozenset(columns.values())

        def named(what: str, usual: tuple[str, ...]) -> tuple[str, ...]:
            if what in columns:
                return (columns[what],)
            return tuple(name for one in usual if (name := as_written.get(one, one)) not in others)

        self.time, self.type, self.fields = named("time", TIME), named("task_type", TYPE), named("fields", FIELDS)
        self.named = frozenset(columns.values())
        self.used = frozenset({*self.time, *self.type, *self.fields, *settings.fields})

    def read(self, row: Mapping[str, Any]) -> QueryFacts:
        """The facts in a row. Raises RowError for what is wrong in a column that the user named."""
        kind = self._first(row, self.type, _kind) or TaskType.RETRIEVAL
        fields = self._first(row, self.fields, texts_of) or {}
        fields |= texts_of({name: row[name] for name in self.settings.fields if name in row}, "fields")
        return QueryFacts(kind, fields_text(fields), self._first(row, self.time, parse_time))

    def _first(self, row: Mapping[str, Any], names: tuple[str, ...], parse: Any) -> Any:
        for name in names:
            if (value := row.get(name)) is None or value == "":
                continue
            try:
                return parse(value, name)
            except RowError:
                if name in self.named:
                    raise
                self.report.notice(f"{self.shown}: {name} could not be read and was left aside")
        return None


def _kind(value: Any, name: str) -> TaskType:
    try:
        return task_type(value if isinstance(value, str) else repr(value))
    except InputError as error:
        raise RowError("wrong_type", name, error.faults[0]) from None


def parse_time(value: Any, name: str) -> datetime:
    """A time with its zone; without one it is UTC's.

    Args:
        value: ISO 8601 text, seconds or milliseconds since 1970, or a date or time of a table.
        name: of the field.

    Raises:
        RowError: it is none of these.
    """
    try:
        if isinstance(value, str) and value.strip().replace(".", "", 1).isdecimal() and len(value.strip()) > 8:
            value = float(value)
        if isinstance(value, str):
            value = datetime.fromisoformat(value.strip())
        elif isinstance(value, int | float) and not isinstance(value, bool):
            value = datetime.fromtimestamp(value / 1000 if abs(value) > _LAST_SECOND else value, UTC)
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        if isinstance(value, datetime):
            return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise RowError("bad_time", name, f"found {str(value)[:40]!r}; write 2026-01-31T12:00:00Z, or seconds since 1970")


def texts_of(value: Any, name: str) -> dict[str, str]:
    """The scalar values of an object as texts; empty ones and nested ones are left out. Raises RowError: no object."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(value)
    if not isinstance(value, Mapping):
        raise RowError("wrong_type", name, f"expected an object, found {kind_of_value(value)}")
    texts = {}
    for key, found in value.items():
        if isinstance(found, bool):
            texts[str(key)] = str(found).lower()
        elif isinstance(found, datetime | date):
            texts[str(key)] = found.isoformat()
        elif isinstance(found, str | int | float) and str(found).strip():
            texts[str(key)] = str(found).strip()
    return texts


def fields_text(fields: Mapping[str, str]) -> str:
    """Fields as the column `fields` holds them."""
    text = json.dumps(fields, sort_keys=True, ensure_ascii=False) if fields else ""
    # an object inside a cell may hold half of a surrogate pair, which is no text that can be stored
    return text.encode("utf-8", "replace").decode()
