"""The tokenizer of an encoder: padding token, EOS at the end of every text, longest text, what is saved of it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import processors
from torch import nn

from sharpen.errors import InputError
from sharpen.settings import EncoderSettings
from sharpen.store.local_store import sha256_of
from sharpen.typed_json import sha256_json


def ensure_pad_token(tokenizer: Any, model: str) -> None:
    """Give a tokenizer that has no padding token its EOS token for that.

    Raises:
        InputError: it has neither.
    """
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise InputError(f"{model}: its tokenizer has neither a padding nor an EOS token; add a pad_token to it")
        tokenizer.pad_token = tokenizer.eos_token


def check_vocabulary(tokenizer: Any, model: Any, source: str) -> None:
    """Raise InputError about `source` where its model has no vector for a token that its tokenizer gives for a text.

    Classes of tokenizers bring special tokens of their own, for which a model that never sees them has no vector.
    """
    added = tokenizer.added_tokens_encoder
    largest = max((number for token, number in tokenizer.get_vocab().items() if token not in added), default=-1)
    embeddings = model.get_input_embeddings()
    rows = getattr(embeddings, "num_embeddings", None)
    if largest < 0 or (rows is not None and largest >= rows):
        raise InputError(
            f"{source}: its tokenizer knows tokens up to number {largest}, but the model has {rows} token vectors; the "
            "two do not belong together"
        )


def ensure_eos(tokenizer: Any, model: str) -> None:
    """Let the tokenizer end every text, cut ones too, with its EOS token, unless it ends them with a special token.

    The rule becomes part of the tokenizer, so that it is saved with it and every other library follows it.

    Raises:
        InputError: the tokenizer has no EOS token, or no rule that could be changed.
    """
    prefix, suffix = special_tokens(tokenizer)
    if suffix:
        return
    if tokenizer.eos_token is None or not tokenizer.is_fast:
        raise InputError(
            f"{model}: its tokenizer cannot end texts with an EOS token; set encoder.add_eos_token to false"
        )
    first, last = tokenizer.convert_ids_to_tokens(prefix), str(tokenizer.eos_token)
    single = [*(f"{name}:0" for name in first), "$A:0", f"{last}:0"]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single,
        pair=[*single, "$B:1", f"{last}:1"],
        special_tokens=[*zip(first, prefix, strict=True), (last, tokenizer.eos_token_id)],
    )


def special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Ids of the special tokens that the tokenizer puts before and after every text."""
    # A letter has a token in any vocabulary, be it the unknown one.
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next((n for n in range(len(whole)) if whole[n : n + len(plain)] == plain), len(whole))
    return whole[:start], whole[start + len(plain) :]


def longest(wanted: int, model: nn.Module, tokenizer: Any) -> int:
    """The wanted number of tokens, or the most that `model` and `tokenizer` can take."""
    limits = [wanted]
    if tokenizer.model_max_length and tokenizer.model_max_length < 10**6:
        limits.append(tokenizer.model_max_length)
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions and positions > 0:
        limits.append(positions - _first_position(model))
    return min(limits)


def check_lengths(tokenizer: Any, max_lengths: Mapping[str, int], settings: EncoderSettings, prompt: str) -> None:
    """Raise InputError where a longest text has no room for a token of the text, or a window for half a window more.

    Args:
        tokenizer: of the encoder; it would not cut the special tokens.
        max_lengths: tokens of a longest text by kind.
        settings: whether long passages are read in windows.
        prompt: before every passage and window.
    """
    special = tokenizer.num_special_tokens_to_add()
    faults = [
        f"encoder.{kind}_max_len: {longest} leaves no room next to the {special} special tokens of every text; set at "
        f"least {special + 1}"
        for kind, longest in max_lengths.items()
        if longest <= special
    ]
    if not faults and settings.passage_windows != "none":
        longest = max_lengths["passage"]
        room = longest - special - len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        if 2 * settings.window_overlap > room or room < 1:
            most = max(0, room // 2)
            faults.append(
                f"encoder.window_overlap: {settings.window_overlap} tokens are more than half of what a window "
                f"of {longest} has for text, next to prompt and special tokens; set at most {most}"
            )
    if faults:
        raise InputError(faults)


def _first_position(model: nn.Module) -> int:
    """Position of the first token: RoBERTa, its relatives and MPNet begin after that of padding."""
    for module in model.modules():
        padding = getattr(module, "padding_idx", None)
        if isinstance(padding, int) and isinstance(getattr(module, "position_embeddings", None), nn.Embedding):
            return padding + 1
    return 0


def content_hash(tokenizer: Any) -> str:
    """Of what is in the tokenizer's files, not of where they lie: pods load the same model from different folders."""
    facts: list[Any] = [type(tokenizer).__name__, tokenizer.truncation_side, tokenizer.pad_token_id]
    if tokenizer.is_fast:
        content = json.loads(tokenizer.backend_tokenizer.to_str())
        # left there by the last call
        content.update(truncation=None, padding=None)
        facts.append(content)
    else:
        with tempfile.TemporaryDirectory(prefix="sharpen-") as folder:
            paths = tokenizer.save_vocabulary(folder)
            facts.append({Path(path).name: sha256_of(Path(path)) for path in paths})
        facts += [tokenizer.get_added_vocab(), tokenizer.special_tokens_map]
    return sha256_json(facts)


def save(tokenizer: Any, folder: Path, *, padding_side: str) -> None:
    """Write the tokenizer into `folder`, padding on `padding_side`, without the length that its last call left."""
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    before, tokenizer.padding_side = tokenizer.padding_side, padding_side
    tokenizer.save_pretrained(folder)
    tokenizer.padding_side = before
