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

from components.finetuning.batches import Batch, shuffled_words
from components.finetuning.examples import Examples, Tokens
from components.finetuning.loss import Contrast
from components.finetuning.settings import TrainingSettings


@dataclass(frozen=True)
class Layout:
    """A process's work in one step.

    Attributes:
        batch: the global batch.
        queries, texts: numbers of the distinct queries and texts in the scope; the matrix of embeddings has a row for
            each, queries first.
        shares: which rows of that matrix each process of the scope encodes.
        mine: this process's share.
        tokens: token ids of the rows in this process's share.
        contrasts: the rows of the loss that are this process's, one or (symmetric) two.
        first_row: this process's first row of the batch.
    """

    batch: Batch
    queries: np.ndarray
    texts: np.ndarray
    shares: list[Tensor]
    mine: int
    tokens: list[np.ndarray]
    contrasts: list[Contrast]
    first_row: int

    @property
    def total_rows(self) -> int:
        """Queries of the global batch."""
        return len(self.batch.queries)


def lay_out(batch: Batch, tokens: Tokens, settings: TrainingSettings, rank: int, size: int) -> Layout:
    """What process `rank` of `size` does with a batch.

    With `negatives_cross_device` the scope is the whole batch: embeddings are exchanged. Without it, a process keeps
    to its own rows and encodes all their texts itself.
    """
    examples = tokens.examples
    edges = [len(batch.queries) * number // size for number in range(size + 1)]
    rows = slice(edges[rank], edges[rank + 1])
    together = settings.negatives_cross_device
    scope = _Scope.of(batch, examples, slice(None) if together else rows, rows if together else slice(None))
    contrasts = [_queries_against_texts(scope, examples, settings.mask_false_negatives)]
    if settings.symmetric:
        contrasts.append(_positives_against_queries(scope, examples, settings.mask_false_negatives))
    lengths = [len(examples.queries[n]) for n in scope.queries] + [len(examples.texts[n]) for n in scope.texts]
    shares = deal(lengths, size) if together else [torch.arange(len(lengths))]
    mine = rank if together else 0
    ids = _tokens(batch, tokens, scope, shares[mine])
    return Layout(batch, scope.queries, scope.texts, shares, mine, ids, contrasts, rows.start)


@dataclass(frozen=True)
class _Scope:
    """The rows of a batch among which embeddings are shared.

    Attributes:
        rows: (n) query of each row.
        groups: (n, G) texts of each row.
        inside: which of the rows are this process's.
        queries, texts: the distinct ones, in order of appearance.
        query_of: (n) place of each row's query in `queries`.
        text_of: (n, G) places of each row's texts in `texts`.
    """

    rows: np.ndarray
    groups: np.ndarray
    inside: slice
    queries: np.ndarray
    texts: np.ndarray
    query_of: np.ndarray
    text_of: np.ndarray

    @classmethod
    def of(cls, batch: Batch, examples: Examples, scope: slice, inside: slice) -> _Scope:
        rows, groups = batch.queries[scope], batch.groups[scope]
        first_query, query_of = _distinct(examples.query_number[rows])
        first_text, text_of = _distinct(groups.reshape(-1))
        texts = groups.reshape(-1)[first_text]
        return cls(rows, groups, inside, rows[first_query], texts, query_of, text_of.reshape(groups.shape))


def deal(lengths: Sequence[int], size: int) -> list[Tensor]:
    """Deal rows to `size` processes from long to short, there and back, so that sums of lengths and counts agree."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    turn = np.arange(len(order)) % (2 * size)
    owner = np.where(turn < size, turn, 2 * size - 1 - turn)
    return [torch.from_numpy(np.sort(order[owner == rank])) for rank in range(size)]


def _distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the first occurrence of each distinct value, in order; and for every value its place among those."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    rank = np.empty_like(first)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.sort(first), rank[inverse]


def _queries_against_texts(scope: _Scope, examples: Examples, masked: bool) -> Contrast:
    """Each query of this process against the texts of the scope.

    Masked, every distinct text is one column, and pairs of a query and a text known as relevant are excluded;
    otherwise every place of every group is a column.
    """
    inside, offset = scope.inside, len(scope.queries)
    numbers = scope.rows[inside]
    excluded: list[tuple[int, int]] = []
    if masked:
        columns, own = np.arange(len(scope.texts)), scope.text_of[inside]
        place = {text: column for column, text in enumerate(scope.texts.tolist())}
        for row, query in enumerate(numbers):
            found = (place.get(text) for text in examples.known[query].tolist())
            excluded += [(row, column) for column in found if column is not None and column != own[row, 0]]
    else:
        columns = scope.text_of.reshape(-1)
        own = np.arange(columns.size).reshape(scope.text_of.shape)[inside]
    return Contrast(
        rows=torch.from_numpy(scope.query_of[inside]),
        columns=torch.from_numpy(columns + offset),
        own=torch.from_numpy(own),
        excluded=_pairs(excluded),
        teacher=_teacher(numbers, scope.groups[inside], examples.teacher),
    )


def _teacher(queries: np.ndarray, groups: np.ndarray, scores: dict[tuple[int, int], float] | None) -> Tensor | None:
    """(b, G) teacher scores; a negative without one is taken as irrelevant."""
    if scores is None:
        return None
    rows = [
        [scores.get((query, text), -np.inf) for text in group]
        for query, group in zip(queries.tolist(), groups.tolist(), strict=True)
    ]
    return torch.tensor(rows, dtype=torch.float64).reshape(groups.shape)


def _positives_against_queries(scope: _Scope, examples: Examples, masked: bool) -> Contrast:
    """Each positive of this process against the queries of the scope, without those that it is relevant to."""
    inside, offset = scope.inside, len(scope.queries)
    positives = scope.text_of[inside, 0]
    excluded: list[tuple[int, int]] = []
    if masked:
        columns, own = np.arange(len(scope.queries)), scope.query_of[inside]
        rows_of: dict[int, list[int]] = {}
        for row, text in enumerate(scope.texts[positives].tolist()):
            rows_of.setdefault(text, []).append(row)
        for place, query in zip(scope.query_of.tolist(), scope.rows, strict=True):
            for text in examples.known[query].tolist():
                excluded += [(row, place) for row in rows_of.get(text, ()) if place != own[row]]
    else:
        columns, own = scope.query_of, np.arange(len(scope.query_of))[inside]
    return Contrast(
        rows=torch.from_numpy(positives + offset),
        columns=torch.from_numpy(columns),
        own=torch.from_numpy(own).unsqueeze(1),
        excluded=_pairs(sorted(set(excluded))),
    )


def _pairs(pairs: Sequence[tuple[int, int]]) -> Tensor:
    return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)


def _tokens(batch: Batch, tokens: Tokens, scope: _Scope, share: Tensor) -> list[np.ndarray]:
    """Token ids of the rows in a share, queries first."""
    places = share.numpy()
    queries = scope.queries[places[places < len(scope.queries)]].tolist()
    texts = scope.texts[places[places >= len(scope.queries)] - len(scope.queries)].tolist()
    passages = tokens.passages(texts)
    moved = [place for place, text in enumerate(texts) if text in batch.shuffled]
    given = [shuffled_words(tokens.examples.texts[texts[place]], batch.step) for place in moved]
    for place, ids in zip(moved, tokens.tokenize(given), strict=True):
        passages[place] = ids
    return tokens.queries(queries) + passages
