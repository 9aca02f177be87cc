"""Five fields in, six out: random expressions, fired by cron(8)'s rules and by those of robfig/cron version 1."""

from __future__ import annotations

import datetime
import re
import zoneinfo

import pytest
from cronsim import CronSim
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.cluster.cron import NICKNAMES, as_kubeflow_reads, interval_seconds, next_runs, six_fields
from sharpen.errors import InputError

UTC = datetime.UTC
LIMITS = {"second": (0, 59), "minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 6)}


def robfig(text: str) -> tuple[dict[str, set[int]], set[str]]:
    """The sets of a six-field expression and which fields have a star, as robfig/cron v1 (parser.go) reads them."""
    parts = text.split()
    assert len(parts) == 6
    sets: dict[str, set[int]] = {}
    stars = set()
    for part, (name, (low, high)) in zip(parts, LIMITS.items(), strict=True):
        values: set[int] = set()
        for item in part.split(","):
            span, slash, step = item.partition("/")
            first, dash, last = span.partition("-")
            if first in ("*", "?"):
                start, end = low, high
                stars.add(name)
            else:
                start = int(first)
                # N/step means N-max/step
                end = int(last) if dash else (high if slash else start)
            if start < low or end > high or start > end:
                raise ValueError(f"{item}: out of range")
            values |= set(range(start, end + 1, int(step) if slash else 1))
        sets[name] = values
    return sets, stars


def fires(text: str, time: datetime.datetime) -> bool:
    """Whether robfig/cron v1 (spec.go) fires at this time."""
    sets, stars = robfig(text)
    weekday = time.isoweekday() % 7
    day, of_week = time.day in sets["day"], weekday in sets["weekday"]
    right_day = (day and of_week) if stars & {"day", "weekday"} else (day or of_week)
    clock = time.second in sets["second"] and time.minute in sets["minute"] and time.hour in sets["hour"]
    return clock and right_day and time.month in sets["month"]


def item(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    pair = st.tuples(number, number).map(sorted)
    stepped = st.tuples(pair.filter(lambda ends: ends[0] < ends[1]), st.integers(1, high))
    return st.one_of(
        number.map(str),
        number.map(lambda value: f"{value:02}"),
        pair.map(lambda ends: f"{ends[0]}-{ends[1]}"),
        stepped.map(lambda made: f"{made[0][0]}-{made[0][1]}/{made[1]}"),
    )


def field(low: int, high: int) -> st.SearchStrategy[str]:
    return st.one_of(
        st.just("*"),
        st.integers(1, high).map(lambda step: f"*/{step}"),
        st.lists(item(low, high), min_size=1, max_size=3).map(",".join),
    )


def expressions() -> st.SearchStrategy[str]:
    days = st.one_of(
        st.tuples(field(1, 31), field(1, 12), st.just("*")), st.tuples(st.just("*"), field(1, 12), field(0, 7))
    )
    return st.tuples(field(0, 59), field(0, 23), days).map(lambda made: " ".join([made[0], made[1], *made[2]]))


@settings(max_examples=150)
@given(expressions(), st.datetimes(datetime.datetime(2024, 1, 1), datetime.datetime(2032, 1, 1)))
def test_what_is_sent_fires_when_cron_would(five: str, after: datetime.datetime) -> None:
    start = after.replace(tzinfo=UTC, microsecond=0)
    try:
        six = six_fields(five)
    except InputError as error:
        assert "never fires" in str(error)
        assume(False)
        return
    sets, _ = robfig(six)
    assert sets["second"] == {0}
    expected = CronSim(five, start)
    previous = start
    for _ in range(4):
        firing = next(expected)
        assert fires(six, firing)
        # and not in between: on every minute of the hours before and after, and at every hour that may be right
        gap = (firing - previous) // datetime.timedelta(minutes=1)
        near = {*range(1, min(gap, 180)), *range(max(1, gap - 180), gap)}
        minutes = [previous.replace(second=0) + datetime.timedelta(minutes=minute) for minute in near]
        assert not [time for time in minutes if previous < time < firing and fires(six, time)]
        days = range(1, min((firing - previous).days, 400))
        first = min(sets["hour"]), min(sets["minute"])
        for day in days:
            time = (previous + datetime.timedelta(days=day)).replace(hour=first[0], minute=first[1], second=0)
            assert not (previous < time < firing and fires(six, time))
        previous = firing


def test_five_fields_sent_as_they_are_would_fire_every_hour() -> None:
    # what the sixth field is for: robfig/cron v1 takes "0 2 * * *" for second 0 of minute 2 of every hour
    assert six_fields("0 2 * * *") == "0 0 2 * * *"
    assert fires("0 2 * * * *", datetime.datetime(2027, 1, 1, 17, 2, tzinfo=UTC))
    assert not fires(six_fields("0 2 * * *"), datetime.datetime(2027, 1, 1, 17, 2, tzinfo=UTC))


@pytest.mark.parametrize(
    ("five", "six"),
    [
        ("0 2 * * 7", "0 0 2 * * 0"),
        ("0 2 * * 5-7", "0 0 2 * * 0,5,6"),
        ("0 2 * * 1-7/3", "0 0 2 * * 0,1,4"),
        ("*/15 8-18 * * 1-5", "0 0,15,30,45 8,9,10,11,12,13,14,15,16,17,18 * * 1,2,3,4,5"),
        ("05 07 1,15 * *", "0 5 7 1,15 * *"),
        ("@Daily", "0 0 0 * * *"),
        ("  0   2 * * * ", "0 0 2 * * *"),
    ],
)
def test_how_it_is_written(five: str, six: str) -> None:
    assert six_fields(five) == six


@pytest.mark.parametrize("name", NICKNAMES)
def test_names_mean_what_cron_means(name: str) -> None:
    start = datetime.datetime(2027, 2, 3, 4, 5, tzinfo=UTC)
    for time in next_runs(NICKNAMES[name], 3, after=start):
        assert fires(six_fields(name), time)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 0 2 * * *", "leave out the seconds"),
        ("0 2 * *", "has 4 fields, five are needed"),
        ("", "has 1 fields"),
        ("0 2 1 * 1", "restricts both day of month and day of week"),
        ("0 2 */2 * 1", "restricts both day of month and day of week"),
        ("0 2 ? * 1", "day of month '?'"),
        ("0 2 L * *", "mean different things"),
        ("0 2 15W * *", "mean different things"),
        ("0 2 * * 5#2", "mean different things"),
        ("0 2 * * MON-FRI", "write numbers instead of names"),
        ("0 2 * jan *", "write numbers instead of names"),
        ("5/15 * * * *", "such as 5-59/15"),
        ("5-5/2 * * * *", "write the number alone"),
        ("60 2 * * *", "between 0 and 59"),
        ("0 22-4 * * *", "the smaller number first"),
        ("0 2 0 * *", "between 1 and 31"),
        ("0 2 * * 8", "between 0 and 7"),
        ("*/0 * * * *", "a step must be"),
        ("*/60 * * * *", "a step must be"),
        ("*,5 * * * *", "a * in a list"),
        ("0 2 30 2 *", "never fires"),
        ("0 2 31 4,6,9,11 *", "never fires"),
        ("0 -2 * * *", "write numbers"),
        ("0 2, * * *", "write numbers"),
        ("٣ 2 * * *", "write numbers"),
        ("@reboot", "not known"),
        ("@every 6h", "use --every"),
    ],
)
def test_what_is_doubtful_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)) as raised:
        six_fields(text)
    assert len(raised.value.faults) == 1


def test_a_leap_day_is_waited_for() -> None:
    (next_one,) = next_runs("0 2 29 2 *", 1, after=datetime.datetime(2025, 1, 1, tzinfo=UTC))
    assert next_one == datetime.datetime(2028, 2, 29, 2, tzinfo=UTC)


def test_firings_are_told_in_the_servers_time_zone() -> None:
    after = datetime.datetime(2027, 6, 1, tzinfo=UTC)
    (there,) = next_runs("0 2 * * *", 1, after=after, zone="Europe/Berlin")
    assert there == datetime.datetime(2027, 6, 2, 2, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    with pytest.raises(InputError, match="no such time zone"):
        next_runs("0 2 * * *", 1, zone="Mars/Olympus")


@pytest.mark.parametrize(("text", "seconds"), [("6h", 21600), ("90m", 5400), ("1d12h", 129600), ("2D", 172800)])
def test_intervals(text: str, seconds: int) -> None:
    assert interval_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "6", "h", "6 h", "30s", "0m", "-6h", "1h1d", "every 6h"])
def test_intervals_written_otherwise_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        interval_seconds(text)


@pytest.mark.parametrize(
    ("held", "read"),
    [
        ("0 2 * * *", "0 2 * * * *"),
        ("0 0 2 * * ?", "0 0 2 * * *"),
        ("*/30 * * * * *", "*/30 * * * * *"),
        ("@daily", "@daily"),
    ],
)
def test_what_the_server_holds_is_read_as_the_server_does(held: str, read: str) -> None:
    """robfig/cron v1 (parser.go): a sixth field that is missing is the day of the week, and `?` is `*`."""
    assert as_kubeflow_reads(held) == read
    after = datetime.datetime(2027, 3, 1, 12, tzinfo=UTC)
    times = next_runs(as_kubeflow_reads(held), 3, after=after)
    assert len(times) == 3
    assert all(fires(read if read[0] != "@" else "0 0 0 * * *", time) for time in times)
