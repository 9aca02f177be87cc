"""Where an encoder runs, and with which arithmetic."""

from __future__ import annotations

import os

import torch

from sharpen.hardware import measurement as hardware


def default_device() -> torch.device:
    """This process's GPU if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether the encoder computes in bf16: as set, or where that is faster: on a CPU by measurement."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and hardware.choices()["precision"] == "bf16"
