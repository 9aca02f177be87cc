"""A model whose tokenizer knows more special tokens, as FlagEmbedding's `additional_special_tokens` makes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from sharpen.errors import InputError
from sharpen.models import model_check, model_hub
from sharpen.models.architecture import read_architecture
from sharpen.models.loading import load_transformer, quiet, shared_tokenizer


def with_special_tokens(model: str, tokens: Sequence[str], seed: int) -> Path:
    """The local folder of a model that has these tokens; those that are new get vectors drawn like the others.

    As in FlagEmbedding the new vectors are trained with all weights, and not with adapters.

    Args:
        model: its address, see `resolve_model`.
        tokens: never split by the tokenizer.
        seed: new vectors come from the normal distribution of the old ones, by this seed.

    Raises:
        InputError: as `resolve_model`, or the transformer is in a subfolder of the model, such as one of two towers.
    """
    folder = model_hub.resolve_model(model)
    facts = read_architecture(folder)
    if dict(facts.towers) != {"passage": ""}:
        raise InputError(f"--additional_special_tokens: {model} is no plain transformers folder; add them to it first")
    tokenizer = shared_tokenizer([folder], model)
    if set(tokens) <= tokenizer.get_vocab().keys():
        return folder

    def save(target: Path) -> None:
        tokenizer.add_tokens(list(tokens), special_tokens=True)
        transformer = load_transformer(folder, model, ["eager"])
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(seed)
            # a table may have more rows than the tokenizer has tokens
            rows = transformer.get_input_embeddings().num_embeddings
            transformer.resize_token_embeddings(max(rows, len(tokenizer)))
        transformer.save_pretrained(target)
        tokenizer.save_pretrained(target)

    others = model_hub.files_of(folder, without=("*.safetensors*", "config.json", *model_hub.TOKENIZER_FILES))
    dense = [f"{module.path}/{model_check.WEIGHTS}" for module in facts.dense.get("passage", ())]
    others |= {name: folder / name for name in dense}
    return model_hub.derived_model(folder, others, f"{[*tokens]} {seed}", save)
