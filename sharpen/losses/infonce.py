"""InfoNCE, the usual loss of dense retrieval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sharpen.losses.base import Loss, ScoreBlock

if TYPE_CHECKING:
    from torch import Tensor


class InfoNCE(Loss):
    """Cross-entropy of the softmax over all columns against the positive (van den Oord et al. 2018, arXiv 1807.03748).

    sentence-transformers' MultipleNegativesRankingLoss, FlagEmbedding's loss without distillation.
    """

    distills = "never"

    def __call__(self, block: ScoreBlock) -> Tensor:
        """See `info_nce`."""
        return info_nce(block.scores, block.groups[:, 0])


def info_nce(scores: Tensor, targets: Tensor) -> Tensor:
    """Sum over rows of the cross-entropy of softmax(scores) (b, M) against the target column; -inf is left out."""
    return (scores.logsumexp(dim=1) - scores.gather(1, targets.unsqueeze(1)).squeeze(1)).sum()
