"""Weighted sums of the weights of models, tensor by tensor: never more than a few tensors are in memory.

The sum is taken in float32, terms in the order of the models; a term with coefficient 0 is left out and a single one
with coefficient 1 is copied, so that interpolation with weight 0 or 1 gives one of its models to the bit.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from sharpen.errors import InputError
from sharpen.models import model_check

# Names of the file format, of the dtypes that weights have here.
_DTYPES = {
    torch.float32: ("F32", 4),
    torch.int64: ("I64", 8),
    torch.int32: ("I32", 4),
    torch.int16: ("I16", 2),
    torch.int8: ("I8", 1),
    torch.uint8: ("U8", 1),
    torch.bool: ("BOOL", 1),
}


@dataclass(frozen=True)
class WeightFiles:
    """The weights of one transformer in safetensors files.

    Attributes:
        address: of the model, for messages.
        files: name of a weight -> its file.
    """

    address: str
    files: Mapping[str, Path]

    @classmethod
    def of_folder(cls, address: str, folder: Path) -> WeightFiles:
        """Those of a `folder` of the model at an `address`.

        Raises:
            InputError: there are none, or a file is damaged.
        """
        model_check.read_tensors(address, folder)
        files: dict[str, Path] = {}
        for name in model_check.weight_files(address, folder):
            with safe_open(folder / name, framework="pt") as file:
                files |= dict.fromkeys(file.keys(), folder / name)
        return cls(address, files)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a weight."""
        with safe_open(self.files[name], framework="pt") as file:
            return tuple(file.get_slice(name).get_shape())

    def tensor(self, name: str) -> Tensor:
        """A weight, of a floating type as float32."""
        with safe_open(self.files[name], framework="pt") as file:
            found = file.get_tensor(name)
        return found.float() if found.is_floating_point() else found


def check_same(names: Sequence[str], sources: Sequence[WeightFiles]) -> None:
    """Raise InputError, a line each, for models that lack one of the weights or have it in another shape."""
    first, faults = sources[0], []
    for source in sources:
        missing = [name for name in names if name not in source.files]
        if missing:
            faults.append(
                f"{source.address}: lacks {len(missing)} of the {len(names)} weights of {first.address}, such as "
                f"{missing[0]}; merge models that were tuned from one base"
            )
            continue
        other = next((name for name in names if source.shape(name) != first.shape(name)), None)
        if other:
            shapes = [" x ".join(map(str, one.shape(other))) for one in (source, first)]
            faults.append(
                f"{source.address}: {other} is {shapes[0]}, but {shapes[1]} in {first.address}; merge models that "
                "were tuned from one base"
            )
    if faults:
        raise InputError(faults)


def weighted_sum(name: str, sources: Sequence[WeightFiles], coefficients: Sequence[float]) -> Tensor:
    """The sum of a weight over models.

    Args:
        name: of the weight.
        sources: the models.
        coefficients: of the models.

    Raises:
        InputError: it holds whole numbers that are not equal in all models.
    """
    first = sources[0].tensor(name)
    if not first.is_floating_point():
        for other in sources[1:]:
            if not torch.equal(first, other.tensor(name)):
                raise InputError(f"{other.address}: {name} (whole numbers) differs from that of {sources[0].address}")
        return first
    terms = [(source, value) for source, value in zip(sources, coefficients, strict=True) if value]
    if not terms:
        return torch.zeros_like(first)
    total: Tensor | None = None
    for source, value in terms:
        weight = first if source is sources[0] else source.tensor(name)
        weight = weight if value == 1 else weight * value
        total = weight if total is None else total + weight
    assert total is not None
    return total


def write_merged(
    target: Path,
    names: Sequence[str],
    sources: Sequence[WeightFiles],
    coefficients: Sequence[float],
    advance: Callable[[int], Any] = lambda count: None,
) -> None:
    """Write the weighted sums of weights into a safetensors file, as safetensors itself would write them.

    Args:
        target: the file.
        names: of the weights.
        sources: the models, checked by `check_same`.
        coefficients: of the models.
        advance: told of each weight that is written.

    Raises:
        InputError: weights that are no floats differ.
    """
    kinds = {name: _kind(sources[0], name) for name in names}
    ordered = sorted(names, key=lambda name: (-_alignment(kinds[name]), name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in ordered:
        dtype, shape = kinds[name]
        kind, size = _DTYPES[dtype]
        begin, end = end, end + size * int(torch.Size(shape).numel())
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with target.open("wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for name in ordered:
            merged = weighted_sum(name, sources, coefficients).contiguous()
            file.write(merged.reshape(-1).view(torch.uint8).numpy().data)
            advance(1)


def _kind(source: WeightFiles, name: str) -> tuple[torch.dtype, tuple[int, ...]]:
    """The type in which a weight is written, and its shape. Raises InputError: no such type is merged."""
    with safe_open(source.files[name], framework="pt") as file:
        found = file.get_slice(name)
        kind, shape = found.get_dtype(), tuple(found.get_shape())
    if kind.startswith(("F", "BF")):
        return torch.float32, shape
    known = {written: dtype for dtype, (written, _) in _DTYPES.items()}
    if kind not in known:
        raise InputError(f"{source.address}: {name} is of type {kind}, which cannot be merged")
    return known[kind], shape


def _alignment(kind: tuple[torch.dtype, tuple[int, ...]]) -> int:
    return _DTYPES[kind[0]][1]
