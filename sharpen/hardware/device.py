"""Where an encoder runs, and with which arithmetic."""

from __future__ import annotations

import logging
import os
from functools import cache

import torch

from sharpen.hardware import measurement as hardware

logger = logging.getLogger(__name__)


def default_device() -> torch.device:
    """This process's GPU if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether the encoder computes in bf16: as set, or where that is faster: on a CPU by measurement."""
    if precision == "bf16" and device.type == "cpu":
        _warn_where_slow()
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and hardware.choices()["precision"] == "bf16"


@cache
def _warn_where_slow() -> None:
    """Processors without bf16 units emulate them, which can take 40 times as long; say so once a process."""
    speed = hardware.choices()["bf16_speed"]
    if speed * hardware.CLEARLY < 1:
        logger.warning(
            f"note: precision: bf16 was set, but a step takes about {1 / speed:.1f} times as long as in fp32 on this "
            "processor; leave it at auto to have the faster one"
        )
