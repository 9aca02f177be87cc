"""MarginMSE: the model's margins are to equal the teacher's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sharpen.losses.base import Loss, ScoreBlock

if TYPE_CHECKING:
    from torch import Tensor


class MarginMSE(Loss):
    """Mean squared error of positive minus negative against the teacher's (Hofstätter et al. 2020, arXiv 2010.02666).

    Of each query's hard negatives that the teacher scored; in-batch negatives play no part. Scores are the inner
    products themselves, so the teacher's margins must be on their scale: -2 to 2 with `normalize_embeddings`.

    Args:
        teacher_temperature: the teacher's scores are divided by it, which brings a cross-encoder's onto that scale.
    """

    in_batch, scaled, distills = False, False, "always"

    def __init__(self, teacher_temperature: float = 1.0) -> None:
        self.teacher_temperature = teacher_temperature

    def __call__(self, block: ScoreBlock) -> Tensor:
        """Sum over rows of the mean over the group's scored negatives."""
        assert block.teacher is not None
        scores, teacher = block.group_scores, block.teacher.to(block.scores.dtype) / self.teacher_temperature
        scored = teacher[:, 1:] > -float("inf")
        error = (scores[:, :1] - scores[:, 1:]) - (teacher[:, :1] - teacher[:, 1:])
        squared = error.masked_fill(~scored, 0.0).square().sum(dim=1)
        return (squared / scored.sum(dim=1).clamp(min=1)).sum()
