"""Which texts are encoded together, and what is needed to encode them again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from sharpen.data.text_type import TextType
from sharpen.models.encoder import Encoder
from sharpen.models.micro_batches import micro_batches, padded_length, suitable_token_budget
from sharpen.training.gradient.activation_budget import ActivationBudget

TokenIds = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class MicroBatchConfig:
    """How much is encoded at once; the fields are those of `TrainingSettings`.

    Attributes:
        tokens: most tokens of a micro-batch, padding included; None: what suits the device.
        rows: most texts of a micro-batch; None: only tokens limit it.
        cache: ``auto`` (what fits into `budget` keeps its activations), ``on`` (nothing does) or ``off``
            (everything does).
        budget: for activations that are kept.
    """

    tokens: int | None = None
    rows: int | None = None
    cache: str = "auto"
    budget: ActivationBudget = field(default_factory=ActivationBudget)


@dataclass
class MicroBatch:
    """One micro-batch: which texts, and its embeddings with activations or the random state to make them again.

    One without texts is computed with a token that nothing depends on, to be in step with other processes.
    """

    rows: list[int]
    kind: TextType | None = None
    seed: tuple[int, ...] = (0,)
    embeddings: Tensor | None = None
    random: RandomState | None = None

    def index(self, device: torch.device) -> Tensor:
        """The texts as an index of tensors."""
        return torch.tensor(self.rows, dtype=torch.long, device=device)


def cut_micro_batches(
    encoder: Encoder, tokens: Sequence[TokenIds], memory: MicroBatchConfig, queries: int | None
) -> list[MicroBatch]:
    """Micro-batches from long texts to short; queries and passages separately where they have a tower each.

    Args:
        encoder: whose towers decide what goes together.
        tokens: ids of n texts.
        memory: the budget of a micro-batch.
        queries: how many texts, the first ones, are queries; None: unknown.
    """
    if encoder.query_model is None or queries is None:
        return [MicroBatch(rows) for rows in plan(tokens, memory, encoder.device)]
    parts: dict[TextType, range] = {"query": range(queries), "passage": range(queries, len(tokens))}
    batches = []
    for kind, part in parts.items():
        for rows in plan([tokens[row] for row in part], memory, encoder.device):
            batches.append(MicroBatch([part[row] for row in rows], kind))
    return sorted(batches, key=lambda micro_batch: -len(tokens[micro_batch.rows[0]]))


def plan(tokens: Sequence[TokenIds], memory: MicroBatchConfig, device: torch.device) -> list[list[int]]:
    """Micro-batches within `memory` on a `device`, as lists of numbers of `tokens`, from long texts to short."""
    order = sorted(range(len(tokens)), key=lambda row: -len(tokens[row]))
    lengths = [len(tokens[row]) for row in order]
    most = memory.tokens or suitable_token_budget(device, sum(map(padded_length, lengths)))
    batches = []
    for start, end in micro_batches(lengths, most):
        step = memory.rows or end - start
        batches += [order[cut : min(cut + step, end)] for cut in range(start, end, step)]
    return batches


def padded_tokens(tokens: Sequence[TokenIds], rows: list[int]) -> int:
    """Tokens of a micro-batch of these texts, padding included."""
    return len(rows) * padded_length(max(len(tokens[row]) for row in rows)) if rows else 1


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
