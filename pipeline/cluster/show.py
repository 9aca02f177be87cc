"""What a person sees of runs and schedules."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cluster import runs, schedules
from pipeline.cluster.api.client import Api, Object
from pipeline.cluster.steps.read import Steps
from pipeline.cluster.steps.tasks import graph_of, moment
from pipeline.cluster.waiting import WORDS
from sharpen.progress import clock
from sharpen.terminal import plain_console, printable

_STYLES = {"SUCCEEDED": "green", "FAILED": "bold red", "RUNNING": "cyan", "CANCELED": "yellow", "ENABLED": "green"}
# of a pipe or a file: nothing is cut off that a program may look for
_WIDE = 300


def console() -> Console:
    """Standard output: coloured on a terminal, plain and never wrapped elsewhere."""
    made = plain_console()
    return made if made.is_terminal else plain_console(width=_WIDE)


def line(text: str, state: str) -> None:
    """A line about something in this state."""
    out = console()
    out.print(Text(printable(text), style=_STYLES.get(state, "")), soft_wrap=True)


def runs_table(found: Sequence[Object]) -> None:
    """The runs, one a row."""
    rows = [
        (
            str(run.get("display_name")),
            runs.in_words(runs.state(run)),
            _at(run.get("created_at")),
            _duration(moment(run.get("created_at")), moment(run.get("finished_at"))),
            str(run["run_id"]),
        )
        for run in found
    ]
    _table(("run", "state", "created (UTC)", "took", "id"), rows, state=1)


def one_run(api: Api, run: Object, retry: str) -> None:
    """A run with its steps, what they wait for or why they failed, and its outcome.

    Args:
        api: the API.
        run: the run.
        retry: the command that tries it again.
    """
    steps, state = Steps(api, run, graph_of(api, run)), runs.state(run)
    line(f"{run.get('display_name')}: {runs.in_words(state)}", state)
    for label, value in (
        ("id", str(run["run_id"])),
        ("created", f"{_at(run.get('created_at'))} UTC"),
        ("took", _duration(moment(run.get("created_at")), moment(run.get("finished_at")))),
        ("page", api.link("runs", str(run["run_id"]))),
    ):
        if value:
            line(f"{label + ':':<9} {value}", "")
    rows = [
        (task.title, WORDS.get(task.state, task.state), _clock(task.started), _duration(task.started, task.ended))
        for task in steps.tasks
    ]
    if rows:
        _table(("step", "state", "started", "took"), rows, state=1)
    if state in ("SUCCEEDED", "SKIPPED"):
        _, outcome = steps.outcome() or ("", [])
        for text in ("", *outcome) if outcome else ():
            line(text, "")
    elif state == "CANCELED":
        line(f"next:     {retry}", "")
    elif state == "FAILED":
        failures = steps.failures()
        for failure in failures:
            line(str(failure), "FAILED")
        if not any(failure.is_user_error for failure in failures):
            line(f"next:     {retry}", "")
    else:
        for task in steps.tasks:
            for text in steps.now(task):
                line(f"{task.title}: {text}", task.state)


def schedules_table(found: Iterable[Object], zone: str) -> None:
    """The schedules, one a row."""
    rows = []
    for one in found:
        times = schedules.next_times(one, zone, 1) if schedules.is_enabled(one) else []
        rows.append(
            (
                str(one.get("display_name")),
                str(one.get("status") or "DISABLED"),
                _when(one),
                times[0].strftime("%Y-%m-%d %H:%M") if times else "",
                "sharpen" if schedules.hash_of(one) else "others",
                str(one["recurring_run_id"]),
            )
        )
    _table(("schedule", "state", "when", f"next ({zone})", "made by", "id"), rows, state=1)


def next_runs(wanted: schedules.ScheduleSettings, zone: str) -> None:
    """When a schedule fires next."""
    if wanted.every:
        line(f"  every {wanted.every}, counted from its creation or its last run", "")
        return
    times = schedules.next_times({"trigger": wanted.trigger}, zone)
    told = ", ".join(time.strftime("%a %Y-%m-%d %H:%M") for time in times) or "none before its end"
    line(f"  cron on the server: {wanted.trigger['cron_schedule']['cron']} (seconds first)", "")
    line(f"  next: {told} ({zone}, as CRON_SCHEDULE_TIMEZONE of the server should say)", "")


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, state: int) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=column == "id", overflow="fold")
    for row in rows:
        style = _STYLES.get(row[state].upper().replace("CANCELLED", "CANCELED"), "")
        table.add_row(*(Text(printable(cell), style=style if place == state else "") for place, cell in enumerate(row)))
    console().print(table)


def _when(one: Object) -> str:
    trigger = one.get("trigger") or {}
    if "cron_schedule" in trigger:
        expression = str(trigger["cron_schedule"].get("cron"))
        # somebody meant cron(8), as a rule
        trap = " (five fields: Kubeflow reads them with seconds first)" if len(expression.split()) == 5 else ""
        return f"{expression}{trap}"
    seconds = int((trigger.get("periodic_schedule") or {}).get("interval_second") or 0)
    return f"every {datetime.timedelta(seconds=seconds)}"


def _at(text: str | None) -> str:
    time = moment(text)
    return time.strftime("%Y-%m-%d %H:%M") if time else ""


def _clock(time: datetime.datetime | None) -> str:
    return time.strftime("%H:%M:%S") if time else ""


def _duration(start: datetime.datetime | None, end: datetime.datetime | None) -> str:
    return clock((end - start).total_seconds()) if start and end else ""
