"""Weighted sums of the weights of models, tensor by tensor: never more than a few tensors are in memory.

The sum is taken in float32, terms in the order of the models; a term with coefficient 0 is left out and a single one
with coefficient 1 is copied, so that interpolation with weight 0 or 1 gives one of its models to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sharpen.merging.errors import NotMergeable
from sharpen.models.weights import DTYPES, TensorForm, WeightFiles, write_tensors


def check_same(names: Sequence[str], sources: Sequence[WeightFiles]) -> None:
    """Raise NotMergeable, a line each, for models that lack one of the weights or have it in another shape."""
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
        raise NotMergeable(faults)


def weighted_sum(name: str, sources: Sequence[WeightFiles], coefficients: Sequence[float]) -> Tensor:
    """The sum of a weight over models.

    Args:
        name: of the weight.
        sources: the models.
        coefficients: of the models.

    Raises:
        NotMergeable: it holds whole numbers that are not equal in all models.
    """
    first = sources[0].tensor(name)
    if not first.is_floating_point():
        for other in sources[1:]:
            if not torch.equal(first, other.tensor(name)):
                raise NotMergeable(f"{other.address}: {name} (whole numbers) differs from that of {sources[0].address}")
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
    """Write the weighted sums of weights into a safetensors file.

    Args:
        target: the file.
        names: of the weights.
        sources: the models, checked by `check_same`.
        coefficients: of the models.
        advance: told of each weight that is written.

    Raises:
        NotMergeable: weights that are no floats differ, or are of a type that is not merged.
    """
    forms = {name: _form(sources[0], name) for name in names}
    write_tensors(target, forms, lambda name: weighted_sum(name, sources, coefficients), advance)


def _form(source: WeightFiles, name: str) -> TensorForm:
    """In which a weight is written. Raises NotMergeable: weights of its type are not merged."""
    kind, shape = source.dtype(name), source.shape(name)
    if kind.startswith(("F", "BF")):
        return TensorForm(torch.float32, shape)
    known = {written: dtype for dtype, written in DTYPES.items()}
    if kind not in known:
        raise NotMergeable(f"{source.address}: {name} is of type {kind}, which cannot be merged")
    return TensorForm(known[kind], shape)
