"""Encoding many texts with the activations of only a few in memory.

Gradient cache (Gao et al. 2021, arXiv 2101.06983): texts are encoded without activations, the loss gives the gradient
of each embedding, and then each micro-batch is encoded again, with the same random numbers, and its part of the
gradient is propagated into the weights. As many texts as fit into memory keep their activations from the first pass,
so a batch that fits whole is encoded once. Which do changes no bit of the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from components.core.encoder import Encoder, Kind
from components.core.encoding import is_out_of_memory
from components.core.micro_batches import micro_batches, usual_piece, width
from components.finetuning.activations import Room

TokenIds = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class Memory:
    """How much is encoded at once; the fields are those of `TrainingSettings`.

    Attributes:
        tokens: most tokens of a micro-batch, padding included; None: what suits the device.
        rows: most texts of a micro-batch; None: only tokens limit it.
        cache: ``auto`` (what fits into `room` keeps its activations), ``on`` (nothing does) or ``off``
            (everything does).
        room: for activations that are kept.
    """

    tokens: int | None = None
    rows: int | None = None
    cache: str = "auto"
    room: Room = field(default_factory=Room)


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

    def put(self, piece: _Piece, embeddings: Tensor) -> None:
        """Take over what the first pass gave for a micro-batch."""
        self.embeddings[torch.tensor(piece.rows, device=self.embeddings.device)] = embeddings.detach()

    def backward(self, gradient: Tensor) -> None:
        """Add to the weights' gradients what d loss / d embeddings (n, d) gives."""
        # One block of autocast: it casts the weights once, and not for each micro-batch.
        with self.encoder.autocast():
            # Those that were kept come first: they are free before the first micro-batch is made again.
            for piece in self.pieces:
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
    begun = RandomState(encoder)
    while True:
        try:
            kept = _keeping(encoding, memory)
            break
        except (RuntimeError, MemoryError) as error:
            if (
                memory.cache != "auto"
                or not is_out_of_memory(error)
                or not any(p.embeddings is not None for p in pieces)
            ):
                raise
        # outside of the handler: there the traceback still holds activations
        memory.room.shrink()
        begun.restore()
        for piece in pieces:
            piece.embeddings = None
        print("note: memory ran out; training goes on with half as many activations kept", flush=True)
    # A block of autocast of its own: weights that it cast without gradient would be taken again where one is needed.
    with encoder.autocast(), torch.no_grad():
        for piece in pieces[kept:]:
            piece.random = RandomState(encoder)
            encoding.put(piece, _forward(encoder, tokens, piece))
    return encoding


def _keeping(encoding: Encoding, memory: Memory) -> int:
    """Encode micro-batches with activations as long as there is room for them; how many that were."""
    if memory.cache == "on":
        return 0
    encoder, pieces = encoding.encoder, encoding.pieces
    memory.room.open(encoder)
    with encoder.autocast(), torch.enable_grad():
        for number, piece in enumerate(pieces):
            size = _size(encoding.tokens, piece.rows)
            if memory.cache == "auto" and not memory.room.has(size):
                return number
            with memory.room.taking(encoder, size) if memory.cache == "auto" else nullcontext():
                piece.embeddings = _forward(encoder, encoding.tokens, piece)
            encoding.put(piece, piece.embeddings)
    return len(pieces)


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
    budget = memory.tokens or usual_piece(device)
    pieces = []
    for start, end in micro_batches([len(tokens[row]) for row in order], budget):
        step = memory.rows or end - start
        pieces += [order[cut : min(cut + step, end)] for cut in range(start, end, step)]
    return pieces


def _size(tokens: Sequence[TokenIds], rows: list[int]) -> int:
    return len(rows) * width(max(len(tokens[row]) for row in rows))


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
            self.restore()
            yield

    def restore(self) -> None:
        """Put the generators where they stood."""
        torch.set_rng_state(self.cpu)
        for device, state in zip(self.devices, self.states, strict=True):
            torch.cuda.set_rng_state(state, device)
