"""What users pass to the public functions: objects or addresses, and settings by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from sharpen.api.results import Evaluation, FinetunedModel, Negatives, OutputFolder
from sharpen.errors import InputError

if TYPE_CHECKING:
    from sharpen.data.dataset import DataSet
    from sharpen.data.source_settings import Given, SourceSettings
    from sharpen.models.bi_encoder import BiEncoderModel
    from sharpen.models.encoder import Encoder
    from sharpen.settings import EncoderSettings, SettingsModel

Address: TypeAlias = "str | Path"
Data: TypeAlias = "Address | DataSet"
Model: TypeAlias = "Address | FinetunedModel | Encoder | BiEncoderModel"


def checked_settings(values: dict[str, Any], *models: type[SettingsModel]) -> list[Any]:
    """One checked object of each model, from keywords that belong to any of them; all faults at once."""
    known = {name for model in models for name in model.model_fields}
    faults = []
    for name in sorted(values.keys() - known):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
        faults.append(f"{name}: unknown setting; {hint}")
    checked = []
    for model in models:
        try:
            checked.append(model.checked({name: values[name] for name in values.keys() & model.model_fields.keys()}))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    return checked


def sources(given: Given | Sequence[Given], where: str) -> list[SourceSettings]:
    """The sources that were given: several addresses may be separated by commas, as on the command line."""
    from sharpen.data.source_settings import parse_sources

    several = isinstance(given, str) or (isinstance(given, Sequence) and not isinstance(given, Mapping))
    return parse_sources(given if several else [given], where)  # type: ignore[arg-type]


def is_finished(address: str) -> bool:
    """Whether a finished data set is at an address."""
    from sharpen.data.readers import detect_inputs, sharpen_format

    return [item.format for item in detect_inputs(address)] == [sharpen_format.FORMAT]


def data_folder(data: Data) -> OutputFolder:
    """Where the data are; a data set in memory is written first, as it is now."""
    from sharpen.data.dataset import DataSet
    from sharpen.store import storage

    if not isinstance(data, DataSet):
        return OutputFolder(data, "data")
    folder = OutputFolder(None, "data")
    with storage.publish(folder.address, producer="data_prep", rows=data.counts()) as local:
        data.save(local)
    return folder


def model_folder(model: Model) -> OutputFolder:
    """Where the model is; a loaded one is written first, as it is now."""
    if isinstance(model, str | Path):
        return OutputFolder(model, "model")
    if isinstance(model, FinetunedModel):
        return model._held[0]
    folder = OutputFolder(None, "model")
    encoder_of(model).save(Path(folder.address))
    return folder


def encoder_of(model: FinetunedModel | Encoder | BiEncoderModel) -> Encoder:
    return getattr(model, "encoder", model)  # type: ignore[return-value]


def training_settings(model: Model, given: EncoderSettings) -> EncoderSettings:
    """How a model is mined with and trained: a loaded one as it is used so far, but for what is set."""
    from sharpen.models import model_config

    if isinstance(model, str | Path):
        return given
    if isinstance(model, FinetunedModel):
        return model_config.resolve(model.folder, given).settings
    settings = encoder_of(model).settings
    return settings.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})


def inference_settings(model: Model, given: EncoderSettings) -> EncoderSettings:
    """How a model computes that is used as its folder says: a loaded one as so far, but for what is set."""
    from sharpen.models import model_config

    if isinstance(model, str | Path | FinetunedModel):
        return given
    settings = model_config.computing_part(encoder_of(model).settings)
    wishes = {name: getattr(given, name) for name in given.model_fields_set}
    return type(given).checked(settings.model_dump(exclude_unset=True) | wishes)


def result_address(result: Evaluation | Negatives | Address | None) -> str:
    """The address of a result; empty for none."""
    if result is None:
        return ""
    return str(result) if isinstance(result, str | Path) else result.folder
