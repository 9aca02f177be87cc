"""What a search leaves: `best.yaml`, and what the terminal says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pipeline.parameters import Settings, assign
from sharpen.reports.formatting import number
from sharpen.store import local_store
from sharpen.terminal import plain_console, printable
from sharpen.tuning.report.sentences import ONCE_ON_TEST, Outcome, counted, how_sure, verdict
from sharpen.tuning.settings import TuningSettings
from sharpen.tuning.space.search_space import Space

if TYPE_CHECKING:
    from sharpen.tuning.tune import Found

BEST = "best.yaml"


def write_best(settings: Settings, found: Found, path: Path, tuning: TuningSettings) -> None:
    """Write the settings of the run with the best values, for ``sharpen run --config``."""
    values = settings.model_dump(mode="json", exclude_unset=True)
    for name, value in found.changed.items():
        assign(values, name, value)
    # the score is that of the best of so many evaluations, as is the model of a run with it
    assign(values, "training.eval_steps", 1 / tuning.evaluations)
    Settings.checked(json.loads(json.dumps(values)))
    note = f"# Best of {len(found.trials)} trials: nDCG@10 on dev {number(found.best.score, 4)}.\n"
    text = note + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    local_store.replace(path, text.encode(), private=True)


def show_space(space: Space) -> None:
    """Print what is searched."""
    described = "; ".join(f"{one.name} {one.described()}" for one in space)
    plain_console().print(printable(f"searched: {described}"), soft_wrap=True)


def show(found: Found, command: str) -> None:
    """Print what was found, how sure it is, and what to type next."""
    console = plain_console()
    outcome = Outcome(found.trials, found.repeats, found.comparison, found.dev_queries)
    _, heading, sentence = verdict(outcome)
    console.print(f"\n{counted(found.trials)}")
    console.print(f"{heading} {sentence}", style="bold", soft_wrap=True)
    for name, value in found.best.values.items():
        changed = "" if name in found.changed else " (as at the start)"
        console.print(f"  {name}: {value}{changed}", soft_wrap=True)
    for line in how_sure(outcome):
        console.print(line, soft_wrap=True)
    console.print(f"\nreport  {shown(found.page)}\n{ONCE_ON_TEST}\nnext    {command}", soft_wrap=True)


def shown(path: Path) -> Path:
    """The path from here where it is below, else the whole."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
