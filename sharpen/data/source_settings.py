"""What a user says of a source of data: its address, or its address with more, in YAML, JSON and Python alike.

``train_data`` and ``eval_data`` are texts: addresses separated by commas, or a JSON list of addresses and of objects
with the settings below, which is what a YAML list of mappings becomes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from sharpen.data.window import Since
from sharpen.errors import InputError
from sharpen.settings import SettingsModel, load_json
from sharpen.terminal import one_line
from sharpen.uri import redacted, split_addresses

HUB_SCHEME = "hf://"
MTEB_SCHEME = "mteb://"
HUB_SCHEMES = (HUB_SCHEME, MTEB_SCHEME)
"""What addresses begin with whose data the Hugging Face hub, or its cache on this machine, has."""

POOL_COLUMNS = ("passage_id", "title", "text")
"""What columns of a source's candidate pool are, where it has one."""

COLUMNS = (
    *("query", "positive", "negative", "positive_score", "negative_score", "positive_id", "negative_id"),
    *("label", "prompt", "group", "task_type", "time", "fields"),
    *("shown", "clicked", "position", *POOL_COLUMNS),
)
"""What a column may be called here; `SourceSettings.columns` says which columns of the user's these are."""

Propensities = Literal["none", "reciprocal", "log2"] | Annotated[list[float], Field(min_length=1, max_length=10_000)]


class ClickSettings(SettingsModel):
    """When clicks make a shown passage a positive, and when their lack makes it a hard negative."""

    min_impressions: int = Field(
        1, ge=1, description="Fewest times that a passage was shown for a query, before anything is concluded."
    )
    min_clicks: int = Field(1, ge=1, description="Fewest clicks of a positive.")
    min_click_rate: float = Field(
        0.0, ge=0, le=1e6, description="Smallest clicks per impression of a positive, after position weights."
    )
    max_negative_click_rate: float = Field(
        0.0, ge=0, le=1, description="Largest clicks per impression of a hard negative, after position weights."
    )
    min_examined: float = Field(
        1.0,
        ge=0,
        description="Fewest times that a hard negative was probably looked at: the sum of the propensities of the "
        "positions at which it was shown.",
    )
    propensities: Propensities = Field(
        "none",
        description="How probably a user looks at position 1, 2, ...: none: 1 everywhere; reciprocal: 1 / position; "
        "log2: 1 / log2(position + 1); or a list, the last one for all further positions. A click counts "
        "1 / propensity.",
    )

    @field_validator("propensities")
    @classmethod
    def _probabilities(cls, value: str | list[float]) -> str | list[float]:
        if isinstance(value, list) and not all(0 < number <= 1 for number in value):
            raise ValueError("every propensity must be above 0 and at most 1")
        return value


class SourceSettings(SettingsModel):
    """A source of training or evaluation data: with settings it is one source, whatever its files."""

    address: str = Field(
        min_length=1, description="A path, s3:// address, hf:// id, mteb:// task or python-source:; may be a glob."
    )
    name: str = Field("", max_length=200, description="Name in reports and settings; empty: the end of the address.")
    format: Literal["auto", "rows", "clicks"] = Field(
        "auto",
        description="rows: queries with passages, pairs, triplets or labelled pairs; clicks: a log of what was shown "
        "and clicked; auto: what the names of the columns say.",
    )
    columns: dict[str, str] = Field(
        {}, max_length=100, description=f"Columns of the user's by what they are: {', '.join(COLUMNS)}."
    )
    fields: list[str] = Field(
        [], max_length=100, description="Columns that become fields of the query, by which results can be sliced."
    )
    split: str = Field(
        "", description="Split of a data set of Hugging Face or a task of MTEB; empty: all, by their names."
    )
    weight: float = Field(
        1.0, gt=0, le=1e6, description="How often its queries come, beside a source of as many queries and weight 1."
    )
    prompt: str | None = Field(
        None, min_length=1, description="Instruction before its queries that bring none. Unset: the model's."
    )
    in_batch: Literal["all", "own_group"] = Field(
        "all",
        description="all: its queries are contrasted with the passages of the whole batch; own_group: with those of "
        "their own row only, as for labels and short lists.",
    )
    task_type: str = Field(
        "", description="Task of its queries, but for rows whose type is another one; empty: retrieval."
    )
    licence: str = Field("", max_length=200, description="Licence of this source; empty: that of data.licence.")
    corpus: str = Field(
        "", description="Passages of this source beside those of its rows, such as what ids in a click log mean."
    )
    since: Since = Field(
        "", description="Take what is as new as this, such as 30d or a date; empty: what retraining.since says."
    )
    clicks: ClickSettings = ClickSettings()  # type: ignore[call-arg]

    @field_validator("columns")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        if unknown := [name for name in value if name not in COLUMNS]:
            raise ValueError(f"{unknown[0]} is nothing that a column can be; known: {', '.join(COLUMNS)}")
        return value

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.format == "rows" and "clicks" in self.model_fields_set:
            raise ValueError("clicks have no effect with format rows; leave format out, or set it to clicks")
        return self

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the address is said."""
        return not self.settings()

    def settings(self) -> dict[str, Any]:
        """What is said besides the address, as JSON can hold it; equal for equal meaning."""
        return self.model_dump(mode="json", exclude={"address"}, exclude_defaults=True)

    def as_json(self) -> str | dict[str, Any]:
        """The address alone where nothing else is said, else all that is."""
        return self.address if self.is_plain else {"address": self.address, **self.settings()}


def source_at(address: str) -> SourceSettings:
    """A source of which nothing but the address is said. Raises InputError when that is empty."""
    return SourceSettings.checked({"address": address})


Given = str | Path | SourceSettings | Mapping[str, Any]
"""A source as a user of Python names it."""


def parse_sources(given: str | Sequence[Given], where: str = "data") -> list[SourceSettings]:
    """The sources that a setting names, each once.

    Args:
        given: a text as `split_addresses` takes it, or a list, or a JSON list, of addresses and objects with settings.
        where: what the setting is called, for messages.

    Raises:
        InputError: a list that is not valid JSON, or one line per fault of a source.
    """
    items = _items(given, where) if isinstance(given, str) else given
    faults: list[str] = []
    found: list[SourceSettings] = []
    for number, item in enumerate(items):
        if isinstance(item, SourceSettings):
            found.append(item)
        elif isinstance(item, str | Path):
            if str(item).strip():
                found.append(source_at(str(item).strip()))
        elif isinstance(item, Mapping):
            try:
                found.append(SourceSettings.checked(dict(item), where=f"{where}[{number}]."))
            except InputError as error:
                faults += error.faults
        else:
            faults.append(f"{where}[{number}]: an address or an object with one is expected, not {type(item).__name__}")
    if faults:
        raise InputError(faults)
    return list({json.dumps(source.as_json(), sort_keys=True): source for source in found}.values())


def _items(text: str, where: str) -> Sequence[Any]:
    if not text.lstrip().startswith("["):
        return split_addresses(text)
    try:
        return load_json(text)
    except ValueError as error:
        raise InputError(f"{where}: not a valid JSON list ({error}): {one_line(redacted(text), 80)}") from None


def addresses_in(text: str, where: str = "data") -> list[str]:
    """Every address that a setting names, those of candidate pools included. Raises InputError as `parse_sources`.

    Args:
        text, where: as `parse_sources` takes them.
    """
    sources = parse_sources(text, where)
    return list(dict.fromkeys(filter(None, [a for source in sources for a in (source.address, source.corpus)])))


def sources_text(given: str | Sequence[Given], where: str = "data") -> str:
    """The sources as one text; a text of plain addresses stays as it is. Raises InputError as `parse_sources`.

    Args:
        given, where: as `parse_sources` takes them.
    """
    if isinstance(given, str) and not given.lstrip().startswith("["):
        return given
    return json.dumps([source.as_json() for source in parse_sources(given, where)], sort_keys=True, ensure_ascii=False)


def _as_text(value: Any) -> Any:
    if isinstance(value, str | list | tuple):
        try:
            return sources_text(value, "")
        except InputError as error:
            raise ValueError("; ".join(error.faults)) from None
    return value


SourcesText = Annotated[str, BeforeValidator(_as_text)]
"""The type of a setting that names sources: a text, also where a list was given."""
