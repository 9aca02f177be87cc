"""Encoding many texts with the activations of only a few in memory.

Gradient cache (Gao et al. 2021, arXiv 2101.06983): texts are encoded without activations, the loss gives the gradient
of each embedding, and then each micro-batch is encoded again, with the same random numbers, and its part of the
gradient is propagated into the weights. Texts that fit into the budget keep their activations from the first pass,
so a batch that fits whole is encoded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from components.core.encoder import Encoder, Kind, micro_batches

TokenIds = Sequence[int] | np.ndarray

# Tokens of one micro-batch on a CPU: more only adds padding and misses its caches. Measured with MiniLM, 6,500 tokens,
# one thread, bf16: 2.5 s a step in one piece, 2.1 s in pieces of 2,048, 1.9 s in pieces of 1,024.
CPU_PIECE = 1024


@dataclass(frozen=True)
class Memory:
    """How much is encoded at once; the fields are those of `TrainingSettings`.

    Attributes:
        tokens: tokens, padding included, whose activations are held at once.
        rows: most texts of a micro-batch; None: only tokens limit it.
        cache: ``auto``, ``on`` (nothing keeps its activations) or ``off`` (everything does).
    """

    tokens: int = 16384
    rows: int | None = None
    cache: str = "auto"


@dataclass
class _Piece:
    """One micro-batch: which texts, and its embeddings with activations or the random state to make them again."""

    rows: list[int]
    kind: Kind | None = None
    embeddings: Tensor | None = None
    random: RandomState | None = None


@dataclass
class Encoding:
    """The first pass over some texts, and what the second needs.

    Attributes:
        embeddings: (n, d) without gradient, in the order of the texts.
    """

    encoder: Encoder
    tokens: Sequence[TokenIds]
    embeddings: Tensor
    pieces: list[_Piece] = field(default_factory=list)

    def backward(self, gradient: Tensor) -> None:
        """Add to the weights' gradients what d loss / d embeddings (n, d) gives."""
        # One block of autocast: it casts the weights once, and not for each micro-batch.
        with self.encoder.autocast():
            # Kept activations first: they are free before the first micro-batch is made again.
            for piece in reversed(self.pieces):
                embeddings, piece.embeddings = piece.embeddings, None
                if embeddings is None:
                    assert piece.random is not None
                    with piece.random.replayed():
                        embeddings = _forward(self.encoder, self.tokens, piece)
                # a gradient is computed in the types of its forward pass
                with torch.autocast(gradient.device.type, enabled=False):
                    embeddings.backward(gradient[torch.tensor(piece.rows, device=gradient.device)])
                del embeddings


def encode(encoder: Encoder, tokens: Sequence[TokenIds], memory: Memory, queries: int | None = None) -> Encoding:
    """First pass: embeddings (n, d, float32) of token ids, to be followed by `Encoding.backward`.

    Texts are sorted by length and cut into micro-batches by tokens, longest first, so that a batch that does not fit
    into memory fails at once. The encoder is in training mode or not as the caller set it.

    Args:
        encoder: gives the embeddings.
        tokens: token ids of each text.
        memory: how much is encoded at once.
        queries: how many of the texts are queries, which come first; only two towers need to know.
    """
    pieces = _pieces(encoder, tokens, memory, queries)
    encoding = Encoding(encoder, tokens, torch.empty(len(tokens), encoder.dimension, device=encoder.device), pieces)
    dropped = len(pieces) - _kept([_size(tokens, piece.rows) for piece in pieces], memory)
    # A block of autocast each: weights that it cast without gradient would be taken again where one is needed.
    for keep, part in ((False, pieces[:dropped]), (True, pieces[dropped:])):
        with encoder.autocast(), torch.set_grad_enabled(keep):
            for piece in part:
                if not keep:
                    piece.random = RandomState(encoder)
                embeddings = _forward(encoder, tokens, piece)
                piece.embeddings = embeddings if keep else None
                encoding.embeddings[torch.tensor(piece.rows, device=encoder.device)] = embeddings.detach()
    return encoding


def embed(encoder: Encoder, tokens: Sequence[TokenIds], memory: Memory, queries: int | None = None) -> Tensor:
    """Embeddings (n, d, float32) without any gradient, as in evaluation: dropout off. Arguments as for `encode`."""
    was_training = encoder.training
    encoder.eval()
    embeddings = torch.empty(len(tokens), encoder.dimension, device=encoder.device)
    with torch.inference_mode(), encoder.autocast():
        for piece in _pieces(encoder, tokens, memory, queries):
            embeddings[torch.tensor(piece.rows, device=encoder.device)] = _forward(encoder, tokens, piece)
    encoder.train(was_training)
    return embeddings


def _forward(encoder: Encoder, tokens: Sequence[TokenIds], piece: _Piece) -> Tensor:
    return encoder(**encoder.pad([cast("Sequence[int]", tokens[row]) for row in piece.rows]), kind=piece.kind)


def _pieces(encoder: Encoder, tokens: Sequence[TokenIds], memory: Memory, queries: int | None) -> list[_Piece]:
    """Micro-batches from long texts to short; queries and passages apart where they have a tower each."""
    if encoder.query_model is None or queries is None:
        return [_Piece(rows) for rows in plan(tokens, memory, encoder.device)]
    parts: dict[Kind, range] = {"query": range(queries), "passage": range(queries, len(tokens))}
    pieces = []
    for kind, part in parts.items():
        for rows in plan([tokens[row] for row in part], memory, encoder.device):
            pieces.append(_Piece([part[row] for row in rows], kind))
    return sorted(pieces, key=lambda piece: -len(tokens[piece.rows[0]]))


def plan(tokens: Sequence[TokenIds], memory: Memory, device: torch.device) -> list[list[int]]:
    """Micro-batches as lists of text numbers, from long texts to short."""
    order = sorted(range(len(tokens)), key=lambda row: -len(tokens[row]))
    budget = min(memory.tokens, CPU_PIECE) if device.type == "cpu" else memory.tokens
    pieces = []
    for start, end in micro_batches([len(tokens[row]) for row in order], budget):
        step = memory.rows or end - start
        pieces += [order[cut : min(cut + step, end)] for cut in range(start, end, step)]
    return pieces


def _size(tokens: Sequence[TokenIds], rows: list[int]) -> int:
    return len(rows) * max(len(tokens[row]) for row in rows)


def _kept(sizes: list[int], memory: Memory) -> int:
    """How many of the last micro-batches keep their activations."""
    if memory.cache != "auto":
        return len(sizes) if memory.cache == "off" else 0
    kept = total = 0
    for size in reversed(sizes):
        total += size
        if total > memory.tokens:
            break
        kept += 1
    return kept


class RandomState:
    """The state of the random number generators that dropout draws from, on the CPU and on the encoder's device."""

    def __init__(self, module: nn.Module) -> None:
        device = next(module.parameters()).device
        self.devices = [device] if device.type == "cuda" else []
        self.cpu = torch.get_rng_state()
        self.states = [torch.cuda.get_rng_state(one) for one in self.devices]

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """A block in which the generators stand as they did; afterwards they are where they were before it."""
        with torch.random.fork_rng(devices=[device.index or 0 for device in self.devices]):
            torch.set_rng_state(self.cpu)
            for device, state in zip(self.devices, self.states, strict=True):
                torch.cuda.set_rng_state(state, device)
            yield
