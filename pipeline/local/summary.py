"""What the command line says after a run."""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from pipeline.local import run as local
from pipeline.parameters import Settings
from sharpen.progress import clock
from sharpen.registry.gate import REJECT
from sharpen.registry.last_run import SKIP
from sharpen.registry.outcome import Outcome, measured_outcome, skipped_outcome
from sharpen.terminal import plain_console


def show(run: local.LocalRun, settings: Settings) -> None:
    """The run's outcome: gains, verdict, addresses and what to try next."""
    console, rounds = plain_console(), settings.mining.rounds
    with local.opened_store(settings.store, write=False) as root:
        ended = _outcome(run, settings, root)
    commands = ended.commands(settings.store)
    if ended.verdict == SKIP:
        commands.append("run ... --fresh")
    else:
        # what explains a refusal stays the last line
        last = -1 if ended.verdict == REJECT else len(commands)
        commands.insert(last, "run --set train_data=YOUR.jsonl --set model_name=YOUR-NAME")
    several = f", {rounds} rounds; the model is that of round {rounds}" if rounds > 1 and ended.gains else ""
    console.print(f"\nFinished in {clock(run.seconds)}{several}\n", style="bold")
    for line in ended.lines([f"{program()} {command}" for command in commands]):
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


def program() -> str:
    """How the user can call this command again: by its name, or by its path where the environment is not activated."""
    installed = Path(sys.executable).with_name("sharpen")
    if shutil.which("sharpen") or not installed.exists():
        return "sharpen"
    here = Path.cwd()
    return shlex.quote(str(installed.relative_to(here) if installed.is_relative_to(here) else installed))
