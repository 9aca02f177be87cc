"""Cron expressions: five fields as everybody writes them -> six as Kubeflow reads them, and when they fire.

Kubeflow reads schedules with robfig/cron version 1, whose first field is the second. It takes five fields too, and then
reads the minute as the second: ``0 2 * * *`` would fire every hour. So a sixth field, 0, is put in front, and whatever
that library reads otherwise than cron(8), or cron programs read in different ways, is refused.
"""

from __future__ import annotations

import datetime
import re
import zoneinfo
from itertools import islice

from sharpen.errors import InputError

# robfig/cron v1 has its own @ names; these are what cron(8) means by them
NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
# name, lowest and highest number; Sunday is 0 and 7 in cron(8), robfig/cron v1 knows only 0
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))
# what programs read in different ways, and what to write instead
_DOUBTFUL = (
    (r"(?:^|,)\d+/\d", "programs disagree about a step without a range; write one, such as 5-59/15"),
    (r"(?:^|,)(\d+)-\1/", "programs disagree about a step in a range of one; write the number alone"),
    (r"\*.*,|,.*\*", "a * in a list is read in different ways; write one of the two"),
    (r"[A-Za-z]{3}", "write numbers instead of names; Sunday is 0, January is 1"),
    (r"[?LlWw#]", "?, L, W and # mean different things to different programs; write numbers or *"),
)
_PLAIN = r"(\*|\d{1,2}(-\d{1,2})?)(/\d{1,2})?(,\d{1,2}(-\d{1,2}(/\d{1,2})?)?)*"
_INTERVAL = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m)?")


def six_fields(expression: str) -> str:
    """The expression as Kubeflow must get it, every set as a list: ``0 2 * * 6-7`` -> ``0 0 2 * * 0,6``.

    Args:
        expression: five fields of numbers, ``*``, lists, ranges and steps; or a name such as ``@daily``.

    Raises:
        InputError: anything else, one line that says what to write; or a day that never comes.
    """
    text = " ".join(expression.split())
    if text.startswith("@"):
        if text.lower() not in NICKNAMES:
            hint = "for a fixed interval use --every, such as --every 6h" if "every" in text else "write five fields"
            raise InputError(f"cron {text!r}: not known; {hint}, or one of {', '.join(NICKNAMES)}")
        text = NICKNAMES[text.lower()]
    parts = text.split(" ")
    if len(parts) != 5:
        more = "; leave out the seconds, they are put in for you" if len(parts) == 6 else ""
        raise InputError(
            f"cron {text!r}: has {len(parts)} fields, five are needed (minute, hour, day of month, month, day of week)"
            f"{more}"
        )
    fields = [_list(text, number, part) for number, part in enumerate(parts)]
    if parts[2] != "*" and parts[4] != "*":
        raise InputError(
            f"cron {text!r}: restricts both day of month and day of week; some cron programs then want both to match "
            "and others either. Leave one of them *; for either make two schedules"
        )
    if next_runs(text, 1) == []:
        raise InputError(f"cron {text!r}: never fires; no such day is in those months")
    return " ".join(["0", *fields])


def _list(text: str, number: int, part: str) -> str:
    """One field as a list of numbers, since no two programs read those otherwise."""
    from cronsim import CronSimError
    from cronsim.cronsim import Field

    name, low, high = _FIELDS[number]
    if part == "*":
        return part
    fault = next((message for pattern, message in _DOUBTFUL if re.search(pattern, part)), "")
    if not fault and not re.fullmatch(
        r"(\*|\d{1,2}(-\d{1,2})?)(/\d{1,2})?(,\d{1,2}(-\d{1,2}(/\d{1,2})?)?)*", part, re.ASCII
    ):
        fault = "write numbers, *, ranges such as 1-5, steps such as */15, joined by commas"
    try:
        values = set() if fault else Field(number + 1).parse(part)
        if any(int(step) > high for step in re.findall(r"/(\d+)", part)):
            raise CronSimError
    except CronSimError:
        fault = f"must be between {low} and {high}, the smaller number first; a step must be between 1 and {high}"
    if fault:
        raise InputError(f"cron {text!r}: {name} {part!r}: {fault}")
    numbers = {int(value) for value in values}  # type: ignore[arg-type]
    return ",".join(map(str, sorted({value % 7 for value in numbers} if name == "day of week" else numbers)))


def as_kubeflow_reads(expression: str) -> str:
    """An expression that the server holds as that library reads it: seconds first; of five fields the last is missing.

    Args:
        expression: whatever somebody gave the server; descriptors such as ``@daily`` stay as they are.
    """
    fields = expression.replace("?", "*").split()
    return " ".join([*fields, "*"] if len(fields) == 5 else fields)


def next_runs(
    expression: str, count: int, *, after: datetime.datetime | None = None, zone: str = "UTC"
) -> list[datetime.datetime]:
    """The next times at which an expression fires.

    Args:
        expression: five fields as in cron(8), or six with the seconds first.
        count: how many times, at most.
        after: time after which; None: now.
        zone: time zone that the server reads schedules in.

    Raises:
        InputError: there is no such time zone.
    """
    from cronsim import CronSim, CronSimError

    try:
        # a small image may have no file of time zones
        clock = datetime.UTC if zone == "UTC" else zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise InputError(f"--time-zone {zone}: no such time zone; write for example UTC or Europe/Berlin") from None
    start = (after or datetime.datetime.now(datetime.UTC)).astimezone(clock)
    text = NICKNAMES.get(expression.strip().lower(), expression)
    try:
        return list(islice(CronSim(text, start), count))
    except CronSimError:
        # a day that no month has
        return []


def interval_seconds(text: str) -> int:
    """An interval such as ``6h``, ``90m`` or ``1d12h`` in seconds.

    Raises:
        InputError: written otherwise, or under a minute.
    """
    found = _INTERVAL.fullmatch(text.strip().lower())
    if not found or not text.strip():
        raise InputError(f"interval {text!r}: write days, hours and minutes, such as 6h, 90m or 1d12h")
    days, hours, minutes = (int(part or 0) for part in found.groups())
    seconds = ((days * 24 + hours) * 60 + minutes) * 60
    if seconds < 60:
        raise InputError(f"interval {text!r}: must be a minute or more")
    return seconds
