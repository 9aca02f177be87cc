"""The size in which passages will be stored, in the loss: the very codes of the index, read back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sharpen.errors import InputError
from sharpen.index.quantization import codec_for
from sharpen.index.settings import Precision
from sharpen.index.sizes import size_of
from sharpen.losses.contrastive import StoredSize


def check(name: str, dimension: int, model: str) -> None:
    """Raise InputError where a size (`name`) does not fit a `model` with embeddings of a `dimension`."""
    size = size_of(name)
    if size is None:
        return
    if size.dimension > dimension:
        raise InputError(f"served_size: {name} but {model} has only {dimension} dimensions")
    if size.precision == "binary" and (size.dimension or dimension) % 8:
        raise InputError(f"served_size: {name}: bits fill bytes, so write a multiple of 8 dimensions")


def stored_size(name: str) -> StoredSize | None:
    """What the loss needs of a size; None where its numbers stay what they are, to rounding."""
    size = size_of(name)
    if size is None or size.precision not in ("int8", "binary"):
        return None
    precision = size.precision
    return StoredSize(size.dimension, lambda passages: read_back(passages, precision))


def read_back(passages: Tensor, precision: Precision) -> Tensor:
    """Passages (m, d) as the index reads them back.

    As in the index one scale serves all, here that of the batch. Bits become vectors of length 1, not of +1 and -1:
    that changes no ranking, and leaves scores in the range for which the temperature is meant.

    Args:
        passages: finite or not; a loss of others is found to be none.
        precision: of the stored numbers.
    """
    values = passages.detach().float().cpu().numpy()
    if not len(values) or not np.isfinite(values).all():
        return passages
    codec = codec_for(precision, values.shape[1], float(np.abs(values).max()))
    found = torch.from_numpy(codec.read_back(values)).to(passages)
    return found / values.shape[1] ** 0.5 if precision == "binary" else found
