"""GISTEmbed: a guide model says which in-batch negatives are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sharpen.losses.base import ScoreBlock
from sharpen.losses.infonce import InfoNCE

if TYPE_CHECKING:
    from torch import Tensor


class GISTEmbed(InfoNCE):
    """InfoNCE without the negatives that the guide finds as near as the positive (Solatorio 2024, arXiv 2402.16829).

    sentence-transformers' GISTEmbedLoss with ``contrast_anchors`` and ``contrast_positives`` false: queries are
    contrasted with passages, as they are searched. Hard negatives of the group are masked alike.

    Args:
        margin: what scores above the positive's guide score minus this is masked.
    """

    guided = True

    def __init__(self, margin: float = 0.0) -> None:
        self.margin = margin

    def false_negatives(self, block: ScoreBlock) -> Tensor:
        """(b, M) True where the guide's score is above that of the positive minus the margin."""
        assert block.guide is not None
        positive = block.groups[:, :1]
        near = block.guide > block.guide.gather(1, positive) - self.margin
        return near.scatter(1, positive, False)
