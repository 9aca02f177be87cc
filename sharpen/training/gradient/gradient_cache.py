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
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from sharpen.data.text_type import TextType
from sharpen.embeddings.encoding import is_out_of_memory
from sharpen.hardware.cpu_ops import CpuOps, RandomStream
from sharpen.hardware.free_memory import free_bytes
from sharpen.hardware.thread_pool import all_threads, map_in_threads, worker_count
from sharpen.models.encoder import Encoder
from sharpen.training.gradient.accumulation import Gradients, accumulate, gradients_of
from sharpen.training.gradient.activation_budget import ActivationBudget
from sharpen.training.gradient.in_step import in_step, on_all
from sharpen.training.gradient.micro_batch import (
    MicroBatch,
    MicroBatchConfig,
    RandomState,
    TokenIds,
    cut_micro_batches,
    padded_tokens,
)

logger = logging.getLogger(__name__)
T = TypeVar("T")

# Of the memory that is free, what gradients of micro-batches may take that wait for their turn to be added.
_SHARE_OF_GRADIENTS = 0.25
# Whether a model draws random numbers where threads would take them from each other.
_uses_shared_rng: weakref.WeakKeyDictionary[Encoder, bool] = weakref.WeakKeyDictionary()


@dataclass
class Encoding:
    """The first pass over some texts, and what the second needs.

    Attributes:
        embeddings: (n, d) without gradient, in the order of the texts.
    """

    encoder: Encoder
    tokens: Sequence[TokenIds]
    embeddings: Tensor
    micro_batches: list[MicroBatch] = field(default_factory=list)

    def store(self, micro_batch: MicroBatch, embeddings: Tensor) -> None:
        """Take over what the first pass gave for a micro-batch."""
        self.embeddings[micro_batch.index(self.embeddings.device)] = embeddings.detach()

    def backward(self, gradient: Tensor) -> None:
        """Add to the weights' gradients what d loss / d embeddings (n, d) gives.

        On a CPU each core has a micro-batch of its own. Their gradients are added in the order of the micro-batches, so
        the sum is the same to the bit on any number of cores.
        """
        threads = thread_count(
            self.encoder, len(self.micro_batches), gradients_that_fit(self.encoder, self.encoder.device)
        )
        if threads == 0:
            # One block of autocast: it casts the weights once, and not for each micro-batch.
            with whole_machine(self.encoder), self.encoder.autocast():
                for micro_batch in self.micro_batches:
                    self._again(micro_batch, lambda made, given: made.backward(given), gradient)
            return
        weights = [weight for weight in self.encoder.parameters() if weight.requires_grad]

        def work(micro_batch: MicroBatch) -> Callable[[], Gradients]:
            return lambda: self._again(micro_batch, lambda made, given: gradients_of(made, weights, given), gradient)

        accumulate(weights, map(work, self.micro_batches), threads, self.encoder.autocast)

    def _again(self, micro_batch: MicroBatch, propagate: Callable[[Tensor, Tensor], T], gradient: Tensor) -> T:
        """Encode a micro-batch again, unless its activations were kept, and propagate; then they are free."""
        embeddings, micro_batch.embeddings = micro_batch.embeddings, None
        if embeddings is None:
            with micro_batch.random.replayed() if micro_batch.random is not None else nullcontext():
                embeddings = _forward(self.encoder, self.tokens, micro_batch)
        # a gradient is computed in the types of its forward pass
        with torch.autocast(gradient.device.type, enabled=False):
            return propagate(embeddings, gradient[micro_batch.index(gradient.device)])


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
    micro_batches = cut_micro_batches(encoder, tokens, memory, queries)
    seed = int(torch.randint(2**62, (1,)))
    for number, micro_batch in enumerate(micro_batches):
        micro_batch.seed = (seed, number)
    micro_batches = in_step(encoder, micro_batches)
    encoding = Encoding(
        encoder, tokens, torch.empty(len(tokens), encoder.dimension, device=encoder.device), micro_batches
    )
    begun = RandomState(encoder)
    while True:
        try:
            _keeping(encoding, memory)
            break
        except (RuntimeError, MemoryError) as error:
            if (
                memory.cache != "auto"
                or encoder.sharded  # the others would wait
                or not is_out_of_memory(error)
                or not any(p.embeddings is not None for p in micro_batches)
            ):
                raise
        # outside of the handler: there the traceback still holds activations
        memory.budget.shrink()
        begun.restore()
        for micro_batch in micro_batches:
            micro_batch.embeddings = None
        logger.warning("note: memory ran out; training goes on with half as many activations kept")
    # A block of autocast of its own: weights that it cast without gradient would be taken again where one is needed.
    _first_pass(
        encoding, [micro_batch for micro_batch in micro_batches if micro_batch.embeddings is None], None, torch.no_grad
    )
    return encoding


def _keeping(encoding: Encoding, memory: MicroBatchConfig) -> None:
    """Encode micro-batches with activations, from the first on, as long as they fit into the budget."""
    if memory.cache != "on":
        threads = thread_count(encoding.encoder, len(encoding.micro_batches))
        memory.budget.reset(encoding.encoder, threads)
        budget = memory.budget if memory.cache == "auto" else None
        _first_pass(encoding, encoding.micro_batches, budget, torch.enable_grad)


def _first_pass(
    encoding: Encoding,
    micro_batches: list[MicroBatch],
    budget: ActivationBudget | None,
    gradients: Callable[[], AbstractContextManager[object]],
) -> None:
    """Encode micro-batches; those that do not fit into the budget are left out.

    Args:
        encoding: takes the embeddings.
        micro_batches: micro-batches, the longest first.
        budget: for their activations; None: any number, or none is kept.
        gradients: the surroundings of a pass that keeps activations, or of one that does not.
    """
    encoder, tokens = encoding.encoder, encoding.tokens
    threads = thread_count(encoder, len(micro_batches))
    full = False

    def encoded(micro_batch: MicroBatch) -> Tensor | None:
        nonlocal full
        size = padded_tokens(tokens, micro_batch.rows)
        full = full or (budget is not None and not on_all(encoder, budget.fits(size)))
        if full:
            return None
        keeps = torch.is_grad_enabled()
        micro_batch.random = None if keeps or threads else RandomState(encoder)
        with budget.track(encoder, size) if budget is not None else nullcontext():
            embeddings = _forward(encoder, tokens, micro_batch)
        micro_batch.embeddings = embeddings if keeps else None
        return embeddings.detach()

    def work(micro_batch: MicroBatch) -> Callable[[], Tensor | None]:
        return lambda: encoded(micro_batch)

    @contextmanager
    def pass_context() -> Iterator[None]:
        with encoder.autocast(), gradients():
            yield

    with ExitStack() as stack:
        if threads == 0:
            stack.enter_context(whole_machine(encoder))
            stack.enter_context(pass_context())
        for micro_batch, embeddings in zip(
            micro_batches, map_in_threads(map(work, micro_batches), threads, pass_context), strict=True
        ):
            if embeddings is not None:
                encoding.store(micro_batch, embeddings)


def embed(encoder: Encoder, tokens: Sequence[TokenIds], memory: MicroBatchConfig, queries: int | None = None) -> Tensor:
    """Embeddings (n, d, float32) without any gradient, as in evaluation: dropout off. Arguments as for `encode`."""
    was_training = encoder.training
    encoder.eval()
    micro_batches = in_step(encoder, cut_micro_batches(encoder, tokens, memory, queries))
    encoding = Encoding(
        encoder, tokens, torch.empty(len(tokens), encoder.dimension, device=encoder.device), micro_batches
    )
    # weights that were gathered for inference could not be trained afterwards
    _first_pass(encoding, micro_batches, None, torch.no_grad if encoder.sharded else torch.inference_mode)
    encoder.train(was_training)
    return encoding.embeddings


def thread_count(encoder: Encoder, micro_batches: int, most: int | None = None) -> int:
    """Threads that compute a micro-batch each; 0: this one, with as many threads for each operation as there are.

    Args:
        encoder: what is computed with.
        micro_batches: how many there are.
        most: threads for which there is memory; None: any number.
    """
    threads = 0 if encoder.sharded else worker_count(encoder.device, micro_batches)
    if threads == 0 or (most is not None and most < 2) or _uses_torch_rng(encoder):
        return 0
    return threads if most is None else min(threads, most)


def gradients_that_fit(model: nn.Module, device: torch.device) -> int:
    """Micro-batches whose gradients of all weights may be in memory at once; a lane has one, and one is being added."""
    size = 4 * sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    return int(_SHARE_OF_GRADIENTS * free_bytes(device) / max(1, size)) - 1


def _uses_torch_rng(encoder: Encoder) -> bool:
    """Whether the model in training draws from torch's own generator, which all threads share.

    Dropout does not, inside of `CpuOps`; layers that are left out at random do. One micro-batch then follows the other.
    """
    if not encoder.training:
        return False
    if encoder not in _uses_shared_rng:
        before = torch.get_rng_state()
        kinds: list[TextType | None] = [None] if encoder.query_model is None else ["query", "passage"]
        with torch.no_grad(), encoder.autocast():
            for kind in kinds:
                _forward(encoder, encoder.tokenize(["a few words", "more"], "passage"), MicroBatch([0, 1], kind))
        _uses_shared_rng[encoder] = not torch.equal(torch.get_rng_state(), before)
        torch.set_rng_state(before)
    return _uses_shared_rng[encoder]


def whole_machine(encoder: Encoder) -> AbstractContextManager[None]:
    """A block in which operations run on all threads of a CPU."""
    return all_threads() if encoder.device.type == "cpu" else nullcontext()


def _forward(encoder: Encoder, tokens: Sequence[TokenIds], micro_batch: MicroBatch) -> Tensor:
    texts = [cast("Sequence[int]", tokens[row]) for row in micro_batch.rows]
    padded = encoder.pad(texts or [[encoder.tokenizer.pad_token_id]])
    with CpuOps(RandomStream(micro_batch.seed)) if encoder.device.type == "cpu" else nullcontext():
        return encoder(**padded, kind=micro_batch.kind)[: len(texts)]
