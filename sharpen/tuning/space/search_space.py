"""A whole search space: read, checked against the settings' own types and bounds, or chosen by the kind of model."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from sharpen.errors import InputError
from sharpen.settings import shown_value
from sharpen.store.yaml_file import read_yaml
from sharpen.terminal import one_line
from sharpen.tuning.space import dimension as dimensions
from sharpen.tuning.space.dimension import Dimension
from sharpen.tuning.space.groups import REFUSED, Groups, field_of, names

Space = tuple[Dimension, ...]
Kind = Literal["encoder", "decoder", "adapters"]


def read_space(file: Path | None, assignments: Sequence[str], groups: Groups) -> Space:
    """The space of a YAML file and of ``name=values`` texts, of which the latter win.

    Args:
        file: maps full names, or groups of names, to values; None: there is none.
        assignments: as `dimension.parse` takes them.
        groups: the settings that the search begins with.

    Raises:
        InputError: one line per fault: no such setting, a value that it does not take, no values at all.
    """
    found: dict[str, Dimension] = {}
    faults: list[str] = []
    given = [(name, lambda name=name, value=value: dimensions.of_yaml(name, value)) for name, value in _of_file(file)]
    given += [(text.partition("=")[0].strip(), lambda text=text: dimensions.parse(text)) for text in assignments]
    for name, read in given:
        try:
            found[name] = read()
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    return checked(tuple(found.values()), groups)


def _of_file(file: Path | None) -> list[tuple[str, Any]]:
    if file is None:
        return []
    found: list[tuple[str, Any]] = []
    for name, value in read_yaml(file).items():
        nested = isinstance(value, Mapping) and "." not in str(name)
        found += [(f"{name}.{inner}", part) for inner, part in value.items()] if nested else [(str(name), value)]
    return found


def checked(space: Space, groups: Groups) -> Space:
    """The space with numbers of the settings' own types.

    Args:
        space: as it was given.
        groups: the settings that the search begins with, with which every end of a range and every choice must agree.

    Raises:
        InputError: one line per fault.
    """
    if not space:
        raise InputError("nothing to search: name at least one setting, for example training.temperature=0.01..0.1:log")
    faults: list[str] = []
    found: list[Dimension] = []
    for one in space:
        try:
            found.append(_typed(one))
            for value in found[-1].values:
                groups.with_values({one.name: value})
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(list(dict.fromkeys(faults)))
    return tuple(found)


def _typed(one: Dimension) -> Dimension:
    field = field_of(one.name)
    if reason := REFUSED.get(one.name):
        raise InputError(f"{one.name}: cannot be searched: {reason}")
    if field is None:
        near = difflib.get_close_matches(one.name, names(), n=1)
        hint = f"did you mean {near[0]}?" if near else "settings of training, mining and encoder can be searched"
        raise InputError(f"{one.name}: no setting that can be searched; {hint}")
    kinds = _kinds(field)
    if not one.choices and not kinds & {int, float}:
        raise InputError(f"{one.name}: has no range, since it is no number; give its values, such as a,b")
    values = tuple(_checked_value(one.name, field, value) for value in one.values)
    if one.choices:
        return dataclasses.replace(one, choices=values)
    return dataclasses.replace(one, low=values[0], high=values[1], whole=float not in kinds)


def _kinds(field: FieldInfo) -> set[Any]:
    """The types that a field takes, those of an optional one apart."""
    annotation = field.annotation
    return {annotation} if get_origin(annotation) in (None, Literal, list, dict) else {*get_args(annotation)}


def _checked_value(name: str, field: FieldInfo, value: Any) -> Any:
    kind: Any = field.annotation
    if field.metadata:
        kind = Annotated[(kind, *field.metadata)]  # type: ignore[valid-type]
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        message = one_line(error.errors()[0]["msg"], 300)
        raise InputError(f"{name}: {message} (given: {shown_value(value)})") from None


def default_space(kind: Kind, groups: Groups) -> Space:
    """Rate, temperature, passages per query, epochs and the margin of mining, as far as the settings use them.

    Args:
        kind: of the model, by which the bounds of the rate differ: ``decoder``: a language model, all of whose weights
            are trained; ``adapters``: LoRA.
        groups: the settings that the search begins with.
    """
    low, high = {"encoder": (5e-6, 3e-4), "decoder": (1e-6, 5e-5), "adapters": (2e-5, 1e-3)}[kind]
    wanted = [Dimension("training.learning_rate", low, high, log=True)]
    if groups.encoder.normalize_embeddings:
        wanted.append(Dimension("training.temperature", 0.01, 0.1, log=True))
    if groups.mining.enabled:
        wanted.append(Dimension("training.train_group_size", choices=(2, 4, 8, 16)))
    if groups.training.max_steps < 0:
        wanted.append(Dimension("training.num_train_epochs", choices=(1.0, 2.0, 3.0)))
    if groups.mining.enabled:
        wanted.append(Dimension("mining.relative_margin", choices=(0.0, 0.05, 0.1)))
    fitting = []
    for one in wanted:
        try:
            fitting += checked((one,), groups)
        except InputError:
            # a loss without a temperature, or one that needs a group
            continue
    return tuple(fitting)


def kind_of_model(folder: Path, groups: Groups) -> Kind:
    """What decides the bounds of the rate: adapters by the settings, else what the model's own config.json says."""
    if groups.training.lora_rank:
        return "adapters"
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # several towers: each has a folder of its own
        return "encoder"
    named = [str(name) for name in config.get("architectures") or []]
    if any(name.endswith("ForCausalLM") for name in named):
        return "decoder"
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.get("model_type")
    causal = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return "decoder" if causal else "encoder"
