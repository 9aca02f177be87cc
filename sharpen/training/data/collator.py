"""One process's share of a global batch: the texts that it encodes and the rows of the loss that it computes.

The two are cut independently. Every distinct text of the batch is encoded once, by one process, and the texts are
dealt out by length so that every process has about the same number of tokens. Rows are cut evenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sharpen.losses import Loss
from sharpen.losses.contrastive import ContrastiveRows
from sharpen.training.data.contrasts import BatchScope, contrasts_of, loss_for
from sharpen.training.data.examples import TrainingTask
from sharpen.training.data.guide import GuideEmbeddings
from sharpen.training.data.ragged_array import RaggedArray
from sharpen.training.data.sampler import Batch, shuffled_words
from sharpen.training.data.tokens import Tokens
from sharpen.training.settings import TrainingSettings


@dataclass(frozen=True)
class ShardedBatch:
    """A process's work in one step.

    Attributes:
        batch: the global batch.
        queries, texts: numbers of the distinct queries and texts in the scope; the matrix of embeddings has a row for
            each, queries first.
        shares: which rows of that matrix each process of the scope encodes.
        mine: this process's share.
        tokens: token ids of the rows in this process's share.
        contrasts: the rows of the loss that are this process's.
        query_of, text_of: (n) and (n, G) rows of the matrix that hold query and group of each batch row of the scope.
        in_batch: (n) which rows of the scope take part in in-batch negatives.
        task: what its queries are learned from.
        guide: the guide model's embeddings of the matrix's texts, or None.
    """

    batch: Batch
    queries: np.ndarray
    texts: np.ndarray
    shares: list[Tensor]
    mine: int
    tokens: RaggedArray
    contrasts: list[ContrastiveRows]
    query_of: Tensor
    text_of: Tensor
    in_batch: Tensor
    task: TrainingTask
    guide: Tensor | None = None

    @property
    def total_rows(self) -> int:
        """Queries of the global batch."""
        return len(self.batch.queries)

    @property
    def local_queries(self) -> int:
        """How many of `tokens` are encoded as queries; they come first. Both sides of a symmetric task are passages."""
        if self.task.symmetric:
            return 0
        return int((self.shares[self.mine] < len(self.queries)).sum())


def shard_batch(
    batch: Batch,
    tokens: Tokens,
    settings: TrainingSettings,
    rank: int,
    size: int,
    *,
    loss: Loss | None = None,
    guide: GuideEmbeddings | None = None,
) -> ShardedBatch:
    """What process `rank` of `size` does with a batch.

    With `negatives_cross_device` the scope is the whole batch: embeddings are exchanged. Without it, a process keeps
    to its own rows and encodes all their texts itself.

    Args:
        batch: the global batch.
        tokens: token ids of the examples' texts.
        settings: which rows are contrasted with which.
        rank: number of this process.
        size: number of processes.
        loss: of the search for passages; None: one that is computed by rows.
        guide: gives the guide model's embeddings, if there is one.
    """
    examples = tokens.examples
    task = examples.tasks[batch.task]
    # of a loss that compares rows with each other, the first process computes the rows of all
    whole_batch = loss is not None and loss_for(task, loss).whole_batch
    edges = [len(batch.queries) * number // size for number in range(size + 1)]
    rows = slice(edges[rank], edges[rank + 1])
    # pairs are ranked among all pairs of the batch, however many processes there are
    together = settings.negatives_cross_device or task.learns == "similarity"
    scope = BatchScope.of(batch, examples, slice(None) if together else rows, settings)
    local = np.arange(len(scope.rows))
    if together:
        local = local[rows] if not whole_batch else local[: len(local) if rank == 0 else 0]
    ids = tokens.queries(scope.queries.tolist()) + tokens.passages(scope.texts.tolist())
    lengths = [len(one) for one in ids]
    shares = assign_micro_batches(lengths, size) if together else [torch.arange(len(lengths))]
    mine = rank if together else 0
    return ShardedBatch(
        batch=batch,
        queries=scope.queries,
        texts=scope.texts,
        shares=shares,
        mine=mine,
        tokens=_tokens(batch, tokens, scope, ids, shares[mine].tolist()),
        contrasts=contrasts_of(scope, local, examples, settings, task),
        query_of=torch.from_numpy(scope.query_of),
        text_of=torch.from_numpy(scope.text_of + len(scope.queries)),
        in_batch=torch.from_numpy(scope.in_batch),
        task=task,
        guide=None if guide is None or task.symmetric else guide.rows(scope.queries, scope.texts),
    )


def assign_micro_batches(lengths: Sequence[int], size: int) -> list[Tensor]:
    """Deal rows to `size` processes from long to short, there and back, so that sums of lengths and counts agree."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    turn = np.arange(len(order)) % (2 * size)
    owner = np.where(turn < size, turn, 2 * size - 1 - turn)
    return [torch.from_numpy(np.sort(order[owner == rank])) for rank in range(size)]


def _tokens(batch: Batch, tokens: Tokens, scope: BatchScope, ids: list[np.ndarray], share: list[int]) -> RaggedArray:
    """Token ids of the rows in a share; those of shuffled texts are made now."""
    number = {index: int(scope.texts[index - len(scope.queries)]) for index in share if index >= len(scope.queries)}
    moved = [index for index, text in number.items() if text in batch.shuffled]
    shuffled_texts = [shuffled_words(tokens.examples.texts[number[index]], batch.step) for index in moved]
    fresh = dict(zip(moved, tokens.tokenize(shuffled_texts), strict=True))
    return RaggedArray.of_rows(fresh.get(index, ids[index]) for index in share)
