"""The one writer of safetensors files whose tensors are made while they are written."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from sharpen.distributed import whole

# in the order of safetensors' own list, which its files follow from the end
DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
}
"""Type of a tensor -> its name in the format (https://github.com/huggingface/safetensors#format)."""
_RANKS = {dtype: rank for rank, dtype in enumerate(DTYPES)}


class TensorForm(NamedTuple):
    """What must be known of a tensor before it is written."""

    dtype: torch.dtype
    shape: tuple[int, ...]


def write_tensors(
    path: Path | None,
    forms: Mapping[str, TensorForm],
    make: Callable[[str], Tensor],
    advance: Callable[[int], Any] = lambda count: None,
) -> None:
    """Write tensors, to the byte as ``safetensors.torch.save_file`` does, of which one at a time is in memory.

    Args:
        path: of the file; None: each tensor is made and none is written, as where processes gather one together.
        forms: of all tensors, by name.
        make: name -> the tensor, of the form that was said.
        advance: told of each tensor that is written.

    Raises:
        ValueError: a tensor has another form.
    """
    # the longest numbers come first, so that each tensor is aligned to its own
    ordered = sorted(forms, key=lambda name: (-_RANKS[forms[name].dtype], name))
    # a file that is there may be mapped: tensors that were loaded from it are perhaps those that are written
    beginning = path.with_name(f".{path.name}") if path else None
    with beginning.open("wb") if beginning else nullcontext() as file:
        if file is not None:
            file.write(_header({name: forms[name] for name in ordered}))
        for name in ordered:
            tensor = make(name).detach().cpu().contiguous()
            if (tensor.dtype, tuple(tensor.shape)) != (forms[name].dtype, tuple(forms[name].shape)):
                raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}, not {forms[name]}")
            if file is not None:
                file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
            advance(1)
    if path and beginning:
        beginning.replace(path)


def save_tensors(tensors: Mapping[str, Tensor], path: Path, *, first: bool = True) -> None:
    """Write tensors, those in shards as whole ones, of which the first process has one at a time.

    Args:
        tensors: equally named on every process.
        path: of the file.
        first: whether this is the first process, which writes; where there are shards, the others must call this too.
    """
    if first or any(isinstance(tensor, DTensor) for tensor in tensors.values()):
        forms = {name: TensorForm(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
        write_tensors(path if first else None, forms, lambda name: whole(tensors[name].detach()))


def _header(forms: Mapping[str, TensorForm]) -> bytes:
    """What stands before the numbers of tensors: its length, and where each of them is, in their order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in forms.items():
        begin, end = end, end + dtype.itemsize * torch.Size(shape).numel()
        header[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
