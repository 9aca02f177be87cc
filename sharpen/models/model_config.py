"""What a model folder says of how its texts become embeddings: prompts, lengths, pooling, normalisation, precision.

A model that Sharpen wrote says so in ``config_sharpen.json`` (`ModelConfig`). Of any other the files of
sentence-transformers are read, as far as they have it. `resolve` alone decides with which settings a
model is measured, indexed and searched. Nothing here imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sharpen.data.task_type import TaskType
from sharpen.errors import InputError
from sharpen.models import architecture, model_hub
from sharpen.settings import LONGEST_TEXT, EncoderSettings, PassageWindows, SettingsModel
from sharpen.store import storage

NAME = "config_sharpen.json"

# How long passages are embedded for search.
WINDOW_FIELDS = ("passage_windows", "window_overlap")
# What decides an embedding; the other encoder settings only say how and where it is computed.
EMBEDDING_FIELDS = (
    *("query_max_len", "passage_max_len", "sentence_pooling_method", "add_eos_token", "normalize_embeddings"),
    *("query_instruction_for_retrieval", "query_instruction_format"),
    *("passage_instruction_for_retrieval", "passage_instruction_format", "precision"),
    *WINDOW_FIELDS,
)


class ModelConfig(SettingsModel):
    """``config_sharpen.json``: how the model was trained to embed texts, and so how it must be used."""

    format_version: Literal[1] = Field(1, description="Of this file.")
    query_max_len: int = Field(
        ge=1, le=LONGEST_TEXT, description="Longest query in tokens, prompt and special tokens included."
    )
    passage_max_len: int = Field(ge=1, le=LONGEST_TEXT, description="Longest passage in tokens.")
    pooling: Literal["cls", "mean", "last_token"] = Field(description="How token vectors become one vector.")
    normalize: bool = Field(description="Whether embeddings have length 1.")
    dimension: int = Field(ge=1, description="Length of an embedding.")
    precision: Literal["fp32", "bf16"] = Field(description="Arithmetic that it was trained in.")
    query_prompt: str = Field("", description="Text before every query.")
    passage_prompt: str = Field("", description="Text before every passage.")
    query_instruction_format: str = Field(
        "{}{}", description="How a row's own instruction was joined with its query in training."
    )
    passage_windows: PassageWindows = Field("none", description="How passages that are longer are embedded for search.")
    window_overlap: int = Field(
        32, ge=0, le=LONGEST_TEXT, description="Tokens that a window of them shares with the next one."
    )
    source_prompts: dict[str, list[str]] = Field(
        {},
        description="Source of the training data -> the texts before its queries, the most frequent first; empty where "
        "all queries had one.",
    )

    def settings(self, machine: EncoderSettings) -> EncoderSettings:
        """Encoder settings that embed as this says; how it is computed is taken from `machine`."""
        return EncoderSettings.checked(
            _computing(machine)
            | {
                "query_max_len": self.query_max_len,
                "passage_max_len": self.passage_max_len,
                "sentence_pooling_method": self.pooling,
                # the rule is in the saved tokenizer
                "add_eos_token": False,
                "normalize_embeddings": self.normalize,
                "query_instruction_for_retrieval": self.query_prompt,
                "passage_instruction_for_retrieval": self.passage_prompt,
                "precision": self.precision,
                "passage_windows": self.passage_windows,
                "window_overlap": self.window_overlap,
            }
        )

    def write(self, folder: Path) -> None:
        """Write the file into a model folder."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)
        (folder / NAME).write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Resolved:
    """With which settings a model is used.

    Attributes:
        settings: all of them.
        source: whose they are: ``model`` (its folder, written by Sharpen), ``published`` (its folder, as
            sentence-transformers reads it) or ``run`` (the folder says nothing).
        given: names of the settings that the user set and that stand in for the model's own.
        config: what the folder says, if Sharpen wrote it.
    """

    settings: EncoderSettings
    source: Literal["model", "published", "run"]
    given: tuple[str, ...] = ()
    config: ModelConfig | None = None


def resolve(model: str, settings: EncoderSettings) -> Resolved:
    """The settings that a model is used with: its folder's own; what was set explicitly in `settings` comes first.

    Args:
        model: address of the model: a folder, ``s3://``, a package's or a hub id.
        settings: of the user; fields that were never set are no wish.

    Raises:
        InputError: there is no such model, or its files cannot be read.
    """
    wishes = {name: getattr(settings, name) for name in EMBEDDING_FIELDS if name in settings.model_fields_set}
    config = read(model)
    if config is not None:
        stored, source = config.settings(settings), "model"
    elif earlier := _earlier(model):
        stored, source = EncoderSettings.checked(earlier | _computing(settings)), "model"
    else:
        stored = published(model_hub.resolve_model(model), settings)
        source = "run" if stored is settings else "published"
    return Resolved(stored.model_copy(update=wishes), source, tuple(wishes), config)


def computing_part(settings: EncoderSettings) -> EncoderSettings:
    """Of the settings only how embeddings are computed, nothing that decides what they are."""
    return EncoderSettings.checked(_computing(settings))


def read(model: str) -> ModelConfig | None:
    """What Sharpen wrote into the model's folder; None where it wrote nothing.

    Raises:
        InputError: the file is damaged.
    """
    values = _json_of(model, NAME)
    if values is None:
        return None
    try:
        return ModelConfig.checked(values)
    except InputError as error:
        raise InputError(f"{model}: {NAME}: {fault}" for fault in error.faults) from None


def published(folder: Path, settings: EncoderSettings) -> EncoderSettings:
    """Settings by which the folder embeds texts in sentence-transformers; `settings` itself where it does not say.

    Args:
        folder: local folder of the model.
        settings: how it is computed.

    Raises:
        InputError: its files cannot be read.
    """
    facts = architecture.read_architecture(folder)
    if not facts.embedder:
        return settings
    lengths = {kind: facts.max_lengths.get(kind) or LONGEST_TEXT for kind in ("query", "passage")}
    return EncoderSettings.checked(
        _computing(settings)
        | {
            "query_max_len": min(lengths["query"], LONGEST_TEXT),
            "passage_max_len": min(lengths["passage"], LONGEST_TEXT),
            "sentence_pooling_method": "auto",
            "normalize_embeddings": facts.normalize,
            "precision": settings.precision,
        }
    )


def prompt_names(config: ModelConfig) -> dict[str, str]:
    """Name -> prompt, for each of `ModelConfig.source_prompts`: its source's name, with a number from the second on."""
    taken = {"query", "document", "passage", "corpus", "", *TaskType}
    names: dict[str, str] = {}
    for source, prompts in config.source_prompts.items():
        for number, prompt in enumerate(prompts, start=1):
            base = source if source not in taken else f"source-{source or 'unnamed'}"
            name = base if number == 1 else f"{base}-{number}"
            while name in names:
                name += "+"
            names[name] = prompt
    return names


def task_prompts(query_prompt: str) -> dict[str, str]:
    """Task type -> the text before its queries; both sides of the others have none.

    Args:
        query_prompt: the default text before a query of retrieval.
    """
    return {kind.value: query_prompt if kind.has_instruction else "" for kind in TaskType}


def row_prompt(config: ModelConfig, source: str, instruction: str) -> str:
    """The text before a query of a data set, by which the model was trained on such queries.

    Args:
        config: of the model.
        source: of the query.
        instruction: that its row brings; empty for none.

    Returns:
        The row's own prompt where its source was trained with it; else the most frequent one of its source; else its
        own, where any source was trained with it; else the model's default.
    """
    prompt = config.query_instruction_format.format(instruction, "") if instruction else ""
    of_source = config.source_prompts.get(source)
    if of_source:
        return prompt if prompt in of_source else of_source[0]
    if any(prompt in prompts for prompts in config.source_prompts.values()):
        return prompt
    return config.query_prompt


def source_prompts(sources: Sequence[str], prompts: Sequence[str]) -> tuple[str, dict[str, list[str]]]:
    """The prompts of training queries as `ModelConfig` has them.

    Args:
        sources: of each query.
        prompts: the text before each query, empty for none.

    Returns:
        The most frequent prompt, which becomes the default, and `ModelConfig.source_prompts`.
    """
    counts: dict[str, dict[str, int]] = {}
    totals: dict[str, int] = {}
    for source, prompt in zip(sources, prompts, strict=True):
        of_source = counts.setdefault(source, {})
        of_source[prompt] = of_source.get(prompt, 0) + 1
        totals[prompt] = totals.get(prompt, 0) + 1
    by_frequency = {
        source: sorted(found, key=lambda prompt: (-found[prompt], prompt)) for source, found in sorted(counts.items())
    }
    default = min(totals, key=lambda prompt: (-totals[prompt], prompt)) if totals else ""
    return default, by_frequency if len(totals) > 1 else {}


def _computing(settings: EncoderSettings) -> dict[str, Any]:
    return settings.model_dump(exclude_unset=True, exclude=set(EMBEDDING_FIELDS))


def _earlier(model: str) -> dict[str, Any]:
    """Settings in a folder of an earlier version, which has them in training.json only."""
    found = (_json_of(model, "training.json") or {}).get("encoder")
    if not isinstance(found, dict):
        return {}
    # prompts and the EOS rule are those of the saved folder
    stored = ("query_instruction_for_retrieval", "passage_instruction_for_retrieval", "add_eos_token")
    return {name: value for name, value in found.items() if name in EMBEDDING_FIELDS and name not in stored}


def _json_of(model: str, name: str) -> dict[str, Any] | None:
    if model_hub.is_hub_id(model):
        return None
    if model.startswith(model_hub.PACKAGE_SCHEME):
        model = str(model_hub.resolve_model(model))
    address = storage.join(model, name)
    try:
        values = storage.read_json(address)
    except storage.NotFound:
        return None
    except RecursionError:
        raise InputError(f"{address}: not valid JSON (nested too deeply)") from None
    if not isinstance(values, dict):
        raise InputError(f"{address}: must hold a JSON object, not {type(values).__name__}")
    return values
