"""A search on this machine: the run's own data and settings, prepared once, and `best.yaml` at the end."""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pipeline.local.run import WORK, opened_store
from pipeline.local.summary import program
from pipeline.parameters import Settings, assign
from sharpen.data.source_settings import parse_sources
from sharpen.errors import InputError
from sharpen.jobs.local_backend import process_count
from sharpen.mining.settings import StepSettings as MiningSettings
from sharpen.reports.formatting import number
from sharpen.store import local_store, storage
from sharpen.terminal import plain_console
from sharpen.tuning.report.sentences import ONCE_ON_TEST, Outcome, counted, how_sure, verdict
from sharpen.tuning.settings import TuningSettings
from sharpen.tuning.space.groups import Groups
from sharpen.tuning.space.search_space import Space, default_space, kind_of_model, read_space

if TYPE_CHECKING:
    from sharpen.tuning.tune import Found

logger = logging.getLogger(__name__)

BEST = "best.yaml"


def search(
    settings: Settings, tuning: TuningSettings, space_file: Path | None, assignments: Sequence[str], folder: Path | None
) -> None:
    """Search, and show what was found.

    Args:
        settings: of the run whose settings are searched.
        tuning: of the search.
        space_file, assignments: what is searched, as `read_space` takes it; neither: a default by the kind of model.
        folder: of the search; None: below ``.sharpen/tune``.

    Raises:
        InputError: wrong settings, space or data, or the folder has another search.
        StepFailed: no trial was trained to the end.
    """
    from sharpen.tuning.tune import tune

    check_searchable(settings)
    groups = groups_of(settings)
    space = space_of(settings, groups, space_file, assignments)
    folder = (folder or WORK / "tune" / settings.model_name).absolute()
    logger.info("searched: " + "; ".join(f"{one.name} {one.described()}" for one in space))
    with opened_store(settings.store, write=False) as root:
        data, model = prepare_data(settings, root, folder)
        command = f"{program()} run --config {shlex.quote(str(shown(folder / BEST)))}"
        processes = process_count(settings.job)
        found = tune(data, model, folder, groups, space, tuning, processes=processes, next_command=command)
    write_best(settings, found, folder / BEST, tuning)
    show(found, command)


def check_searchable(settings: Settings) -> None:
    """Raise InputError for steps that a trial does not have."""
    instead = {
        "generation": "write the queries once with `sharpen run`, and give them as train_data",
        "pretraining": "pre-train once with `sharpen run`, and give the model as base_model",
        "merging": "search without it, then merge the model of the best settings",
        "teachers": "score once with `python -m components.teachers`, and train on what it wrote",
    }
    faults = [
        f"{name}.enabled: a trial has no such step; {instead.get(name, 'search without it')}"
        for name, enabled in settings.optional_steps().items()
        if enabled
    ]
    if settings.mining.rounds > 1:
        faults.append("mining.rounds: a trial mines and trains one round; search with 1, then run with more")
    if faults:
        raise InputError(faults)


def groups_of(settings: Settings) -> Groups:
    """What a search can change of the settings of a run."""
    mining = settings.mining.model_dump(exclude_unset=True, exclude={"rounds"})
    return Groups(settings.training, MiningSettings.checked(mining), settings.encoder)


def space_of(settings: Settings, groups: Groups, file: Path | None, assignments: Sequence[str]) -> Space:
    """What is searched: as the user says, else by the kind of model."""
    if file is not None or assignments:
        return read_space(file, assignments, groups)
    from sharpen.models.model_hub import resolve_model

    return default_space(kind_of_model(resolve_model(settings.base_model), groups), groups)


def prepare_data(settings: Settings, root: str, folder: Path) -> tuple[str, str]:
    """Prepare the data of a run as the run itself would, unless that is done; where they are, and the model.

    Args:
        settings: of the run.
        root: of the registry, whose earlier runs fix which queries are held out.
        folder: of the search.

    Raises:
        InputError: what `prepare` raises.
    """
    from pipeline.run_plan import planned_data
    from sharpen.data.preparation.prepare import prepare
    from sharpen.data.preparation.settings import DataSettings
    from sharpen.models.model_hub import find_tokenizer
    from sharpen.registry import last_run
    from sharpen.registry.registry import champion_address
    from sharpen.retraining.fingerprint import fingerprint_inputs

    champion = champion_address(root, settings.model_name)
    model = champion if settings.retraining.start_from == "champion" and champion else settings.base_model
    content = fingerprint_inputs(
        *(settings.train_data, settings.eval_data, settings.base_model, [], model, settings.data.corpus),
        judgements=settings.data.judgements,
    )
    of_data = settings.group_json("data")
    settings = settings.model_copy(update={"store": root})
    planned = planned_data(settings, last_run.read(root, settings.model_name), of_data, content.sources)
    address = str(folder / f"data-{hashlib.sha256(planned.key.encode()).hexdigest()[:12]}")
    if not storage.is_complete(address):
        checked = DataSettings.from_json(of_data, where="data.")
        sources = parse_sources(settings.train_data, "train_data"), parse_sources(settings.eval_data, "eval_data")
        tokenizer = find_tokenizer(checked.tokenizer) if checked.tokenizer else None
        prepare(*sources, address, checked, planned.plan, tokenizer)
    return address, model


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
