"""One step's gradient: encode, exchange embeddings, loss, hand gradients back, propagate, sum over processes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

from torch import Tensor

from sharpen.distributed import ProcessGroup
from sharpen.hardware.thread_pool import all_threads
from sharpen.losses.contrastive import LossConfig, loss_and_gradient
from sharpen.models.encoder import Encoder
from sharpen.training.data.collator import ShardedBatch
from sharpen.training.data.contrasts import objective_for
from sharpen.training.gradient.gradient_cache import MicroBatchConfig, encode
from sharpen.training.processes import StopRequest

# Products of the loss (scores x dimensions) that one thread of a CPU does in a few tenths of a second. More of them are
# worth all threads, and their sums may then differ in the last bits with the number of threads.
_ONE_THREAD = 2**33


@dataclass(frozen=True)
class Step:
    """What a step gave, the same on every process.

    Attributes:
        loss: mean over the queries of the global batch.
        negatives: negatives per query that the loss was computed with, mean over the queries.
        embeddings: (n, d) of the texts in the scope, to look for the cause when the loss is not finite.
        stop: some process was told to end.
    """

    loss: float
    negatives: float
    embeddings: Tensor
    stop: bool = False


def gradient_step(
    encoder: Encoder,
    layout: ShardedBatch,
    objective: LossConfig,
    memory: MicroBatchConfig,
    exchange: ProcessGroup,
    stop: StopRequest | None = None,
) -> Step:
    """Leave in every parameter's ``grad`` the gradient of the loss of the whole global batch.

    It equals the gradient of one process that holds the whole batch. The processes talk three times: embeddings are
    gathered, their gradients summed and handed back, and the weights' gradients summed, together with the loss.

    Args:
        encoder: the trained model.
        layout: the batch, and this process's share of it.
        objective: the loss of the search for passages; other tasks have theirs.
        memory: limits of micro-batches and activations.
        exchange: the processes.
        stop: whether this process was told to end, which all learn by the last exchange.
    """
    encoding = encode(encoder, layout.tokens, memory, layout.local_queries)
    embeddings = exchange.gather(encoding.embeddings, layout.shares)
    contrasts = [contrast.to(embeddings.device) for contrast in layout.contrasts]
    guide = None if layout.guide is None else layout.guide.to(embeddings.device)
    scores = sum(len(contrast.rows) * len(contrast.columns) for contrast in contrasts)
    with all_threads() if scores * embeddings.shape[1] > _ONE_THREAD else nullcontext():
        minimised = objective_for(layout.task, objective)
        outcome = loss_and_gradient(
            embeddings, contrasts, minimised, layout.total_rows, guide, first_passage=len(layout.queries)
        )
    encoding.backward(exchange.reduce_scatter(outcome.gradient, layout.shares))
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    requests = float(stop is not None and stop.received)
    loss, negatives, requests = exchange.sum_gradients(trained, [outcome.loss, outcome.negatives, requests])
    return Step(loss, negatives / layout.total_rows, embeddings, requests > 0)
