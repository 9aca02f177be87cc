"""Tensors of a checkpoint as safetensors, written one by one where they are in shards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from sharpen.distributed import whole

# as https://github.com/huggingface/safetensors#format names them
_TYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_TYPES |= {torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}


def save_tensors(tensors: Mapping[str, Tensor], path: Path, *, first: bool) -> None:
    """Write tensors, those in shards as whole ones, of which the first process has one at a time.

    Args:
        tensors: equally named on every process.
        path: of the file.
        first: whether this is the first process, which writes; where there are shards, the others must call this too.
    """
    if any(isinstance(tensor, DTensor) for tensor in tensors.values()):
        _save_gathered(tensors, path, first)
    elif first:
        whole_ones = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(whole_ones, path, metadata={"format": "pt"})


def _save_gathered(tensors: Mapping[str, Tensor], path: Path, first: bool) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    # the format wants each tensor aligned to its numbers: those of 8 bytes come first
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    for name, tensor in ordered:
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    written = json.dumps(header).encode()
    written += b" " * (-len(written) % 8)
    with path.open("wb") if first else nullcontext() as file:
        if file is not None:
            file.write(len(written).to_bytes(8, "little") + written)
        for _, tensor in ordered:
            numbers = whole(tensor.detach()).cpu().contiguous()
            if file is not None:
                file.write(numbers.reshape(-1).view(torch.uint8).numpy().data)
