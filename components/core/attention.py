"""Which attention implementation a model runs with: the choice, and the check that it computes what it should."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from components.core.errors import InputError

FLASH = "flash_attention_2"
# What others are measured against: written in torch itself, with the padding mask as every model has it.
REFERENCES = ("sdpa", "eager")
# Texts up to here are trained with `eager` on a CPU, where its backward pass is twice as fast as that of `sdpa`.
LONG_ON_CPU = 512
# Texts up to here are encoded with `eager` on a CPU in bf16. MiniLM, one thread, thousands of tokens a second beside
# `sdpa`: 12.5 and 11.6 at 64 tokens, 8.5 and 7.8 at 256, but 6.6 and 6.9 at 512; in fp32 2.9 and 3.5 at 256.
SHORT_ON_CPU = 256
# Least cosine of two embeddings of one text, one per implementation. bf16 keeps 8 bits: two right implementations
# agree to 0.9999 in it; one that sees padding, or not all of the text, does not come near.
AGREEMENT = 0.999
# Of very different lengths, so that a batch of them is mostly padding.
PROBES = ("river", "the quick brown fox jumps over the lazy dog", "every text has words; " * 24)


def candidates(wanted: str, *, device: str, half: bool, flash: bool, longest: int, training: bool) -> list[str]:
    """Implementations to try, the best first; a model need not support all of them.

    Args:
        wanted: `EncoderSettings.attn_implementation`.
        device: ``cuda`` or ``cpu``.
        half: whether the encoder computes in half precision.
        flash: whether flash attention is installed.
        longest: most tokens of a text.
        training: whether a backward pass follows.

    Raises:
        InputError: flash attention was asked for and cannot run here.
    """
    if wanted == FLASH and (missing := _missing_for_flash(device, half, flash)):
        raise InputError(f"encoder.attn_implementation: {FLASH} needs {missing}; set it to auto")
    if wanted != "auto":
        return [wanted]
    if device == "cpu":
        # Never flash, nor lengths instead of a mask: on a CPU models ignore the lengths and return wrong embeddings.
        eager = longest <= LONG_ON_CPU if training else half and longest <= SHORT_ON_CPU
        return ["eager"] if eager else ["sdpa", "eager"]
    return [FLASH, "sdpa", "eager"] if device == "cuda" and flash and half else ["sdpa", "eager"]


def _missing_for_flash(device: str, half: bool, flash: bool) -> str:
    needs = {"a GPU": device == "cuda", "the package flash-attn": flash, "encoder.precision bf16": half}
    return next((what for what, there in needs.items() if not there), "")


def verified(model: Any, embed: Callable[[], Tensor]) -> str:
    """Leave the model with an implementation that gives right embeddings; returns its name.

    What is not one of `REFERENCES` must agree with one of them, else the reference stays and a note is printed.

    Args:
        model: a transformers model.
        embed: embeddings (n, d) of a few texts of different lengths, in one batch, by the model as it stands.
    """
    chosen = str(model.config._attn_implementation)
    if chosen in REFERENCES:
        return chosen
    found = embed()
    reference = _set_reference(model)
    agreement = torch.nn.functional.cosine_similarity(found.double(), embed().double(), dim=-1).min().item()
    if agreement >= AGREEMENT:
        model.set_attn_implementation(chosen)
        return chosen
    print(
        f"note: {chosen} gives other embeddings than {reference} (cosine {agreement:.4f}); {reference} is used",
        flush=True,
    )
    return reference


def _set_reference(model: Any) -> str:
    for name in REFERENCES:
        try:
            model.set_attn_implementation(name)
        except (ValueError, ImportError):
            continue
        return name
    raise AssertionError("every model has eager attention")
