"""CoSENT: pairs are ranked as their labels are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sharpen.losses.base import Loss, ScoreBlock

if TYPE_CHECKING:
    from torch import Tensor


class CoSENT(Loss):
    """log(1 + sum of exp(s_j - s_i) over all pairs i, j of the batch where i has the higher label).

    Su 2022 (https://kexue.fm/archives/8847), sentence-transformers' CoSENTLoss with scale 1 / temperature. A pair is a
    query with a passage of its group. Its label is the teacher's score, where one is missing the pair is left out;
    without `knowledge_distillation` it is 1 for positives and 0 for negatives.
    """

    in_batch, whole_batch = False, True

    def __call__(self, block: ScoreBlock) -> Tensor:
        """The loss of the batch, times its rows, since the step divides by them."""
        import torch

        scores = block.group_scores
        labels = block.teacher
        if labels is None:
            labels = scores.new_zeros(scores.shape)
            labels[:, 0] = 1.0
        known = labels > -float("inf")
        scores, labels = scores[known], labels[known]
        order = labels.argsort(descending=True)
        scores, falling = scores[order], -labels[order]
        # how many pairs have a higher label than each pair, which are the first ones
        higher = torch.searchsorted(falling, falling)
        lower = higher > 0
        terms = scores[lower] + (-scores).logcumsumexp(dim=0)[higher[lower] - 1]
        return len(block.scores) * scores.new_zeros(1).logaddexp(terms.logsumexp(dim=0, keepdim=True)).squeeze(0)
