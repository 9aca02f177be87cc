"""What `since` means, and which day or month a path names."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from sharpen.data.source_settings import SourceSettings
from sharpen.data.window import Window, end_of_period, is_relative, parse_since
from sharpen.errors import InputError


@pytest.mark.parametrize(
    ("since", "start"),
    [
        ("30d", datetime(2026, 2, 13, tzinfo=UTC)),
        ("2w", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T08:00:00+02:00", datetime(2026, 1, 31, 6, tzinfo=UTC)),
        ("2026-01-31 08:00", datetime(2026, 1, 31, 8, tzinfo=UTC)),
    ],
)
def test_days_are_counted_back_from_the_day_of_the_run(since: str, start: datetime) -> None:
    assert parse_since(since, date(2026, 3, 15)) == start
    assert Window.of(since, "2026-03-15") == Window(start, since)
    assert is_relative(since) == since.endswith(("d", "w"))


@pytest.mark.parametrize("since", ["30", "0d", "-3d", "month", "2026-02-30", "1.5d"])
def test_anything_else_is_refused(since: str) -> None:
    with pytest.raises(InputError, match=r"since: .*expected days or weeks, such as 30d or 8w, or a date"):
        SourceSettings.checked({"address": "a.jsonl", "since": since})


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("2026-10-30.jsonl", datetime(2026, 10, 31, tzinfo=UTC)),
        ("logs_2026_12_31/part-0.parquet", datetime(2027, 1, 1, tzinfo=UTC)),
        ("clicks-20260228.csv.gz", datetime(2026, 3, 1, tzinfo=UTC)),
        ("year=2024/month=2/rows.parquet", datetime(2024, 3, 1, tzinfo=UTC)),
        ("2026/1/5/a.jsonl", datetime(2026, 1, 6, tzinfo=UTC)),
        ("2025-01/2026-02-03.jsonl", datetime(2026, 2, 4, tzinfo=UTC)),
        ("2026-02-31.jsonl", None),
        ("rows-1202610301.jsonl", None),
        ("v2.jsonl", None),
        ("2026.jsonl", None),
    ],
)
def test_the_last_date_in_a_path_says_until_when_its_rows_can_be(path: str, end: datetime | None) -> None:
    assert end_of_period(path) == end
