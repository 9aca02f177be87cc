"""The loss of a global batch, and its gradient with respect to the embeddings.

Row i holds the scores of query i with all columns, in FlagEmbedding's arrangement of groups; a `Loss` makes one number
of a block of rows. The loss of a batch is the mean over **all** its queries, whichever process holds them, so the sum
of the processes' gradients is the gradient of one process that holds the whole batch.

Scores are made in blocks of rows, so that the matrix of all queries and passages never exists.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

from sharpen.errors import InputError
from sharpen.losses.base import Loss, ScoreBlock
from sharpen.losses.infonce import InfoNCE

# Numbers of a block, scores or gathered embeddings: 32 MiB in float32, and about four times that while the block's
# gradient is made.
BLOCK_ENTRIES = 2**23


@dataclass(frozen=True)
class ContrastiveRows:
    """Rows that look for their positive among many columns. Texts are rows of one matrix of embeddings.

    Attributes:
        rows: (b) text of each row, for example this process's queries.
        columns: (M) text of each column, for example every passage of the global batch.
        group_columns: (b, G) columns of the row's own group; the first is its positive.
        masked_pairs: (k, 2) pairs (row, column) that are no negatives, sorted; never of the row's own group.
        teacher: (b, G) teacher scores of the group (-inf: not scored, taken as irrelevant), or None.
        in_batch: the rows are contrasted with all columns, not only with those of their own group.
        weight: of these rows in the loss; a query that is in several contrasts has weights that sum to 1.
        counted: its negatives enter the reported number of negatives per query.
    """

    rows: Tensor
    columns: Tensor
    group_columns: Tensor
    masked_pairs: Tensor
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
            group_columns=self.group_columns.to(device),
            masked_pairs=self.masked_pairs.to(device),
            teacher=None if self.teacher is None else self.teacher.to(device),
        )


@dataclass(frozen=True)
class StoredSize:
    """The size in which passages will be stored and searched, by queries that stay what they are.

    Attributes:
        dimension: how many of the first dimensions stay; 0: all.
        store: (m, d) passages -> (m, d) as they are read back from storage. Its gradient is taken as that of the
            identity (straight-through, Bengio et al. 2013, arXiv 1308.3432).
    """

    dimension: int
    store: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LossConfig:
    """What is minimised; the fields are those of `TrainingSettings`.

    Attributes:
        loss: of rows of scores.
        margin: in-batch negatives that score more than this above the positive are left out; None: none.
        dims: Matryoshka dimensions besides all of them, which always count; empty: all dimensions alone.
        normalize: scale each Matryoshka prefix to length 1.
        stored: a size for which there is one more loss; None: none.
    """

    temperature: float
    loss: Loss = field(default_factory=InfoNCE)
    margin: float | None = None
    dims: tuple[int, ...] = ()
    normalize: bool = True
    stored: StoredSize | None = None


@dataclass(frozen=True)
class LossOutput:
    """Loss and gradient of this process's rows.

    Attributes:
        loss: sum over the rows, divided by the rows of the global batch.
        gradient: (n, d) d loss / d embeddings, for every text.
        negatives: negatives that a row was contrasted with, summed over the rows (mean over the sizes).
    """

    loss: float
    gradient: Tensor
    negatives: float


def loss_and_gradient(
    embeddings: Tensor,
    contrasts: list[ContrastiveRows],
    objective: LossConfig,
    total_rows: int,
    guide: Tensor | None = None,
    first_passage: int = 0,
) -> LossOutput:
    """The loss of some rows of a global batch and its gradient with respect to all embeddings.

    Args:
        embeddings: (n, d) embeddings of the distinct texts of the batch, float32 or float64.
        contrasts: this process's rows; none if it has no rows.
        objective: what is minimised.
        total_rows: rows of the global batch over all processes.
        guide: (n, g) a guide model's embeddings of the texts, or None.
        first_passage: where passages begin among the embeddings; before it are queries.
    """
    gradient = torch.zeros_like(embeddings)
    loss = negatives = 0.0
    # without the full size the dimensions above the largest prefix would have no gradient, and be served all the same
    dims = (*(dim for dim in objective.dims if dim != embeddings.shape[1]), embeddings.shape[1])
    stored = objective.stored
    sizes = [(dim, None) for dim in dims]
    sizes += [(stored.dimension or embeddings.shape[1], stored.store)] if stored else []
    weight = 1.0 / (len(sizes) * total_rows)
    for dim, store in sizes:
        whole = dim == embeddings.shape[1]
        with torch.enable_grad():
            leaf = embeddings.detach() if whole else embeddings.detach()[:, :dim].clone().requires_grad_()
            vectors = functional.normalize(leaf, dim=-1) if objective.normalize and not whole else leaf
        seen = vectors.detach()
        if store is not None:
            # straight-through: what these get as gradient, the vectors get
            seen = torch.cat([seen[:first_passage], store(seen[first_passage:])])
        for contrast in contrasts:
            part_loss, part_gradient, counted = _one_contrast(
                seen, contrast, objective, weight * contrast.weight, guide
            )
            loss += part_loss
            negatives += counted / len(sizes) if contrast.counted else 0.0
            if whole:
                gradient += part_gradient
            else:
                (back,) = torch.autograd.grad(vectors, leaf, part_gradient, retain_graph=True)
                gradient[:, :dim] += back
    return LossOutput(loss, gradient, negatives)


class _ScoreMatrix:
    """The scores of some rows, made a block of rows at a time, and the gradient of embeddings that they give.

    Args:
        vectors: (n, d) embeddings of the batch's texts.
        contrast: the rows.
        objective: temperature, margin, loss.
        guide: (n, g) the guide model's embeddings of the texts, or None.
    """

    def __init__(self, vectors: Tensor, contrast: ContrastiveRows, objective: LossConfig, guide: Tensor | None) -> None:
        self.vectors, self.contrast, self.objective, self.guide = vectors, contrast, objective, guide
        self.in_batch = contrast.in_batch and objective.loss.in_batch
        self.temperature = objective.temperature if objective.loss.scaled else 1.0
        self.rows, self.gradient = vectors[contrast.rows], torch.zeros_like(vectors)
        # Without in-batch negatives a group is a small batch of its own, gathered with its block.
        self.columns = vectors[contrast.columns if self.in_batch else contrast.columns[:0]]
        self.row_gradient, self.column_gradient = torch.zeros_like(self.rows), torch.zeros_like(self.columns)
        self.negatives = torch.zeros((), dtype=torch.int64, device=vectors.device)
        self.starts = _masked_by_row(contrast)

    def blocks(self) -> list[slice]:
        """Rows of each block, so that it has at most about `BLOCK_ENTRIES` numbers."""
        group, (_, dimension) = self.contrast.group_columns.shape[1], self.vectors.shape
        step = max(1, BLOCK_ENTRIES // max(1, self.columns.shape[0] if self.in_batch else group * dimension))
        return [slice(start, min(len(self.rows), start + step)) for start in range(0, len(self.rows), step)]

    def block(self, part: slice) -> ScoreBlock:
        """The scores of these rows, masked and divided by the temperature."""
        contrast, groups = self.contrast, self.contrast.group_columns[part]
        guide = None
        if self.in_batch:
            scores = self.rows[part] @ self.columns.T
            pairs = contrast.masked_pairs[self.starts[part.start] : self.starts[part.stop]]
            scores[pairs[:, 0] - part.start, pairs[:, 1]] = -torch.inf
            _mask_by_margin(scores, groups, self.objective.margin)
            if self.guide is not None:
                guide = self.guide[contrast.rows[part]] @ self.guide[contrast.columns].T
        else:
            group_rows = contrast.columns[groups]
            scores = torch.einsum("bd,bgd->bg", self.rows[part], self.vectors[group_rows])
            if self.guide is not None:
                guide = torch.einsum("bd,bgd->bg", self.guide[contrast.rows[part]], self.guide[group_rows])
            groups = torch.arange(groups.shape[1], device=groups.device).expand(groups.shape)
        block = ScoreBlock(
            scores, groups, None if contrast.teacher is None else contrast.teacher[part], guide, contrast.weight
        )
        if (masked := self.objective.loss.false_negatives(block)) is not None:
            scores.masked_fill_(masked, -torch.inf)
        self.negatives += (scores > -torch.inf).sum() - len(scores)
        scores /= self.temperature
        return block

    def backward(self, part: slice, by_score: Tensor, weight: float) -> None:
        """Add what d loss / d scores of these rows, which is overwritten, gives when the loss has this weight."""
        queries = self.rows[part]
        by_score *= weight / self.temperature
        if self.in_batch:
            self.row_gradient[part] = by_score @ self.columns
            self.column_gradient.addmm_(by_score.T, queries)
        else:
            group_rows = self.contrast.columns[self.contrast.group_columns[part]]
            self.row_gradient[part] = torch.einsum("bg,bgd->bd", by_score, self.vectors[group_rows])
            outer = by_score.unsqueeze(-1) * queries.unsqueeze(1)
            self.gradient.index_add_(0, group_rows.reshape(-1), outer.flatten(0, 1))

    def sum_gradient(self) -> Tensor:
        """(n, d) the gradient of the embeddings from all rows."""
        self.gradient.index_add_(0, self.contrast.rows, self.row_gradient)
        if self.in_batch:
            self.gradient.index_add_(0, self.contrast.columns, self.column_gradient)
        return self.gradient


def _one_contrast(
    vectors: Tensor, contrast: ContrastiveRows, objective: LossConfig, weight: float, guide: Tensor | None
) -> tuple[float, Tensor, float]:
    """Weighted loss, its gradient (n, d) and the negatives counted, block by block of rows."""
    matrix = _ScoreMatrix(vectors, contrast, objective, guide)
    loss = torch.zeros((), dtype=torch.float64, device=vectors.device)
    parts = matrix.blocks()
    if objective.loss.whole_batch:
        block = _joined([matrix.block(part) for part in parts])
        whole, by_score = _with_gradient(objective.loss, block)
        loss += whole.double() * weight
        for part in parts:
            matrix.backward(part, by_score[part], weight)
    else:
        for part in parts:
            block_loss, by_score = _with_gradient(objective.loss, matrix.block(part))
            loss += block_loss.double() * weight
            matrix.backward(part, by_score, weight)
    return loss.item(), matrix.sum_gradient(), float(matrix.negatives.item())


def _joined(blocks: list[ScoreBlock]) -> ScoreBlock:
    """One block of the rows of several."""
    if len(blocks) == 1:
        return blocks[0]

    def rows(name: str) -> Tensor | None:
        parts = [getattr(block, name) for block in blocks]
        return None if parts[0] is None else torch.cat(parts)

    return replace(blocks[0], **{name: rows(name) for name in ("scores", "groups", "teacher", "guide")})


def _with_gradient(loss: Loss, block: ScoreBlock) -> tuple[Tensor, Tensor]:
    """The loss of a block and its gradient with respect to the scores."""
    block.scores.requires_grad_()
    with torch.enable_grad():
        value = loss(block)
        if value.shape != ():
            raise InputError(f"loss: {type(loss).__name__} gave {tuple(value.shape)} numbers; return their sum")
        (gradient,) = torch.autograd.grad(value, block.scores)
    return value.detach(), gradient


def _masked_by_row(contrast: ContrastiveRows) -> list[int]:
    """Where each row's pairs start in `masked_pairs`, which is sorted by row."""
    edges = torch.arange(contrast.rows.shape[0] + 1, device=contrast.masked_pairs.device)
    return torch.searchsorted(contrast.masked_pairs[:, 0].contiguous(), edges).tolist()


def _mask_by_margin(scores: Tensor, groups: Tensor, margin: float | None) -> None:
    """Mask, in place, what scores more than `margin` above the row's positive.

    As in Qwen3-Embedding (Zhang et al. 2025, arXiv 2506.05176, margin 0.1). A row's own group stays: its negatives
    were chosen for it, with mining's own margin.
    """
    if margin is None:
        return
    group_scores = scores.gather(1, groups)
    scores.masked_fill_(scores > group_scores[:, :1] + margin, -torch.inf)
    scores.scatter_(1, groups, group_scores)
