"""What the command line says after a run, and about the registry."""

from __future__ import annotations

import datetime
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.local import run as local
from pipeline.parameters import Settings
from sharpen.errors import InputError
from sharpen.progress import clock
from sharpen.registry import registry
from sharpen.registry.last_run import SKIP
from sharpen.registry.outcome import SHOWN_METRICS, Outcome, measured_outcome, skipped_outcome
from sharpen.terminal import plain_console, printable


def show(run: local.LocalRun, settings: Settings) -> None:
    """The run's outcome: gains, verdict, addresses and what to try next."""
    console, rounds = plain_console(), settings.mining.rounds
    with local.opened_store(settings.store, write=False) as root:
        ended = _outcome(run, settings, root)
    commands = ended.commands(settings.store)
    if ended.verdict == SKIP:
        commands.append("run ... --fresh")
    else:
        commands.append("run --set train_data=YOUR.jsonl --set model_name=YOUR-NAME")
    several = f", {rounds} rounds; the model is that of round {rounds}" if rounds > 1 and ended.gains else ""
    console.print(f"\nFinished in {clock(run.seconds)}{several}\n", style="bold")
    for line in ended.lines([f"{_program()} {command}" for command in commands]):
        console.print(line, style="bold" if line.startswith(("Gain", "Verdict")) else "", soft_wrap=True)


def _outcome(run: local.LocalRun, settings: Settings, root: str) -> Outcome:
    name = settings.model_name
    if run.verdict == SKIP:
        return skipped_outcome(name, root, *run.reasons)
    measured = measured_outcome(
        run.evaluation,
        name,
        root,
        settings.promotion,
        verdict=run.verdict,
        reasons=run.reasons,
        version=run.version,
        run=run.name,
        indexed=settings.indexing.enabled,
    )
    return replace(measured, report=str(run.report))


def _say(console: Console, text: str) -> None:
    console.print(printable(text), soft_wrap=True)


def _program() -> str:
    """How the user can call this command again: by its name, or by its path where the environment is not activated."""
    installed = Path(sys.executable).with_name("sharpen")
    if shutil.which("sharpen") or not installed.exists():
        return "sharpen"
    here = Path.cwd()
    return shlex.quote(str(installed.relative_to(here) if installed.is_relative_to(here) else installed))


def show_models(names: list[str], root: str) -> None:
    """One row a model: champion, its main figure, number of versions.

    Raises:
        InputError: at the end, when the pointers of some are damaged.
    """
    console = plain_console()
    if not names:
        console.print("no models yet; `sharpen run` makes one")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for column in ("model", "champion", "since", "ndcg_at_10", "versions"):
        table.add_column(column)
    faults: list[str] = []
    for name in names:
        try:
            champion, without = registry.read_champion(root, name), "none"
        except InputError as error:
            champion, without = None, "damaged"
            faults += error.faults
        figure = champion.metrics.get("ndcg_at_10") if champion else None
        table.add_row(
            name,
            champion.version if champion else without,
            _day(champion.promoted_at) if champion else "",
            f"{figure:.3f}" if figure is not None else "",
            str(len(registry.list_versions(root, name))),
        )
    console.print(table)
    if faults:
        raise InputError(faults)


def show_model(name: str, root: str) -> None:
    """The champion's facts and all versions. Raises InputError when there is no such model."""
    console = plain_console()
    versions = registry.list_versions(root, name)
    if not versions:
        registry.show(root, name)  # says which there are
    champion = registry.read_champion(root, name)
    if champion:
        _say(console, f"{name}: champion {champion.version} since {_day(champion.promoted_at)}")
        _say(console, f"address: {champion.address}")
        _say(console, f"reason:  {champion.reason}")
        for metric, value in sorted(champion.metrics.items()):
            if metric in SHOWN_METRICS:
                console.print(f"  {metric:<14} {value:.3f}")
    for version in versions:
        mark = "champion" if champion and version == champion.version else ""
        console.print(f"{version}  {mark}".rstrip())


def _day(moment: str) -> str:
    return datetime.datetime.fromisoformat(moment).strftime("%Y-%m-%d %H:%M")
