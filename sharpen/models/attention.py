"""Which attention implementation a model runs with: the choice, and the check that it computes what it should."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.utils.import_utils import is_flash_attn_2_available

from sharpen.errors import InputError
from sharpen.hardware import measurement
from sharpen.hardware.device import use_bf16
from sharpen.settings import EncoderSettings

logger = logging.getLogger(__name__)

FLASH = "flash_attention_2"
# What others are measured against: written in torch itself, with the padding mask as every model has it.
REFERENCES = ("sdpa", "eager")
# Least cosine of two embeddings of one text, one per implementation. bf16 keeps 8 bits: two right implementations
# agree to 0.9999 in it; one that sees padding, or not all of the text, does not come near.
AGREEMENT = 0.999
# Of very different lengths, so that a batch of them is mostly padding.
PROBE_TEXTS = ("river", "the quick brown fox jumps over the lazy dog", "every text has words; " * 24)
# How configurations call the tokens that a local layer sees.
_WINDOWS = ("sliding_window", "local_attention", "attention_window")


def implementations_to_try(wanted: str, *, device: str, half: bool, flash: bool, fast: Callable[[], str]) -> list[str]:
    """Implementations to try, the best first; a model need not support all of them.

    Args:
        wanted: `EncoderSettings.attn_implementation`.
        device: ``cuda`` or ``cpu``.
        half: whether the encoder computes in half precision.
        flash: whether flash attention is installed.
        fast: gives the implementation that is fast on this CPU; called only where it decides.

    Raises:
        InputError: flash attention was requested and cannot run here.
    """
    if wanted == FLASH and (missing := _missing_for_flash(device, half, flash)):
        raise InputError(f"encoder.attn_implementation: {FLASH} needs {missing}; set it to auto")
    if wanted != "auto":
        return [wanted]
    if device == "cpu":
        # Never flash, nor lengths instead of a mask: on a CPU models ignore the lengths and return wrong embeddings.
        return list(dict.fromkeys([fast(), "sdpa", "eager"]))
    return [FLASH, "sdpa", "eager"] if device == "cuda" and flash and half else ["sdpa", "eager"]


def suitable_implementations(settings: EncoderSettings, device: torch.device, *, training: bool) -> list[str]:
    """`implementations_to_try` for an encoder on a `device` of this machine.

    Args:
        settings: of the encoder.
        device: where it runs.
        training: whether it will be trained.
    """
    half = use_bf16(settings.precision, device)
    longest = max(settings.query_max_len, settings.passage_max_len)
    return implementations_to_try(
        settings.attn_implementation,
        device=device.type,
        half=half,
        flash=is_flash_attn_2_available(),
        fast=lambda: measurement.fast_attention("bf16" if half else "fp32", longest, training=training),
    )


def _missing_for_flash(device: str, half: bool, flash: bool) -> str:
    needs = {"a GPU": device == "cuda", "the package flash-attn": flash, "encoder.precision bf16": half}
    return next((what for what, there in needs.items() if not there), "")


def verify_or_fallback(model: Any, embed: Callable[[], Tensor]) -> str:
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
    logger.warning(
        f"note: {chosen} gives other embeddings than {reference} (cosine {agreement:.4f}); {reference} is used"
    )
    return reference


def probes(config: Any) -> tuple[str, ...]:
    """Texts to compare implementations by: the longest is half as long again as a local layer's window.

    A shorter one would see all of itself, and so would its padding: a wrong window would not show.
    """
    given = [getattr(config, name, None) for name in _WINDOWS]
    windows = [one for value in given for one in (value if isinstance(value, (list, tuple)) else [value])]
    widest = max((one for one in windows if isinstance(one, int)), default=0)
    # squares repeat nothing, and each is a token at least
    return (*PROBE_TEXTS, " ".join(str(number**2) for number in range(3 * widest // 2))) if widest else PROBE_TEXTS


def _set_reference(model: Any) -> str:
    for name in REFERENCES:
        try:
            model.set_attn_implementation(name)
        except (ValueError, ImportError):
            continue
        return name
    raise AssertionError("every model has eager attention")
