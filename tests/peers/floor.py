"""FLOPs that training, encoding and search cannot do without."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

FORMULA = (
    "per text of t tokens and layer, forward: t (8 d^2 + 4 d f) for the linear maps and 4 t^2 d for attention "
    "(d hidden, f intermediate size; 2 FLOPs a multiply-add); forward and backward: three times that; "
    "padding, embedding tables, norms, softmax, loss, optimiser and a second forward pass count nothing"
)


def training_flops(lengths: Iterable[int], config: Any) -> float:
    """FLOPs of one forward and backward pass over texts of these token counts; arguments as for `encoding_flops`."""
    return 3.0 * encoding_flops(lengths, config)


def encoding_flops(lengths: Iterable[int], config: Any) -> float:
    """FLOPs of one forward pass over texts of these token counts; see `FORMULA`.

    Args:
        lengths: tokens of each text, special tokens included, padding not.
        config: transformers' configuration of a BERT-like encoder.
    """
    d, f, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    return float(layers * sum(t * (8 * d * d + 4 * d * f) + 4 * t * t * d for t in lengths))


def search_flops(queries: int, passages: int, dimension: int) -> float:
    """FLOPs of all inner products of queries and passages."""
    return 2.0 * queries * passages * dimension
