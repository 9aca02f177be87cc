"""The run form: the settings that are inputs of the pipeline, typed and with defaults; `overrides` holds all others.

Kubeflow's form sorts inputs by name and shows no help. So an input is called as its setting, with an underscore for the
dot, which keeps groups together; and the help is in the descriptions of pipeline and version, from the same models that
give type, default and choices.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from components.command_line import parse_value
from pipeline.cluster.compiled_settings import compiled_pod_settings
from pipeline.parameters import GROUPS, TOP_LEVEL, Settings, assign, every_setting, setting_field
from pipeline.presets.catalog import NAMES, flat, read_preset
from sharpen.errors import InputError
from sharpen.settings import load_json, shown_value

FORM = (
    *(name for name in TOP_LEVEL if name != "preset"),
    "job.gpus_per_node",
    "job.nodes",
    "mining.enabled",
    "promotion.min_gain",
    "promotion.mode",
    "retraining.force",
    "training.learning_rate",
    "training.negatives_cross_device",
    "training.num_train_epochs",
    "training.temperature",
    "training.train_group_size",
)
"""Settings that have a field of their own."""

AS_COMPILED = ("train_data", "base_model", "model_name")
"""Fields that mean the compiled value when somebody empties them."""

SUMMARY = "Fine-tune a text-embedding model for retrieval on your own data, measure it, promote it if it is better."
_FIELDS = {name: field for name, field in every_setting() if name in FORM}
_OVERRIDES, _NONE = "overrides", "none"
_SOURCES = ("train_data", "eval_data")
# Settings whose default depends on another one: where that is set, their field counts whatever it holds.
_DEFAULT_BY = {"training.learning_rate": "training.lora_rank"}
_HELP = (
    'Any other setting, as a JSON object, for example {"training.max_steps": 500}; none that has a field of its own, '
    "but for train_data and eval_data as lists of sources with settings, where the field is as it was compiled."
)


def input_name(setting: str) -> str:
    """What a setting is called in the form."""
    return setting.replace(".", "_")


def run_inputs(settings: Settings) -> dict[str, Any]:
    """The settings as inputs of a run."""
    given = settings.model_dump(mode="json", include=set(GROUPS), exclude_unset=True)
    inputs = {}
    for setting in FORM:
        group, _, name = setting.rpartition(".")
        inputs[input_name(setting)] = getattr(getattr(settings, group) if group else settings, name)
        given.get(group, {}).pop(name, None)
    named = {"preset": settings.preset} if settings.preset else {}
    return inputs | {_OVERRIDES: {group: _without_null(values) for group, values in given.items() if values} | named}


def settings_of(inputs: Mapping[str, Any], compiled: Mapping[str, Any] | None = None) -> Settings:
    """The settings of a run.

    A field that holds the setting's own default counts as not set, so that equal settings are equal, however given.
    Overrides may hold data as a list of sources with settings, where the field holds what was compiled.

    Args:
        inputs: fields of the form that are there, and `overrides` as an object or its JSON text: nested
            (``{"training": {"seed": 1}}``) or dotted (``{"training.seed": 1}``).
        compiled: values of the fields that are empty; those of `AS_COMPILED`.

    Raises:
        InputError: one line per fault: an unknown setting, a value out of bounds, a setting of which field and
            overrides say different things.
    """
    fields = {setting: inputs[input_name(setting)] for setting in FORM if input_name(setting) in inputs}
    fields |= {name: value for name, value in (compiled or {}).items() if not fields.get(name)}
    values: dict[str, Any] = {}
    faults = []
    overrides = _object(inputs.get(_OVERRIDES) or {})
    others = {setting for setting, _ in _flat(overrides)}
    for setting, value in fields.items():
        if setting in TOP_LEVEL or value != _FIELDS[setting].default or _DEFAULT_BY.get(setting) in others:
            assign(values, setting, value)
    for setting in _SOURCES:
        # a list has no field; it stands for the form's value, unless somebody wrote another one there
        as_compiled = fields.get(setting) in ((compiled or {}).get(setting), _FIELDS[setting].default, "")
        if isinstance(overrides.get(setting), list) and as_compiled:
            fields.pop(setting, None)
    for setting, value in _flat(overrides):
        if setting in fields and str(fields[setting]) != str(value) and fields[setting] != value:
            faults.append(
                f"overrides: {setting} is {shown_value(value)}, but the field {input_name(setting)} says "
                f"{shown_value(fields[setting])}; set the field, and leave {setting} out of overrides"
            )
        assign(values, setting, parse_value(value, setting_field(setting)) if isinstance(value, str) else value)
    if faults := faults + _preset_faults(values):
        raise InputError(faults)
    return Settings.checked(values)


def _preset_faults(values: Mapping[str, Any]) -> list[str]:
    """A name without its settings has no effect in a run: presets are taken where a run is made."""
    name = str(values.get("preset") or "")
    if name not in NAMES:
        return []
    given = dict(_flat(values))
    lacking = [setting for setting in flat(read_preset(name)) if setting not in given and setting not in FORM]
    if not lacking:
        return []
    return [
        f"overrides: preset {name} is a name only, {', '.join(lacking[:3])} ... are not set; take it where the run is "
        f"made (sharpen submit --preset {name}), or write its settings here (sharpen presets show {name})"
    ]


def settings_at_the_end(overrides: Mapping[str, Any] | str) -> Settings:
    """The settings of a run for its last step; the defaults for overrides that its first step refused."""
    try:
        return settings_of({_OVERRIDES: overrides})
    except InputError:
        return Settings.checked({})


def signature(defaults: Settings) -> inspect.Signature:
    """The inputs as parameters of the pipeline's function.

    Args:
        defaults: what the fields hold until somebody changes them.
    """
    keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [
        inspect.Parameter(name, keyword, default=value, annotation=str if isinstance(value, str) else type(value))
        for name, value in run_inputs(defaults).items()
    ]
    return inspect.Signature(parameters)


def description() -> str:
    """What the pipeline does and what each field means, as Markdown."""
    note = "Fields of the run form (empty text: as compiled; empty store: the cluster's own):"
    return "\n".join([SUMMARY, "", note, "", *(f"- `{name}`: {text}" for name, text in sorted(_helps().items()))])


def docstring() -> str:
    """`description` as the pipeline's function has it, from which kfp takes the help of each input."""
    return "\n".join([description(), "", "Args:", *(f"    {name}: {text}" for name, text in _helps().items()), ""])


def _helps() -> dict[str, str]:
    return {input_name(setting): _FIELDS[setting].description or "" for setting in FORM} | {_OVERRIDES: _HELP}


def add_choices(pipeline: Any) -> Any:
    """Make drop-downs of the fields that are one of several values; the pipeline, changed in place.

    kfp's compiler does not know `Literal` yet; the pipeline's format, server and UI do.
    """
    fields = pipeline.pipeline_spec.root.input_definitions.parameters
    for setting in FORM:
        kind = _FIELDS[setting].annotation
        if get_origin(kind) is Literal:
            for choice in get_args(kind):
                fields[input_name(setting)].literals.add().string_value = choice
    return pipeline


def _object(overrides: Mapping[str, Any] | str) -> dict[str, Any]:
    if isinstance(overrides, str):
        try:
            overrides = load_json(overrides)
        except ValueError as error:
            raise InputError(f"overrides: not valid JSON ({error})") from None
    if not isinstance(overrides, dict):
        raise InputError('overrides: pass a JSON object, for example {"training.max_steps": 500}')
    return _whole(overrides)


def _whole(value: Any) -> Any:
    """Whole numbers as such: an object that passes through Kubeflow has all its numbers as floats."""
    if isinstance(value, dict):
        return {name: _whole(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_whole(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _without_null(values: dict[str, Any]) -> dict[str, Any]:
    """The values with ``none`` for null, which kfp cannot pass on in an object."""
    return {name: _NONE if value is None else value for name, value in values.items()}


def _flat(overrides: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(full name, value) of every override."""
    found = []
    for name, value in overrides.items():
        if name in GROUPS and isinstance(value, Mapping):
            found += [(f"{name}.{inner}", part) for inner, part in value.items()]
        else:
            found.append((name, value))
    return found


def compiled_json(rounds: int, cluster: Settings | None, **optional: bool) -> str:
    """What the first task must know of how the pipeline was compiled, as JSON.

    Args:
        rounds: of mining and fine-tuning.
        cluster: settings that were built in for pods of a cluster; None: on one machine.
        optional: of `Settings.optional_steps`, whether there is a step of it.
    """
    built: dict[str, Any] = {"rounds": rounds, **{name: True for name, has in optional.items() if has}}
    if cluster:
        built["pods"] = compiled_pod_settings(cluster)
        built["defaults"] = {name: getattr(cluster, name) for name in AS_COMPILED}
    return json.dumps(built, sort_keys=True)
