"""The base of every settings model, and the settings that several steps share.

A settings model is the one source of a setting's name, default, bounds and help: the pipeline's inputs, the
command line, YAML files and the documentation are made from it.
"""

from __future__ import annotations

import difflib
import json
import reprlib
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sharpen.errors import InputError
from sharpen.terminal import one_line
from sharpen.uri import SCHEMES, scheme_of


class SettingsModel(BaseModel):
    """Settings of one step: unknown names are refused, values are checked, objects do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @classmethod
    def checked(cls, values: dict[str, Any], *, where: str = "") -> Self:
        """Build the model from plain values.

        Args:
            values: setting name -> value; strings are converted as pydantic converts them.
            where: prefix of the setting's name in messages, for example ``training.``.

        Raises:
            InputError: one line per fault, naming the setting, the value and what is allowed.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InputError(fault_lines(cls, error, where=where)) from None
        except UnicodeEncodeError as error:  # half of a surrogate pair: what a shell makes of bytes that are not UTF-8
            raise InputError(f"{where or 'settings'}: {shown_value(error.object)} is not UTF-8 text") from None

    @classmethod
    def from_json(cls, text: str, *, where: str = "") -> Self:
        """Build the model from the JSON text that a pipeline step receives; faults as in `checked`."""
        try:
            values = load_json(text or "{}")
        except ValueError as error:
            raise InputError(f"{where or 'settings'}: not valid JSON ({error}); pass an object") from None
        if not isinstance(values, dict):
            raise InputError(f"{where or 'settings'}: pass a JSON object, not {type(values).__name__}")
        return cls.checked(values, where=where)


def split_list(value: Any) -> Any:
    """The parts of a comma-separated text, empty ones left out; any other value as it is, for its field to judge."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def load_json(text: str) -> Any:
    """The value in a JSON text. Raises ValueError, in words: not JSON, nested too deep, or a name that stands twice."""
    try:
        return json.loads(text, object_pairs_hook=_named_once)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if repeated := next((name for number, name in enumerate(names) if name in names[:number]), None):
        raise ValueError(f"{one_line(repeated, 80)} stands twice; keep one")
    return dict(pairs)


class _Short(reprlib.Repr):
    """Values as messages show them: the beginning of long ones."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxtuple, self.maxdict, self.maxset = 3, 6, 6, 6, 6
        self.maxstring, self.maxlong, self.maxother = 120, 60, 120

    def repr_int(self, x: int, level: int) -> str:
        """Digits of a whole number; Python gives those of very large ones only in hexadecimal."""
        return super().repr_int(x, level) if abs(x) < 10**300 else f"{hex(x)[:20]}... ({x.bit_length()} bits)"


def shown_value(value: Any) -> str:
    """A value of any size as a message can show it."""
    return one_line(_Short().repr(value), 400)


def fault_lines(model: type[BaseModel], error: ValidationError, *, where: str = "") -> list[str]:
    """One line per fault of a pydantic error of a `model`, with the nearest known name where a name is unknown."""
    lines = []
    for fault in error.errors():
        location = [one_line(str(part), 80) for part in fault["loc"]]
        name = where + ".".join(location)
        if fault["type"] == "extra_forbidden":
            known = list(_fields_at(model, location[:-1]))
            near = difflib.get_close_matches(location[-1], known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"
            lines.append(f"{name}: unknown setting{hint}")
        else:
            message = one_line(fault["msg"].removeprefix("Value error, "), 1000)
            given = "" if isinstance(fault["input"], dict) else f" (given: {shown_value(fault['input'])})"
            lines.append(f"{name}: {message}{given}" if name else f"{message}")
    return lines


def _fields_at(model: type[BaseModel], path: list[str]) -> dict[str, Any]:
    for part in path:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return {}
        model = annotation
    return model.model_fields


LONGEST_TEXT = 32768
"""Tokens of a text beyond which no length can be set."""

RelevanceLevel = Annotated[
    int,
    Field(
        ge=1,
        le=1000,
        description="Smallest grade that is relevant; grades between 0 and it are neither positive nor negative. nDCG "
        "uses every grade.",
    ),
]
"""What a grade means (`data.relevance`), for all settings that need to know."""


PassageWindows = Literal["none", "mean", "max"]
"""What becomes of a passage that is longer than the encoder reads, where passages are searched."""


class EncoderSettings(SettingsModel):
    """How texts become embeddings. Mining, fine-tuning and evaluation must agree on it, so it is stated once."""

    query_max_len: int = Field(64, ge=1, le=LONGEST_TEXT, description="Longest query in tokens, instruction included.")
    passage_max_len: int = Field(256, ge=1, le=LONGEST_TEXT, description="Longest passage in tokens, title included.")
    passage_windows: PassageWindows = Field(
        "none",
        description="Passages longer than passage_max_len where they are searched: mining, evaluation, index (training "
        "cuts them). none: cut; mean: one vector, the mean of those of overlapping windows of passage_max_len tokens; "
        "max: a vector for each window, and the passage's score is that of its best one.",
    )
    window_overlap: int = Field(
        32,
        ge=0,
        le=LONGEST_TEXT // 2,
        description="Tokens that a window shares at least with the next one; at most half of passage_max_len.",
    )
    sentence_pooling_method: Literal["auto", "cls", "mean", "last_token"] = Field(
        "auto",
        description="How token vectors become one vector. auto: what the model's own folder says, else last_token for "
        "decoder-only models and cls for others.",
    )
    add_eos_token: bool | None = Field(
        None,
        description="End every text with the tokenizer's EOS token where it adds no special token itself. Unset: for "
        "last_token pooling of a decoder-only model that is not an embedding model yet.",
    )
    normalize_embeddings: bool = Field(True, description="Scale embeddings to length 1, so that scores are cosines.")
    query_instruction_for_retrieval: str | None = Field(
        None, description="Put before every query. Unset: the prompt in the model's own folder, if any."
    )
    query_instruction_format: str = Field(
        "{}{}", description="How instruction and query are joined: two {} in this order."
    )
    passage_instruction_for_retrieval: str | None = Field(
        None, description="Put before every passage. Unset: the prompt in the model's own folder, if any."
    )
    passage_instruction_format: str = Field("{}{}", description="How instruction and passage are joined.")
    batch_tokens: int | None = Field(
        None,
        ge=64,
        description="Tokens (padding included) that are encoded at once without gradients; unset: 16384, on a CPU "
        "1024, where more is slower.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="Arithmetic of the encoder. auto: bf16 on a GPU that has it, and on a CPU where a short "
        "measurement shows it to be clearly faster.",
    )
    attn_implementation: Literal["auto", "eager", "eager_bf16", "sdpa", "flash_attention_2"] = Field(
        "auto",
        description="Attention as transformers names it; eager_bf16 is ours. auto: flash_attention_2 on a GPU that has "
        "it and bf16, if it gives the same embeddings; else sdpa; on a CPU what a short measurement "
        "shows to be fastest.",
    )

    vector_cache: str = Field(
        "auto",
        description="Where vectors are kept, so that a model encodes no text twice. auto: in $SHARPEN_CACHE on this "
        "machine, in a pipeline on a cluster in vectors/ of its store; off: nowhere; else a folder or s3:// address, "
        "which several machines can share.",
    )

    vector_cache_gib: float = Field(
        20,
        ge=0,
        le=1e6,
        description="Size of the vector cache of this machine; beyond it the models used longest ago go.",
    )

    encoding_processes: int = Field(
        0,
        ge=0,
        le=1024,
        description="Processes of one machine that encode a large corpus together, at most one a GPU or core. "
        "0: one a GPU, else one; in a pipeline what job.processes says.",
    )

    @model_validator(mode="after")
    def _windows_advance(self) -> Self:
        # a model may bring its own length, which its encoder checks
        given, overlap, longest = "passage_max_len" in self.model_fields_set, self.window_overlap, self.passage_max_len
        if self.passage_windows != "none" and given and 2 * overlap > longest:
            raise ValueError(
                f"window_overlap {overlap} is more than half of passage_max_len {longest}; set at most {longest // 2}"
            )
        return self

    @field_validator("vector_cache")
    @classmethod
    def _check_address(cls, value: str) -> str:
        if scheme_of(value) not in ("", *SCHEMES):
            raise ValueError("must be auto, off, a folder or an s3:// address")
        return value

    @field_validator("query_instruction_format", "passage_instruction_format")
    @classmethod
    def _two_slots(cls, value: str) -> str:
        if value.count("{}") != 2 or value.replace("{}", "").count("{") or value.replace("{}", "").count("}"):
            raise ValueError("must contain {} exactly twice (instruction, text) and no other braces")
        if not value.endswith("{}"):
            # A saved model keeps its instruction as a prefix; it could not say what comes after the text.
            raise ValueError("must end with the {} that stands for the text")
        return value.replace("\\n", "\n")
