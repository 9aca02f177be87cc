"""A search on this machine: the run's own data and settings, prepared once, and `best.yaml` at the end."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from pathlib import Path

from pipeline.local.run import WORK, opened_store
from pipeline.local.summary import program
from pipeline.parameters import Settings
from pipeline.tuning.outcome import BEST, show, show_space, shown, write_best
from pipeline.tuning.searched import check_searchable, groups_of, space_of
from sharpen.data.source_settings import parse_sources
from sharpen.jobs.local_backend import process_count
from sharpen.store import storage
from sharpen.tuning.settings import TuningSettings


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
    show_space(space)
    with opened_store(settings.store, write=False) as root:
        data, model = prepare_data(settings, root, folder)
        command = f"{program()} run --config {shlex.quote(str(shown(folder / BEST)))}"
        processes = process_count(settings.job)
        found = tune(data, model, folder, groups, space, tuning, processes=processes, next_command=command)
    write_best(settings, found, folder / BEST, tuning)
    show(found, command)


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
