"""Learning from a teacher's scores as FlagEmbedding does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sharpen.losses.base import Loss, ScoreBlock
from sharpen.losses.infonce import info_nce

if TYPE_CHECKING:
    from torch import Tensor


class KLDistillation(Loss):
    """InfoNCE plus the divergence of the group's softmax from the teacher's (FlagEmbedding's ``kl_div``).

    Args:
        kd_weight: of the divergence; it means the same with `symmetric`.
        infonce_weight: of InfoNCE; 0: the teacher alone is learned from.
        teacher_temperature: the teacher's scores are divided by it.
    """

    distills = "always"

    def __init__(self, kd_weight: float = 1.0, infonce_weight: float = 1.0, teacher_temperature: float = 1.0) -> None:
        self.kd_weight, self.infonce_weight = kd_weight, infonce_weight
        self.teacher_temperature = teacher_temperature

    def __call__(self, block: ScoreBlock) -> Tensor:
        """See `info_nce` and `kl_divergence`."""
        loss = self.infonce_weight * info_nce(block.scores, block.groups[:, 0])
        if block.teacher is None:
            return loss
        teacher = block.teacher / self.teacher_temperature
        return loss + self.kd_weight / block.weight * kl_divergence(block.group_scores, teacher)


class M3Distillation(Loss):
    """BGE-M3's distillation in place of InfoNCE (FlagEmbedding's ``m3_kd_loss``).

    Args:
        teacher_temperature: the teacher's scores are divided by it.
    """

    distills = "always"

    def __init__(self, teacher_temperature: float = 1.0) -> None:
        self.teacher_temperature = teacher_temperature

    def __call__(self, block: ScoreBlock) -> Tensor:
        """See `m3_distillation`; rows without teacher scores have InfoNCE."""
        if block.teacher is None:
            return info_nce(block.scores, block.groups[:, 0])
        return m3_distillation(block.scores, block.groups, block.teacher / self.teacher_temperature)


def kl_divergence(scores: Tensor, teacher: Tensor) -> Tensor:
    """Sum over rows of the cross-entropy between softmax(teacher) and softmax(scores), both (b, G).

    The teacher's entropy, a constant, is left out.
    """
    return -(teacher.to(scores.dtype).softmax(dim=1) * scores.log_softmax(dim=1)).sum()


def m3_distillation(scores: Tensor, groups: Tensor, teacher: Tensor, *, as_given: bool = False) -> Tensor:
    """Sum over rows of BGE-M3's distillation loss (Chen et al. 2024, arXiv 2402.03216, in its published code).

    For each passage of the group in turn, the cross-entropy over all columns with that passage as target, weighted by
    softmax(teacher); the passage is then taken out of the columns. The positive goes first and the negatives follow
    from high to low teacher score, so that the loss does not depend on the order in which they were drawn.

    Args:
        scores: (b, M) of all columns.
        groups: (b, G) columns of the group, positive first.
        teacher: (b, G) teacher scores of the group.
        as_given: take the negatives in the order of the group, as the published code does.
    """
    weights = teacher.to(scores.dtype).softmax(dim=1)
    order = teacher[:, 1:].argsort(dim=1, descending=True, stable=True)
    if as_given:
        order = order.sort(dim=1).values
    total = scores.new_zeros(())
    for rank in range(groups.shape[1]):
        # the member whose turn it is: the positive, then the negatives from high to low
        member = order[:, rank - 1 : rank] + 1 if rank else order.new_zeros((len(order), 1))
        column = groups.gather(1, member)
        weight = weights.gather(1, member).squeeze(1)
        target = scores.gather(1, column).squeeze(1)
        total = total + (weight * (scores.logsumexp(dim=1) - target)).sum()
        scores = scores.scatter(1, column, -float("inf"))
    return total
