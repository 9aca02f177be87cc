"""Windows of data: what `since` means, and how new the rows of a file can be by the date in its path."""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_RELATIVE = re.compile(r"([1-9][0-9]{0,4})([dw])")
_DAYS = {"d": 1, "w": 7}
_MONTH, _DAY = "(0[1-9]|1[0-2])", "(0[1-9]|[12][0-9]|3[01])"
# year, month and perhaps day in a path: 2026-10-30, 2026_10; 20261030; 2026/10/30/, year=2026/month=10/day=3/
_DATES = tuple(
    re.compile(rf"(?<![0-9])(20[0-9]{{2}}){rest}(?![0-9])")
    for rest in (
        rf"[-_.]{_MONTH}(?:[-_.]{_DAY})?",
        _MONTH + _DAY,
        "/(?:[a-z]+=)?(0?[1-9]|1[0-2])(?:/(?:[a-z]+=)?(0?[1-9]|[12][0-9]|3[01]))?(?=[/.])",
    )
)


def _checked(value: Any) -> Any:
    if isinstance(value, date):  # YAML reads a date without quotes as one
        value = value.isoformat()
    if isinstance(value, str) and value:
        parse_since(value, date(2000, 1, 1))
    return value


Since = Annotated[str, BeforeValidator(_checked), Field(max_length=40)]
"""The type of a setting that says from when on rows count: 30d, 8w, a date or a moment; empty: from the beginning."""


def is_relative(since: str) -> bool:
    """Whether a window moves with the days."""
    return bool(_RELATIVE.fullmatch(since))


def parse_since(since: str, today: date) -> datetime:
    """The moment (UTC) from which rows count.

    Args:
        since: days or weeks before the beginning of today, such as ``30d`` or ``8w``, or a date or moment in ISO 8601;
            one without a zone is UTC.
        today: the day from which is counted back.

    Raises:
        ValueError: it is neither.
    """
    if found := _RELATIVE.fullmatch(since):
        day = today - timedelta(days=int(found[1]) * _DAYS[found[2]])
        return datetime(day.year, day.month, day.day, tzinfo=UTC)
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        raise ValueError("expected days or weeks, such as 30d or 8w, or a date, such as 2026-01-31") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Window:
    """From when on the rows of a source count.

    Attributes:
        start: the first moment.
        given: the setting.
    """

    start: datetime
    given: str

    @classmethod
    def of(cls, since: str, today: str) -> Window | None:
        """The window of a setting, counted from a day in ISO 8601; empty: today. None where nothing is set."""
        day = date.fromisoformat(today) if today else datetime.now(UTC).date()
        return cls(parse_since(since, day), since) if since else None


def end_of_period(path: str) -> datetime | None:
    """The moment at which the last day or month that a path names is over; None where it names none."""
    found = sorted((match for pattern in _DATES for match in pattern.finditer(path)), key=lambda match: match.end())
    for match in reversed(found):
        year, month, day = (int(part or 0) for part in match.groups())
        try:
            last = date(year, month, day or monthrange(year, month)[1])
        except ValueError:  # the 31st of June
            continue
        return datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)
    return None
