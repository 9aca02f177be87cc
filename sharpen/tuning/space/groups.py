"""The settings that a search may change: those of mining, training and encoding, with what a trial has of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from pydantic.fields import FieldInfo

from sharpen.errors import InputError
from sharpen.mining.settings import StepSettings as MiningSettings
from sharpen.settings import EncoderSettings, SettingsModel
from sharpen.training.settings import TrainingSettings


@dataclass(frozen=True)
class Groups:
    """The settings of a trial.

    Attributes:
        training, mining, encoder: as the steps of a pipeline have them.
    """

    training: TrainingSettings
    mining: MiningSettings
    encoder: EncoderSettings

    def with_values(self, values: Mapping[str, Any]) -> Groups:
        """These settings with others for some full names. Raises InputError: they are not allowed together."""
        given: dict[str, dict[str, Any]] = {name: {} for name in GROUPS}
        for full, value in values.items():
            group, _, name = full.partition(".")
            given[group][name] = value
        faults: list[str] = []
        made: dict[str, Any] = {}
        for name, model in GROUPS.items():
            old: SettingsModel = getattr(self, name)
            try:
                made[name] = model.checked(old.model_dump(exclude_unset=True) | given[name], where=f"{name}.")
            except InputError as error:
                faults += error.faults
        if faults:
            raise InputError(faults)
        return Groups(**made)

    def watched(self, evaluations: int) -> TrainingSettings:
        """The settings of training, with so many looks at dev. Raises InputError: they do not go together."""
        given = self.training.model_dump(exclude_unset=True)
        return TrainingSettings.checked(
            given | {"eval_steps": 1 / evaluations, "early_stopping_patience": 0, "dev_scores_address": ""},
            where="training.",
        )

    def value(self, full: str) -> Any:
        """The value of a setting by its full name."""
        group, _, name = full.partition(".")
        return getattr(getattr(self, group), name)

    def changed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Of values by full name those that are others than here; what nobody set stays not set."""
        return {name: value for name, value in values.items() if value != self.value(name)}

    def as_json(self) -> str:
        """What was set, as JSON."""
        given = {one.name: getattr(self, one.name).model_dump(mode="json", exclude_unset=True) for one in fields(self)}
        return json.dumps(given, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `as_json` wrote."""
        given = json.loads(text)
        made: dict[str, Any] = {name: model.checked(given[name]) for name, model in GROUPS.items()}
        return cls(**made)


GROUPS: dict[str, type[SettingsModel]] = {
    "training": TrainingSettings,
    "mining": MiningSettings,
    "encoder": EncoderSettings,
}

_SEARCHED = "the search sets it itself"
_SPEED = "it changes where or how fast a trial computes, not its score"
# settings that are no part of what a search may find, and why
REFUSED: dict[str, str] = {
    "training.seed": "a seed that is best on dev is luck; repeats shows how much seeds differ",
    "training.eval_steps": _SEARCHED,
    "training.early_stopping_patience": _SEARCHED,
    "training.average_checkpoints": "a trial takes its best checkpoint by dev alone",
    "training.eval_corpus_size": "it changes what the dev score means",
    "training.max_train_minutes": "it makes the score depend on the machine's load",
    **{
        f"training.{name}": _SPEED
        for name in (
            *("micro_batch_tokens", "sub_batch_size", "gradient_cache", "activation_gib", "gradient_checkpointing"),
            *("logging_steps", "save_steps", "save_total_limit", "checkpoint_folder", "checkpoint_address"),
            *("report_to", "logging_dir", "dev_scores_address"),
        )
    },
    **{
        f"encoder.{name}": _SPEED
        for name in ("batch_tokens", "attn_implementation", "vector_cache", "vector_cache_gib", "encoding_processes")
    },
}


def field_of(full: str) -> FieldInfo | None:
    """The field of a setting by its full name; None where a search knows none."""
    group, _, name = full.partition(".")
    return GROUPS[group].model_fields.get(name) if group in GROUPS else None


def names() -> list[str]:
    """Full names of all settings that can be searched."""
    every = (f"{group}.{name}" for group, model in GROUPS.items() for name in model.model_fields)
    return [name for name in every if name not in REFUSED]
