"""The contrastive loss of a global batch, and its gradient with respect to the embeddings.

InfoNCE over groups (van den Oord et al. 2018, arXiv 1807.03748; in FlagEmbedding's arrangement): row i holds the scores
of query i with all columns, and the loss of the row is the cross-entropy of the softmax over the columns that are not
excluded against the column of its positive. The loss of a batch is the mean over **all** its queries, whichever process
holds them, so the sum of the processes' gradients is the gradient of one process that holds the whole batch.

Scores are made in blocks of rows, so that the matrix of all queries and passages never exists.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

# Numbers of a block, scores or gathered embeddings: 32 MiB in float32, and about four times that while the block's
# gradient is made.
BLOCK_ENTRIES = 2**23


@dataclass(frozen=True)
class ContrastiveRows:
    """Rows that look for their own column among many. Texts are rows of one matrix of embeddings.

    Attributes:
        rows: (b) text of each row, for example this process's queries.
        columns: (M) text of each column, for example every passage of the global batch.
        own: (b, G) columns of the row's own group; the first is its positive.
        excluded: (k, 2) pairs (row, column) that are no negatives; never the row's own columns.
        teacher: (b, G) teacher scores of the own group (-inf: not scored, taken as irrelevant), or None.
        in_batch: the rows are contrasted with all columns, not only with those of their own group.
        weight: of these rows in the loss; a query that is in several contrasts has weights that sum to 1.
        counted: its negatives are those that are told.
    """

    rows: Tensor
    columns: Tensor
    own: Tensor
    excluded: Tensor
    teacher: Tensor | None = None
    in_batch: bool = True
    weight: float = 1.0
    counted: bool = True

    def to(self, device: torch.device) -> ContrastiveRows:
        """The same on another device."""
        return replace(
            self,
            rows=self.rows.to(device),
            columns=self.columns.to(device),
            own=self.own.to(device),
            excluded=self.excluded.to(device),
            teacher=None if self.teacher is None else self.teacher.to(device),
        )


@dataclass(frozen=True)
class LossConfig:
    """What is minimised; the fields are those of `TrainingSettings`.

    Attributes:
        distillation: ``kl_div``, ``m3_kd_loss`` or None.
        kd_weight: weight of ``kl_div`` beside the contrastive loss, symmetric or not.
        dims: Matryoshka dimensions besides all of them, which always count; empty: all dimensions alone.
        normalize: scale each Matryoshka prefix to length 1.
    """

    temperature: float
    distillation: str | None = None
    kd_weight: float = 1.0
    margin: float | None = None
    dims: tuple[int, ...] = ()
    normalize: bool = True


@dataclass(frozen=True)
class LossOutput:
    """Loss and gradient of this process's rows.

    Attributes:
        loss: sum over the rows, divided by the rows of the global batch.
        gradient: (n, d) d loss / d embeddings, for every text.
        negatives: negatives that a row was contrasted with, summed over the rows (mean over Matryoshka dimensions).
    """

    loss: float
    gradient: Tensor
    negatives: float


def loss_and_gradient(
    embeddings: Tensor, contrasts: list[ContrastiveRows], objective: LossConfig, total_rows: int
) -> LossOutput:
    """The loss of some rows of a global batch and its gradient with respect to all embeddings.

    Args:
        embeddings: (n, d) embeddings of the distinct texts of the batch, float32 or float64.
        contrasts: this process's rows; none if it has no rows.
        objective: what is minimised.
        total_rows: rows of the global batch over all processes.
    """
    gradient = torch.zeros_like(embeddings)
    loss = negatives = 0.0
    # without the full size the dimensions above the largest prefix would have no gradient, and be served all the same
    dims = (*(dim for dim in objective.dims if dim != embeddings.shape[1]), embeddings.shape[1])
    weight = 1.0 / (len(dims) * total_rows)
    for dim in dims:
        whole = dim == embeddings.shape[1]
        with torch.enable_grad():
            leaf = embeddings.detach() if whole else embeddings.detach()[:, :dim].clone().requires_grad_()
            vectors = functional.normalize(leaf, dim=-1) if objective.normalize and not whole else leaf
        for contrast in contrasts:
            part_loss, part_gradient, counted = _one_contrast(
                vectors.detach(), contrast, objective, weight * contrast.weight
            )
            loss += part_loss
            negatives += counted / len(dims) if contrast.counted else 0.0
            if whole:
                gradient += part_gradient
            else:
                (back,) = torch.autograd.grad(vectors, leaf, part_gradient, retain_graph=True)
                gradient[:, :dim] += back
    return LossOutput(loss, gradient, negatives)


def _one_contrast(
    vectors: Tensor, contrast: ContrastiveRows, objective: LossConfig, weight: float
) -> tuple[float, Tensor, float]:
    """Weighted loss, its gradient (n, d) and the negatives counted, block by block of rows."""
    rows, gradient = vectors[contrast.rows], torch.zeros_like(vectors)
    # In-batch off needs no columns of all rows: a group is then a small batch of its own, gathered with its block.
    columns = vectors[contrast.columns if contrast.in_batch else contrast.columns[:0]]
    row_gradient, column_gradient = torch.zeros_like(rows), torch.zeros_like(columns)
    loss = torch.zeros((), dtype=torch.float64, device=vectors.device)
    negatives = torch.zeros((), dtype=torch.int64, device=vectors.device)
    starts = _excluded_by_row(contrast)
    group = contrast.own.shape[1]
    step = max(1, BLOCK_ENTRIES // max(1, columns.shape[0] if contrast.in_batch else group * vectors.shape[1]))
    for start in range(0, rows.shape[0], step):
        end = min(rows.shape[0], start + step)
        queries, own = rows[start:end], contrast.own[start:end]
        teacher = None if contrast.teacher is None else contrast.teacher[start:end]
        places = contrast.columns[own]
        if contrast.in_batch:
            scores = queries @ columns.T
            pairs = contrast.excluded[starts[start] : starts[end]]
            scores[pairs[:, 0] - start, pairs[:, 1]] = -torch.inf
            _exclude_by_margin(scores, own, objective.margin)
        else:
            scores = torch.einsum("bd,bgd->bg", queries, vectors[places])
            own = torch.arange(group, device=own.device).expand(end - start, group)
        negatives += (scores > -torch.inf).sum() - (end - start)
        scores /= objective.temperature
        block, by_score = _row_losses(scores, own, teacher, objective, contrast.weight)
        loss += block.double() * weight
        by_score *= weight / objective.temperature
        if contrast.in_batch:
            row_gradient[start:end] = by_score @ columns
            column_gradient.addmm_(by_score.T, queries)
        else:
            row_gradient[start:end] = torch.einsum("bg,bgd->bd", by_score, vectors[places])
            outer = by_score.unsqueeze(-1) * queries.unsqueeze(1)
            gradient.index_add_(0, places.reshape(-1), outer.flatten(0, 1))
    gradient.index_add_(0, contrast.rows, row_gradient)
    if contrast.in_batch:
        gradient.index_add_(0, contrast.columns, column_gradient)
    return loss.item(), gradient, float(negatives.item())


def _excluded_by_row(contrast: ContrastiveRows) -> list[int]:
    """Where each row's pairs start in `excluded`, which is sorted by row."""
    edges = torch.arange(contrast.rows.shape[0] + 1, device=contrast.excluded.device)
    return torch.searchsorted(contrast.excluded[:, 0].contiguous(), edges).tolist()


def _exclude_by_margin(scores: Tensor, own: Tensor, margin: float | None) -> None:
    """Leave out, in place, what scores more than `margin` above the row's positive.

    As in Qwen3-Embedding (Zhang et al. 2025, arXiv 2506.05176, margin 0.1). A row's own group stays: its negatives
    were chosen for it, with mining's own margin.
    """
    if margin is None:
        return
    kept = scores.gather(1, own)
    scores.masked_fill_(scores > kept[:, :1] + margin, -torch.inf)
    scores.scatter_(1, own, kept)


def _row_losses(
    scores: Tensor, own: Tensor, teacher: Tensor | None, objective: LossConfig, weight: float
) -> tuple[Tensor, Tensor]:
    """Sum of the rows' losses and its gradient with respect to the scores (already divided by the temperature).

    The caller multiplies both by `weight`, the share of these rows in the contrastive loss of their queries. A query's
    distillation stands in one contrast only, so it is divided by it: `kd_weight` means the same with `symmetric`.
    """
    scores.requires_grad_()
    with torch.enable_grad():
        if objective.distillation is None or teacher is None:
            loss = info_nce(scores, own[:, 0])
        elif objective.distillation == "kl_div":
            distilled = kl_divergence(scores.gather(1, own), teacher)
            loss = info_nce(scores, own[:, 0]) + objective.kd_weight / weight * distilled
        else:
            loss = m3_distillation(scores, own, teacher)
        (gradient,) = torch.autograd.grad(loss, scores)
    return loss.detach(), gradient


def info_nce(scores: Tensor, targets: Tensor) -> Tensor:
    """Sum over rows of the cross-entropy of softmax(scores) (b, M) against the target column; -inf is left out."""
    return (torch.logsumexp(scores, dim=1) - scores.gather(1, targets.unsqueeze(1)).squeeze(1)).sum()


def kl_divergence(scores: Tensor, teacher: Tensor) -> Tensor:
    """Sum over rows of the cross-entropy between softmax(teacher) and softmax(scores), both (b, G).

    FlagEmbedding's ``kl_div``: the teacher's entropy, a constant, is left out.
    """
    return -(torch.softmax(teacher.to(scores.dtype), dim=1) * torch.log_softmax(scores, dim=1)).sum()


def m3_distillation(scores: Tensor, own: Tensor, teacher: Tensor, *, as_given: bool = False) -> Tensor:
    """Sum over rows of BGE-M3's distillation loss (Chen et al. 2024, arXiv 2402.03216, in its published code).

    For each passage of the own group in turn, the cross-entropy over all columns with that passage as target, weighted
    by softmax(teacher); the passage is then taken out of the columns. The positive goes first and the
    negatives follow from high to low teacher score, so that the loss does not depend on the order of the draws.

    Args:
        scores: (b, M), divided by the temperature.
        own: (b, G) columns of each row's group, the positive first.
        teacher: (b, G) the group's teacher scores.
        as_given: take the negatives in the order of the group, as the published code does.
    """
    weights = torch.softmax(teacher.to(scores.dtype), dim=1)
    order = torch.argsort(teacher[:, 1:], dim=1, descending=True, stable=True) + 1
    order = torch.cat([torch.zeros_like(order[:, :1]), order], dim=1)
    if as_given:
        order = torch.arange(own.shape[1], device=own.device).expand(own.shape)
    total = scores.new_zeros(())
    for place in range(order.shape[1]):
        column = own.gather(1, order[:, place : place + 1])
        weight = weights.gather(1, order[:, place : place + 1]).squeeze(1)
        target = scores.gather(1, column).squeeze(1)
        total = total + (weight * (torch.logsumexp(scores, dim=1) - target)).sum()
        scores = scores.scatter(1, column, -torch.inf)
    return total
