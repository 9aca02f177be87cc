"""Which rows of a batch are contrasted with which texts, and by which loss: the rows that a process computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sharpen.losses import Loss
from sharpen.losses.contrastive import ContrastiveRows, LossConfig
from sharpen.losses.cosent import CoSENT
from sharpen.losses.infonce import InfoNCE
from sharpen.training.data.examples import Examples, TrainingTask
from sharpen.training.data.sampler import Batch
from sharpen.training.settings import TrainingSettings


@dataclass(frozen=True)
class BatchScope:
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
    def of(cls, batch: Batch, examples: Examples, scope: slice, settings: TrainingSettings) -> BatchScope:
        """The rows `scope` of a batch.

        Args:
            batch: of all processes.
            examples: what its numbers mean.
            scope: the rows.
            settings: which sources have in-batch negatives.
        """
        rows, groups = batch.queries[scope], batch.groups[scope]
        group_only = [examples.sources.index(name) for name in settings.no_inbatch_sources]
        in_batch = ~np.isin(examples.source[rows], group_only) & settings.use_inbatch_neg
        in_batch &= examples.tasks[batch.task].in_batch
        first_query, query_of = _distinct(examples.query_number[rows])
        first_text, text_of = _distinct(groups.reshape(-1))
        texts = groups.reshape(-1)[first_text]
        return cls(rows, groups, in_batch, rows[first_query], texts, query_of, text_of.reshape(groups.shape))


def _distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each distinct value occurs first, in order; and for every value its position among those."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    rank = np.empty_like(first)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.sort(first), rank[inverse]


def contrasts_of(
    scope: BatchScope, local: np.ndarray, examples: Examples, settings: TrainingSettings, task: TrainingTask
) -> list[ContrastiveRows]:
    """The loss of a process's rows `local`, as positions in the scope.

    Rows of a source in `no_inbatch_sources` are contrasted with their own group alone, and neither their passages nor
    their queries are contrasted with other rows. In-batch negatives suppose that a passage of another query is a
    document that could have been found and is wrong; a label or the name of a cluster is none. In FlagEmbedding too the
    two never meet, as it puts such rows into batches of their own.

    Args:
        scope: rows whose embeddings are known.
        local: (b) those of the process.
        examples: texts, labels and scores.
        settings: masking, symmetry.
        task: of the batch.
    """
    together, group_only = local[scope.in_batch[local]], local[~scope.in_batch[local]]
    masked, weight = settings.mask_false_negatives, 0.5 if settings.symmetric else 1.0
    never = None
    if masked or task.learns == "labels":
        never = _NeverNegatives(scope, examples, task)
    scored = task.learns == "similarity" or (examples.distilled and not task.symmetric)
    contrasts = []
    if len(together):
        contrasts.append(_queries_against_texts(scope, together, examples, never, weight, scored=scored))
    if len(together) and settings.symmetric:
        contrasts.append(_positives_against_queries(scope, together, never, weight))
    if len(group_only):
        contrasts.append(_queries_against_groups(scope, group_only, examples, scored=scored))
    return contrasts


class _NeverNegatives:
    """Query -> texts of the scope that are never its negatives: known ones, or those with a label of its own."""

    def __init__(self, scope: BatchScope, examples: Examples, task: TrainingTask) -> None:
        self._examples, self._of_label = examples, dict[int, list[int]]()
        self._by_label = task.learns == "labels"
        if self._by_label:
            for text in scope.texts.tolist():
                for label in examples.text_labels[text].tolist():
                    self._of_label.setdefault(label, []).append(text)

    def __getitem__(self, query: int) -> list[int]:
        if not self._by_label:
            return self._examples.never_negatives[query].tolist()
        labels = self._examples.labels[query].tolist()
        return sorted({text for label in labels for text in self._of_label.get(label, ())})


def _queries_against_texts(
    scope: BatchScope,
    local: np.ndarray,
    examples: Examples,
    never: _NeverNegatives | None,
    weight: float,
    *,
    scored: bool,
) -> ContrastiveRows:
    """The queries of the rows `local` against the in-batch texts of the scope.

    With `never`, every distinct text is one column, and what is never a negative of a query is excluded; otherwise
    every text of every group is a column.
    """
    numbers = scope.rows[local]
    columns, groups = _columns(scope.text_of, scope.in_batch, local, never is not None)
    excluded: list[tuple[int, int]] = []
    if never is not None:
        index = {text: column for column, text in enumerate(scope.texts[columns].tolist())}
        for row, query in enumerate(numbers.tolist()):
            masked_columns = (index.get(text) for text in never[query])
            excluded += [(row, column) for column in masked_columns if column is not None and column != groups[row, 0]]
    return ContrastiveRows(
        rows=torch.from_numpy(scope.query_of[local]),
        columns=torch.from_numpy(columns + len(scope.queries)),
        group_columns=torch.from_numpy(groups),
        masked_pairs=_pairs(excluded),
        teacher=_teacher(numbers, scope.groups[local], examples) if scored else None,
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


def _queries_against_groups(
    scope: BatchScope, local: np.ndarray, examples: Examples, *, scored: bool
) -> ContrastiveRows:
    """The queries of the rows `local`, each against the texts of its group alone."""
    groups = scope.text_of[local]
    return ContrastiveRows(
        rows=torch.from_numpy(scope.query_of[local]),
        columns=torch.from_numpy(groups.reshape(-1) + len(scope.queries)),
        group_columns=torch.arange(groups.size).reshape(groups.shape),
        masked_pairs=_pairs([]),
        teacher=_teacher(scope.rows[local], scope.groups[local], examples) if scored else None,
        in_batch=False,
    )


def _teacher(queries: np.ndarray, groups: np.ndarray, examples: Examples) -> Tensor:
    """(b, G) teacher scores, or labels of similarity; a negative without one is taken as irrelevant."""
    rows = [examples.teacher(query, texts) for query, texts in zip(queries.tolist(), groups.tolist(), strict=True)]
    return torch.tensor(rows, dtype=torch.float64).reshape(groups.shape)


def _positives_against_queries(
    scope: BatchScope, local: np.ndarray, never: _NeverNegatives | None, weight: float
) -> ContrastiveRows:
    """The positives of the rows `local` against the in-batch queries of the scope.

    With `never`, queries of which a positive is never a negative are excluded.
    """
    positives = scope.text_of[local, 0]
    columns, queries = _columns(scope.query_of[:, None], scope.in_batch, local, never is not None)
    excluded: list[tuple[int, int]] = []
    if never is not None:
        rows_of: dict[int, list[int]] = {}
        for row, text in enumerate(scope.texts[positives].tolist()):
            rows_of.setdefault(text, []).append(row)
        column_of = np.searchsorted(columns, scope.query_of[scope.in_batch])
        for column, query in zip(column_of.tolist(), scope.rows[scope.in_batch].tolist(), strict=True):
            for text in never[query]:
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


def loss_for(task: TrainingTask, loss: Loss) -> Loss:
    """The loss of a batch of a task: `loss`, which the settings name, is that of the search for passages alone."""
    if task.learns == "search":
        return loss
    return CoSENT() if task.learns == "similarity" else InfoNCE()


def objective_for(task: TrainingTask, objective: LossConfig) -> LossConfig:
    """What is minimised in a batch of a task, by the `objective` of the search for passages.

    In-batch negatives of labelled texts are known by their labels; a margin would take the hardest ones away. What is
    stored are passages that are searched.
    """
    if task.learns == "search":
        return objective
    return replace(objective, loss=loss_for(task, objective.loss), margin=None, stored=None)
