"""What of a run's settings a search may change, and within which bounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.parameters import Settings
from sharpen.errors import InputError
from sharpen.mining.settings import StepSettings as MiningSettings
from sharpen.tuning.space.groups import Groups
from sharpen.tuning.space.search_space import Space, default_space, kind_of_model, read_space

_INSTEAD = {
    "generation": "write the queries once with `sharpen run`, and give them as train_data",
    "pretraining": "pre-train once with `sharpen run`, and give the model as base_model",
    "merging": "search without it, then merge the model of the best settings",
    "teachers": "score once with `python -m components.teachers`, and train on what it wrote",
}


def check_searchable(settings: Settings, *, on_cluster: bool = False) -> None:
    """Raise InputError for steps that a trial does not have.

    Args:
        settings: of the run.
        on_cluster: whether a trial is a run of the pipeline, which has all steps up to fine-tuning.
    """
    faults = [
        f"{name}.enabled: a trial has no such step; {_INSTEAD.get(name, 'search without it')}"
        for name, enabled in {**settings.optional_steps(), "merging": settings.merging.requested}.items()
        if enabled and (name == "merging" or not on_cluster)
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
