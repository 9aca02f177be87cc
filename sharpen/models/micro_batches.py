"""Which rows are computed together, and how wide they are padded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Widths are multiples of this. Each other shape of a matrix product is compiled anew on a CPU, and its code is never
# given up: 4,000 passages of MedQuAD in widths of their own took 0.3 GiB more. GPUs too like multiples of 8.
PAD_MULTIPLE = 8
# Tokens of one micro-batch on a CPU: more only adds padding and misses its caches. Measured with MiniLM on passages of
# MedQuAD, one thread: 6,200 tokens/s in pieces of 16,384, 8,700 of 2,048, 9,000 of 1,024 and 8,800 of 512 (bf16);
# 2,600, 3,500, 3,600 and 3,500 (fp32). Training is alike: 2.5 s a step of 6,500 tokens in one piece, 2.1 s in pieces of
# 2,048, 1.9 s in pieces of 1,024 (bf16).
CPU_PIECE = 1024
GPU_PIECE = 16384
# A step of few tokens is cut into so many, though not into smaller ones than this, so that every core has some. By the
# step's tokens alone: a micro-batch must be the same on any number of cores.
_PIECES, _SMALLEST = 8, 256


def default_token_budget(device: torch.device) -> int:
    """Tokens of one micro-batch where no other number is set."""
    return CPU_PIECE if device.type == "cpu" else GPU_PIECE


def suitable_token_budget(device: torch.device, tokens: int) -> int:
    """Tokens of one micro-batch of a step that has so many in all, padding included."""
    if device.type != "cpu":
        return GPU_PIECE
    return max(_SMALLEST, min(CPU_PIECE, padded_length(tokens // _PIECES)))


def padded_length(longest: int) -> int:
    """Tokens to which the rows of a micro-batch are padded."""
    return -(-longest // PAD_MULTIPLE) * PAD_MULTIPLE


def padded(rows: Sequence[Sequence[int]], pad_id: int, most: int, side: str) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask (both n x width) of rows, padded on a side.

    Args:
        rows: token ids of n texts.
        pad_id: of the padding token.
        most: tokens that the model's positions allow; the width is no larger, unless a row is.
        side: ``right`` or ``left``.
    """
    longest = max(len(row) for row in rows)
    width = max(longest, min(padded_length(longest), most))
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for index, row in enumerate(rows):
        filled = slice(len(row)) if side == "right" else slice(width - len(row), width)
        ids[index, filled] = torch.tensor(row, dtype=torch.long)
        mask[index, filled] = 1
    return ids, mask


def micro_batches(lengths: Sequence[int], budget: int) -> list[tuple[int, int]]:
    """Cut rows, sorted from long to short, into (start, end) slices of at most `budget` tokens with padding.

    Args:
        lengths: tokens of each row, descending; the first row of a slice sets the width of all its rows.
        budget: most tokens of a slice; a single longer row makes a slice of its own.
    """
    slices, start = [], 0
    while start < len(lengths):
        end = min(len(lengths), start + max(1, budget // max(1, padded_length(lengths[start]))))
        slices.append((start, end))
        start = end
    return slices
