"""Encoding many texts with the activations of only a few in memory.

Gradient cache (Gao et al. 2021, arXiv 2101.06983): texts are encoded without activations, the loss gives the gradient
of each embedding, and then each micro-batch is encoded again, with the same random numbers, and its part of the
gradient is propagated into the weights. As many texts as fit into memory keep their activations from the first pass,
so a batch that fits whole is encoded once. Which do changes no bit of the gradient.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from sharpen.data.text_type import TextType
from sharpen.embeddings.encoding import is_out_of_memory
from sharpen.hardware.cpu_ops import CpuOps, Draws, RowGradients, add_rows, collected_rows
from sharpen.hardware.free_memory import free_bytes
from sharpen.hardware.thread_pool import all_threads, map_in_threads, worker_count
from sharpen.models.encoder import Encoder
from sharpen.models.micro_batches import micro_batches, padded_length, suitable_token_budget
from sharpen.training.gradient.activation_budget import ActivationBudget

logger = logging.getLogger(__name__)

# Of the memory that is free, what gradients of micro-batches may take that wait for their turn to be added.
_SHARE_OF_GRADIENTS = 0.25
# Whether a model draws random numbers where threads would take them from each other.
_shared_draws: weakref.WeakKeyDictionary[Encoder, bool] = weakref.WeakKeyDictionary()

TokenIds = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class MicroBatchConfig:
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
    room: ActivationBudget = field(default_factory=ActivationBudget)


@dataclass
class _Piece:
    """One micro-batch: which texts, and its embeddings with activations or the random state to make them again."""

    rows: list[int]
    kind: TextType | None = None
    seed: tuple[int, ...] = (0,)
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
        """Add to the weights' gradients what d loss / d embeddings (n, d) gives.

        On a CPU each core has a micro-batch of its own. Their gradients are added in the order of the micro-batches, so
        the sum is the same to the bit on any number of cores.
        """
        lanes = _lanes(self.encoder, len(self.pieces), _gradients_that_fit(self.encoder))
        if lanes == 0:
            # One block of autocast: it casts the weights once, and not for each micro-batch.
            with _whole_machine(self.encoder), self.encoder.autocast():
                for piece in self.pieces:
                    self._again(piece, lambda made, given: made.backward(given), gradient)
            return
        weights = [weight for weight in self.encoder.parameters() if weight.requires_grad]

        def work(piece: _Piece) -> Callable[[], tuple[Sequence[Tensor | None], RowGradients]]:
            return lambda: self._gradients_of(piece, weights, gradient)

        for parts, rows in map_in_threads(map(work, self.pieces), lanes, self.encoder.autocast, ahead=lanes):
            for weight, part in zip(weights, parts, strict=True):
                if part is not None:
                    weight.grad = part if weight.grad is None else weight.grad.add_(part)
            add_rows(rows)

    def _gradients_of(
        self, piece: _Piece, weights: list[nn.Parameter], gradient: Tensor
    ) -> tuple[Sequence[Tensor | None], RowGradients]:
        """What a micro-batch adds to the gradient of each weight (None: nothing), and to rows of embeddings."""
        parts: list[Sequence[Tensor | None]] = []
        with collected_rows() as rows:
            self._again(
                piece,
                lambda made, given: parts.append(torch.autograd.grad([made], weights, [given], allow_unused=True)),
                gradient,
            )
        return parts[0], rows

    def _again(self, piece: _Piece, propagate: Callable[[Tensor, Tensor], None], gradient: Tensor) -> None:
        """Encode a micro-batch again, unless its activations were kept, and propagate; then they are free."""
        embeddings, piece.embeddings = piece.embeddings, None
        if embeddings is None:
            with piece.random.replayed() if piece.random is not None else nullcontext():
                embeddings = _forward(self.encoder, self.tokens, piece)
        # a gradient is computed in the types of its forward pass
        with torch.autocast(gradient.device.type, enabled=False):
            propagate(embeddings, gradient[torch.tensor(piece.rows, device=gradient.device)])


def encode(
    encoder: Encoder, tokens: Sequence[TokenIds], memory: MicroBatchConfig, queries: int | None = None
) -> Encoding:
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
    seed = int(torch.randint(2**62, (1,)))
    for number, piece in enumerate(pieces):
        piece.seed = (seed, number)
    encoding = Encoding(encoder, tokens, torch.empty(len(tokens), encoder.dimension, device=encoder.device), pieces)
    begun = RandomState(encoder)
    while True:
        try:
            _keeping(encoding, memory)
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
        logger.warning("note: memory ran out; training goes on with half as many activations kept")
    # A block of autocast of its own: weights that it cast without gradient would be taken again where one is needed.
    _first_pass(encoding, [piece for piece in pieces if piece.embeddings is None], None, torch.no_grad)
    return encoding


def _keeping(encoding: Encoding, memory: MicroBatchConfig) -> None:
    """Encode micro-batches with activations, from the first on, as long as there is room for them."""
    if memory.cache != "on":
        lanes = _lanes(encoding.encoder, len(encoding.pieces))
        memory.room.open(encoding.encoder, lanes)
        room = memory.room if memory.cache == "auto" else None
        _first_pass(encoding, encoding.pieces, room, torch.enable_grad)


def _first_pass(
    encoding: Encoding,
    pieces: list[_Piece],
    room: ActivationBudget | None,
    gradients: Callable[[], AbstractContextManager[object]],
) -> None:
    """Encode micro-batches; those for which there is no room are left out.

    Args:
        encoding: takes the embeddings.
        pieces: micro-batches, the longest first.
        room: for their activations; None: any number, or none is kept.
        gradients: the surroundings of a pass that keeps activations, or of one that does not.
    """
    encoder, tokens = encoding.encoder, encoding.tokens
    lanes = _lanes(encoder, len(pieces))

    def encoded(piece: _Piece) -> Tensor | None:
        size = _size(tokens, piece.rows)
        if room is not None and not room.has(size):
            return None
        kept = torch.is_grad_enabled()
        piece.random = None if kept or lanes else RandomState(encoder)
        with room.taking(encoder, size) if room is not None else nullcontext():
            embeddings = _forward(encoder, tokens, piece)
        piece.embeddings = embeddings if kept else None
        return embeddings.detach()

    def work(piece: _Piece) -> Callable[[], Tensor | None]:
        return lambda: encoded(piece)

    @contextmanager
    def surroundings() -> Iterator[None]:
        with encoder.autocast(), gradients():
            yield

    with ExitStack() as stack:
        if lanes == 0:
            stack.enter_context(_whole_machine(encoder))
            stack.enter_context(surroundings())
        for piece, embeddings in zip(pieces, map_in_threads(map(work, pieces), lanes, surroundings), strict=True):
            if embeddings is not None:
                encoding.put(piece, embeddings)


def embed(encoder: Encoder, tokens: Sequence[TokenIds], memory: MicroBatchConfig, queries: int | None = None) -> Tensor:
    """Embeddings (n, d, float32) without any gradient, as in evaluation: dropout off. Arguments as for `encode`."""
    was_training = encoder.training
    encoder.eval()
    pieces = _pieces(encoder, tokens, memory, queries)
    encoding = Encoding(encoder, tokens, torch.empty(len(tokens), encoder.dimension, device=encoder.device), pieces)
    _first_pass(encoding, pieces, None, torch.inference_mode)
    encoder.train(was_training)
    return encoding.embeddings


def _lanes(encoder: Encoder, pieces: int, most: int | None = None) -> int:
    """Threads that compute a micro-batch each; 0: this one, with as many threads for each operation as there are."""
    lanes = worker_count(encoder.device, pieces)
    if lanes == 0 or (most is not None and most < 2) or _draws_from_torch(encoder):
        return 0
    return lanes if most is None else min(lanes, most)


def _gradients_that_fit(encoder: Encoder) -> int:
    """Micro-batches whose gradients of all weights may be in memory at once; a lane has one, and one is being added."""
    size = 4 * sum(weight.numel() for weight in encoder.parameters() if weight.requires_grad)
    return int(_SHARE_OF_GRADIENTS * free_bytes(encoder.device) / max(1, size)) - 1


def _draws_from_torch(encoder: Encoder) -> bool:
    """Whether the model in training draws from torch's own generator, which all threads share.

    Dropout does not, inside of `CpuOps`; layers that are left out at random do. One micro-batch then follows the other.
    """
    if not encoder.training:
        return False
    if encoder not in _shared_draws:
        before = torch.get_rng_state()
        kinds: list[TextType | None] = [None] if encoder.query_model is None else ["query", "passage"]
        with torch.no_grad(), encoder.autocast():
            for kind in kinds:
                _forward(encoder, encoder.tokenize(["a few words", "more"], "passage"), _Piece([0, 1], kind))
        _shared_draws[encoder] = not torch.equal(torch.get_rng_state(), before)
        torch.set_rng_state(before)
    return _shared_draws[encoder]


def _whole_machine(encoder: Encoder) -> AbstractContextManager[None]:
    return all_threads() if encoder.device.type == "cpu" else nullcontext()


def _forward(encoder: Encoder, tokens: Sequence[TokenIds], piece: _Piece) -> Tensor:
    padded = encoder.pad([cast("Sequence[int]", tokens[row]) for row in piece.rows])
    with CpuOps(Draws(piece.seed)) if encoder.device.type == "cpu" else nullcontext():
        return encoder(**padded, kind=piece.kind)


def _pieces(
    encoder: Encoder, tokens: Sequence[TokenIds], memory: MicroBatchConfig, queries: int | None
) -> list[_Piece]:
    """Micro-batches from long texts to short; queries and passages apart where they have a tower each."""
    if encoder.query_model is None or queries is None:
        return [_Piece(rows) for rows in plan(tokens, memory, encoder.device)]
    parts: dict[TextType, range] = {"query": range(queries), "passage": range(queries, len(tokens))}
    pieces = []
    for kind, part in parts.items():
        for rows in plan([tokens[row] for row in part], memory, encoder.device):
            pieces.append(_Piece([part[row] for row in rows], kind))
    return sorted(pieces, key=lambda piece: -len(tokens[piece.rows[0]]))


def plan(tokens: Sequence[TokenIds], memory: MicroBatchConfig, device: torch.device) -> list[list[int]]:
    """Micro-batches as lists of text numbers, from long texts to short."""
    order = sorted(range(len(tokens)), key=lambda row: -len(tokens[row]))
    lengths = [len(tokens[row]) for row in order]
    budget = memory.tokens or suitable_token_budget(device, sum(map(padded_length, lengths)))
    pieces = []
    for start, end in micro_batches(lengths, budget):
        step = memory.rows or end - start
        pieces += [order[cut : min(cut + step, end)] for cut in range(start, end, step)]
    return pieces


def _size(tokens: Sequence[TokenIds], rows: list[int]) -> int:
    return len(rows) * padded_length(max(len(tokens[row]) for row in rows))


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
