"""The head of a masked language model: token vectors -> a score for each token of the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForMaskedLM

from sharpen.errors import InputError
from sharpen.models import architecture, model_hub
from sharpen.models.encoder import Encoder
from sharpen.models.loading import quiet, readable

# The modules of each architecture's head, in their order. Its base model has `embeddings` that take ids or vectors.
_HEADS: dict[str, Callable[[Any], list[nn.Module]]] = {
    "bert": lambda model: [model.cls],
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert"), lambda model: [model.lm_head]),
    "distilbert": lambda model: [
        *(model.vocab_transform, model.activation, model.vocab_layer_norm, model.vocab_projector)
    ],
    "modernbert": lambda model: [model.head, model.decoder],
}


class MaskedLMHead(nn.Sequential):
    """Token vectors (..., d) -> scores (..., vocabulary).

    Attributes:
        is_new: the model's folder has no head, so it was drawn from a seed.
    """

    is_new = False


def check_masked_lm(encoder: Encoder, model: str) -> None:
    """Raise InputError, in one line about `model`, where a loaded encoder has no masked language model.

    Its architecture must be one whose head and embeddings are known, with one tower and a mask token.
    """
    kind = encoder.model.config.model_type
    if encoder.query_model is not None:
        raise InputError(f"{model}: has two towers; pre-train one of them, from its own folder")
    if kind not in _HEADS:
        raise InputError(f"{model}: {kind} models cannot be pre-trained here; those that can: {', '.join(_HEADS)}")
    if encoder.tokenizer.mask_token_id is None:
        raise InputError(f"{model}: its tokenizer has no mask token, which pre-training needs; add a mask_token to it")
    if not encoder.tokenizer.is_fast:
        raise InputError(f"{model}: its tokenizer does not know where words begin; use a fast one (tokenizer.json)")


def load_head(model: str, encoder: Encoder, seed: int) -> MaskedLMHead:
    """The head that belongs to an encoder, on its device; it shares the token embeddings where the model does.

    Args:
        model: address that the encoder was loaded from.
        encoder: passed by `check_masked_lm`.
        seed: of a head that the folder lacks.

    Raises:
        InputError: the folder cannot be read as a masked language model.
    """
    root = model_hub.resolve_model(model)
    folder = root / architecture.read_architecture(root, encoder.pooling).towers["passage"]
    with readable(model), quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        whole, found = AutoModelForMaskedLM.from_pretrained(
            folder,
            config=AutoConfig.from_pretrained(folder, trust_remote_code=False),
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    head = MaskedLMHead(*_HEADS[whole.config.model_type](whole))
    inner = whole.base_model_prefix + "."
    head.is_new = any(not name.startswith(inner) for name in found["missing_keys"])
    if whole.config.tie_word_embeddings:
        whole.get_output_embeddings().weight = encoder.model.get_input_embeddings().weight
    return head.to(encoder.device)


def embedded(encoder: Encoder, *, ids: Tensor | None = None, vectors: Tensor | None = None) -> Tensor:
    """What goes into the encoder's first layer (n, L, d), positions included where the model has learned ones.

    Args:
        encoder: passed by `check_masked_lm`.
        ids: (n, L) token ids; or
        vectors: (n, L, d) in the stead of token embeddings.
    """
    return encoder.model.embeddings(input_ids=ids, inputs_embeds=vectors)


def has_position_embeddings(encoder: Encoder) -> bool:
    """Whether `embedded` knows positions; rotary models have them in each layer instead."""
    return any(name.split(".")[-1] == "position_embeddings" for name, _ in encoder.model.embeddings.named_modules())
