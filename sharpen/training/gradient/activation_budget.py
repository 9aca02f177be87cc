"""How many activations are kept for the backward pass: as many as fit into memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from sharpen.distributed import local_part
from sharpen.hardware.free_memory import free_bytes
from sharpen.models.encoder import Encoder

# Of the memory that is free before the first step. On a CPU the machine has other users, and who takes too much there
# is killed without warning; on a GPU the rest is for the loss, the micro-batch in work and fragmentation.
_SHARE = {"cpu": 0.25, "cuda": 0.6}
# Gradient and AdamW's two moments of a trained weight, in bytes; they do not exist before the first step.
_BYTES_OF_A_WEIGHT = 12
_BYTES_OF_A_NUMBER = 4


class ActivationBudget:
    """The memory for activations of one process; threads that encode side by side share it.

    Args:
        size: bytes; None: a share of what is free when the first step begins.

    Attributes:
        taken: bytes that the activations kept in this step take.
    """

    def __init__(self, size: float | None = None) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._begin(1)

    def _begin(self, always: int) -> None:
        self.taken = self._a_token = 0.0
        self._always, self._promised, self._full = always, 0, False

    def reset(self, encoder: Encoder, threads: int = 1) -> None:
        """Begin a step: nothing is taken."""
        if self._size is None:
            weights = sum(local_part(weight).numel() for weight in encoder.parameters() if weight.requires_grad)
            share = _SHARE.get(encoder.device.type, min(_SHARE.values()))
            self._size = max(0.0, share * free_bytes(encoder.device) - _BYTES_OF_A_WEIGHT * weights)
        self._begin(max(1, threads))

    def fits(self, tokens: int) -> bool:
        """Whether as many more tokens fit, going by what a token of the last micro-batch took; if so they are promised.

        The first micro-batch of each thread always fits: in the second pass each thread has one in memory anyway.
        After one that did not fit none does.
        """
        with self._lock:
            assert self._size is not None
            expected = self.taken + (self._promised + tokens) * self._a_token
            self._full |= self._always == 0 and expected > self._size
            if not self._full:
                self._always = max(0, self._always - 1)
                self._promised += tokens
            return not self._full

    @contextmanager
    def track(self, encoder: Encoder, tokens: int) -> Iterator[None]:
        """A forward pass over a micro-batch of so many tokens, padding included, whose activations are kept."""
        with _Measured(encoder) as measured:
            yield
        # with gradient checkpointing the layers' inputs are kept where this cannot see them
        config = encoder.model.config
        least = 2.0 * tokens * config.hidden_size * getattr(config, "num_hidden_layers", 0) * _BYTES_OF_A_NUMBER
        taken = max(measured.bytes, least)
        with self._lock:
            self.taken += taken
            self._promised = max(0, self._promised - tokens)
            self._a_token = taken / tokens

    def shrink(self) -> None:
        """Memory ran out: from now on half of what was kept is kept."""
        self._size = self.taken / 2


class _Measured:
    """Bytes that a block's forward pass leaves behind for the backward pass."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.bytes = 0.0

    def __enter__(self) -> _Measured:
        device = self.encoder.device
        self._before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
        self._saved: dict[int, int] = {}
        self._weights = self._weight_storages()
        self._shapes = {tuple(sorted(weight.shape)) for weight in self.encoder.parameters()}
        # on a GPU the allocator knows better
        self._hooks = None if device.type == "cuda" else torch.autograd.graph.saved_tensors_hooks(self._pack, _same)
        if self._hooks is not None:
            self._hooks.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._hooks is None:
            self.bytes = float(torch.cuda.memory_allocated(self.encoder.device) - self._before)
            return
        self._hooks.__exit__(*raised)
        self.bytes = float(sum(self._saved.values()))

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        address = storage.data_ptr()
        if self.encoder.sharded and address not in self._weights and tuple(sorted(tensor.shape)) in self._shapes:
            # shards are whole only while their layer computes
            self._weights |= self._weight_storages()
        if address not in self._weights:
            self._saved[address] = storage.nbytes()
        return tensor

    def _weight_storages(self) -> set[int]:
        return {local_part(weight).untyped_storage().data_ptr() for weight in self.encoder.parameters()}


def _same(tensor: Tensor) -> Tensor:
    return tensor
