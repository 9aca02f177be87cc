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

from sharpen.losses.contrastive import ContrastiveRows
from sharpen.training.data.examples import Examples
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
    guide: Tensor | None = None

    @property
    def total_rows(self) -> int:
        """Queries of the global batch."""
        return len(self.batch.queries)

    @property
    def local_queries(self) -> int:
        """How many of `tokens` are queries; they come first."""
        return int((self.shares[self.mine] < len(self.queries)).sum())


def shard_batch(
    batch: Batch,
    tokens: Tokens,
    settings: TrainingSettings,
    rank: int,
    size: int,
    *,
    whole_batch: bool = False,
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
        whole_batch: the first process computes the loss of all rows in the scope (`Loss.whole_batch`).
        guide: gives the guide model's embeddings, if there is one.
    """
    examples = tokens.examples
    edges = [len(batch.queries) * number // size for number in range(size + 1)]
    rows = slice(edges[rank], edges[rank + 1])
    together = settings.negatives_cross_device
    scope = _Scope.of(batch, examples, slice(None) if together else rows, settings)
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
        contrasts=_contrasts(scope, local, examples, settings),
        query_of=torch.from_numpy(scope.query_of),
        text_of=torch.from_numpy(scope.text_of + len(scope.queries)),
        in_batch=torch.from_numpy(scope.in_batch),
        guide=None if guide is None else guide.rows(scope.queries, scope.texts),
    )


@dataclass(frozen=True)
class _Scope:
    """The rows of a batch among which embeddings are shared.

    Attributes:
        rows: (n) query of each row.
        groups: (n, G) texts of each row.
        in_batch: (n) whether the row takes part in in-batch negatives: it has them, and its passages are such.
        queries, texts: the distinct ones, in order of appearance.
        query_of: (n) position of each row's query in `queries`.
        text_of: (n, G) positions of each row's texts in `texts`.
    """

    rows: np.ndarray
    groups: np.ndarray
    in_batch: np.ndarray
    queries: np.ndarray
    texts: np.ndarray
    query_of: np.ndarray
    text_of: np.ndarray

    @classmethod
    def of(cls, batch: Batch, examples: Examples, scope: slice, settings: TrainingSettings) -> _Scope:
        rows, groups = batch.queries[scope], batch.groups[scope]
        group_only = [examples.sources.index(name) for name in settings.no_inbatch_sources]
        in_batch = ~np.isin(examples.source[rows], group_only) & settings.use_inbatch_neg
        first_query, query_of = _distinct(examples.query_number[rows])
        first_text, text_of = _distinct(groups.reshape(-1))
        texts = groups.reshape(-1)[first_text]
        return cls(rows, groups, in_batch, rows[first_query], texts, query_of, text_of.reshape(groups.shape))


def assign_micro_batches(lengths: Sequence[int], size: int) -> list[Tensor]:
    """Deal rows to `size` processes from long to short, there and back, so that sums of lengths and counts agree."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    turn = np.arange(len(order)) % (2 * size)
    owner = np.where(turn < size, turn, 2 * size - 1 - turn)
    return [torch.from_numpy(np.sort(order[owner == rank])) for rank in range(size)]


def _distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each distinct value occurs first, in order; and for every value its position among those."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    rank = np.empty_like(first)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.sort(first), rank[inverse]


def _contrasts(
    scope: _Scope, local: np.ndarray, examples: Examples, settings: TrainingSettings
) -> list[ContrastiveRows]:
    """The loss of a process's rows `local`, as positions in the scope.

    Rows of a source in `no_inbatch_sources` are contrasted with their own group alone, and neither their passages nor
    their queries are contrasted with other rows. In-batch negatives suppose that a passage of another query is a
    document that could have been found and is wrong; a label or the name of a cluster is none. In FlagEmbedding too the
    two never meet, as it puts such rows into batches of their own.
    """
    together, group_only = local[scope.in_batch[local]], local[~scope.in_batch[local]]
    masked, weight = settings.mask_false_negatives, 0.5 if settings.symmetric else 1.0
    contrasts = []
    if len(together):
        contrasts.append(_queries_against_texts(scope, together, examples, masked, weight))
    if len(together) and settings.symmetric:
        contrasts.append(_positives_against_queries(scope, together, examples, masked, weight))
    if len(group_only):
        contrasts.append(_queries_against_groups(scope, group_only, examples))
    return contrasts


def _queries_against_texts(
    scope: _Scope, local: np.ndarray, examples: Examples, masked: bool, weight: float
) -> ContrastiveRows:
    """The queries of the rows `local` against the in-batch texts of the scope.

    Masked, every distinct text is one column, and what is never a negative of a query is excluded; otherwise every
    text of every group is a column.
    """
    numbers = scope.rows[local]
    columns, groups = _columns(scope.text_of, scope.in_batch, local, masked)
    excluded: list[tuple[int, int]] = []
    if masked:
        index = {text: column for column, text in enumerate(scope.texts[columns].tolist())}
        for row, query in enumerate(numbers):
            masked_columns = (index.get(text) for text in examples.never_negatives[query].tolist())
            excluded += [(row, column) for column in masked_columns if column is not None and column != groups[row, 0]]
    return ContrastiveRows(
        rows=torch.from_numpy(scope.query_of[local]),
        columns=torch.from_numpy(columns + len(scope.queries)),
        group_columns=torch.from_numpy(groups),
        masked_pairs=_pairs(excluded),
        teacher=_teacher(numbers, scope.groups[local], examples),
        weight=weight,
    )


def _columns(
    index_of: np.ndarray, in_batch: np.ndarray, local: np.ndarray, masked: bool
) -> tuple[np.ndarray, np.ndarray]:
    """What the in-batch rows bring as columns, and the columns of the rows `local`.

    Args:
        index_of: (n, g) what each row of the scope brings.
        in_batch: (n) which rows take part.
        local: rows that do.
        masked: every distinct one is one column, instead of every occurrence.
    """
    if masked:
        columns = np.unique(index_of[in_batch])
        return columns, np.searchsorted(columns, index_of[local])
    columns = index_of[in_batch].reshape(-1)
    numbered = np.full(index_of.shape, -1, dtype=np.int64)
    numbered[in_batch] = np.arange(columns.size).reshape(-1, index_of.shape[1])
    return columns, numbered[local]


def _queries_against_groups(scope: _Scope, local: np.ndarray, examples: Examples) -> ContrastiveRows:
    """The queries of the rows `local`, each against the texts of its group alone."""
    groups = scope.text_of[local]
    return ContrastiveRows(
        rows=torch.from_numpy(scope.query_of[local]),
        columns=torch.from_numpy(groups.reshape(-1) + len(scope.queries)),
        group_columns=torch.arange(groups.size).reshape(groups.shape),
        masked_pairs=_pairs([]),
        teacher=_teacher(scope.rows[local], scope.groups[local], examples),
        in_batch=False,
    )


def _teacher(queries: np.ndarray, groups: np.ndarray, examples: Examples) -> Tensor | None:
    """(b, G) teacher scores; a negative without one is taken as irrelevant."""
    if not examples.distilled:
        return None
    rows = [examples.teacher(query, texts) for query, texts in zip(queries.tolist(), groups.tolist(), strict=True)]
    return torch.tensor(rows, dtype=torch.float64).reshape(groups.shape)


def _positives_against_queries(
    scope: _Scope, local: np.ndarray, examples: Examples, masked: bool, weight: float
) -> ContrastiveRows:
    """The positives of the rows `local` against the in-batch queries of the scope.

    Masked, queries of which a positive is never a negative are excluded.
    """
    positives = scope.text_of[local, 0]
    columns, queries = _columns(scope.query_of[:, None], scope.in_batch, local, masked)
    excluded: list[tuple[int, int]] = []
    if masked:
        rows_of: dict[int, list[int]] = {}
        for row, text in enumerate(scope.texts[positives].tolist()):
            rows_of.setdefault(text, []).append(row)
        column_of = np.searchsorted(columns, scope.query_of[scope.in_batch])
        for column, query in zip(column_of.tolist(), scope.rows[scope.in_batch], strict=True):
            for text in examples.never_negatives[query].tolist():
                excluded += [(row, column) for row in rows_of.get(text, ()) if column != queries[row, 0]]
    return ContrastiveRows(
        rows=torch.from_numpy(positives + len(scope.queries)),
        columns=torch.from_numpy(columns),
        group_columns=torch.from_numpy(queries),
        masked_pairs=_pairs(sorted(set(excluded))),
        weight=weight,
        counted=False,
    )


def _pairs(pairs: Sequence[tuple[int, int]]) -> Tensor:
    return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)


def _tokens(batch: Batch, tokens: Tokens, scope: _Scope, ids: list[np.ndarray], share: list[int]) -> RaggedArray:
    """Token ids of the rows in a share; those of shuffled texts are made now."""
    number = {index: int(scope.texts[index - len(scope.queries)]) for index in share if index >= len(scope.queries)}
    moved = [index for index, text in number.items() if text in batch.shuffled]
    shuffled_texts = [shuffled_words(tokens.examples.texts[number[index]], batch.step) for index in moved]
    fresh = dict(zip(moved, tokens.tokenize(shuffled_texts), strict=True))
    return RaggedArray.of_rows(fresh.get(index, ids[index]) for index in share)
