"""Settings of the graph itself, which no step knows of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from sharpen.data.preparation.settings import SelectionSettings
from sharpen.index.sizes import Variant, parse_variants
from sharpen.jobs.settings import Quantity
from sharpen.mining.settings import StepSettings
from sharpen.settings import SettingsModel

_TRUE = ("true", "1", "on", "yes", "y", "t")


class RoundsOfMining(StepSettings):
    """Mining, and what of it the graph decides: a step knows of no rounds."""

    rounds: int = Field(
        1,
        ge=1,
        le=4,
        description="How often is mined and fine-tuned: the first time with the model that training starts from, then "
        "with the model of the round before. Every round fine-tunes the model that training starts from.",
    )


class RetrainingSettings(SelectionSettings):
    """Runs that are repeated: whether one is worth its cost, on which data, and where its training starts."""

    min_new_examples: int = Field(
        1,
        ge=0,
        le=1_000_000_000,
        description="Fewest examples (a query with one of its positives) that must be new or gone since the last run "
        "of this model that finished, with equal settings, code and base model; else the run is skipped. 0: never.",
    )
    force: bool = Field(False, description="Run whether there is anything new or not.")
    start_from: Literal["base", "champion"] = Field(
        "base",
        description="Model that training starts from and that mining scores with: base_model, or the model in use; "
        "base_model too while there is none. Results are always compared with both.",
    )
    delete_leftovers_days: int = Field(
        7,
        ge=0,
        le=3650,
        description="A run that ends deletes what others that failed or were cancelled left in the store (checkpoints, "
        "half-written folders, unfinished uploads), when nobody has written to it for so many days; until then they "
        "can be retried. 0: never.",
    )


SELECTION = {"start_from", *SelectionSettings.model_fields}
"""Those that a run's result depends on."""


class PodSettings(SettingsModel):
    """Pods of a cluster's steps that compute; those of training jobs have `job.`. `sharpen compile` builds them in."""

    memory: Quantity = Field(
        "8Gi",
        description="Memory of each pod of query_generation, data_prep, hard_negatives, teachers, merging, evaluation "
        "and indexing, requested and at most; they hold passages, and vectors in 4 bytes a dimension.",
    )
    cpu: Quantity = Field("2", description="Cores that each of these pods requests; as many threads compute.")
    gpus: int = Field(
        0,
        ge=0,
        le=16,
        description="GPUs (job.gpu_resource) of each pod of query_generation, hard_negatives, teachers, merging, "
        "evaluation and indexing; a node's taint of that name is tolerated.",
    )
    timeout_seconds: int = Field(
        86_400,
        ge=60,
        le=31 * 86_400,
        description="Longest time of one try of these steps, waiting for a node included.",
    )
    retries: int = Field(
        2,
        ge=0,
        le=10,
        description="How often a step is started again whose pod was deleted, evicted or lost with its node. A step "
        "that ends with an error is not: Kubeflow's controller leaves it at that (retryPolicy OnError).",
    )


def completed(values: Any) -> Any:
    """The values of settings with those that follow from others. Raises ValueError: some contradict each other."""
    return _with_served_size(_without_default_data(values))


def _without_default_data(values: Any) -> Any:
    """The values of settings; queries that are written for the user's documents are not mixed with the default data."""
    if not isinstance(values, dict) or "train_data" in values:
        return values
    group = values.get("generation")
    enabled = group.get("enabled") if isinstance(group, Mapping) else getattr(group, "enabled", False)
    return {**values, "train_data": ""} if str(enabled).lower() in _TRUE else values


def _with_served_size(values: Any) -> Any:
    """The values of settings with those that follow from `serving.size`; unchanged where it is not set.

    Who sets one of them as well must mean the same, but for `training.served_size`, which may be empty: then the model
    is stored so without having been trained for it.

    Raises:
        ValueError: the size is none, or a line for each setting that says something else.
    """
    serving = values.get("serving") if isinstance(values, dict) else None
    name = serving.get("size") if isinstance(serving, Mapping) else getattr(serving, "size", "")
    if not isinstance(name, str) or not name:
        return values
    (size,) = parse_variants([name])
    found, faults = dict(values), []
    for full, wanted in _following(size).items():
        group, setting = full.split(".")
        given = found.get(group) or {}
        given = dict(given) if isinstance(given, Mapping) else given.model_dump(mode="json", exclude_unset=True)
        known = given.get(setting, wanted)
        if setting == "variants":
            listed = [part.strip() for part in known.split(",")] if isinstance(known, str) else list(known)
            known = wanted = [*filter(None, dict.fromkeys([*listed, name]))]
        if str(known) != str(wanted) and not (full == "training.served_size" and known == ""):
            faults.append(f"{full}: {known}, but serving.size {name} means {wanted}; leave one of the two out")
        found[group] = {**given, setting: known}
    if faults:
        raise ValueError("; ".join(faults))
    return found


def _following(size: Variant) -> dict[str, Any]:
    """Full name of a setting -> its value."""
    return {
        "training.served_size": size.name,
        "merging.served_size": size.name,
        "evaluation.variants": [size.name],
        "promotion.variant": size.name,
        "indexing.vector_precision": size.precision,
        **({"indexing.truncate_dim": size.dimension} if size.dimension else {}),
    }
