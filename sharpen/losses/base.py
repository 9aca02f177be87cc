"""What a loss is: scores in, the sum of the rows' losses out; everything around it is the same for all losses.

The step gathers embeddings from all processes, makes the score matrix a block of rows at a time, masks what is no
negative, and takes a loss's gradient back through the scores into the weights (`sharpen.losses.contrastive`). So a loss
of one's own is exact with the gradient cache, cross-device negatives, Matryoshka and any number of processes::

    from sharpen.losses import Loss

    class Hinge(Loss):
        \"\"\"Every negative should score at least `margin` below the positive.\"\"\"

        def __init__(self, margin=5.0):
            self.margin = margin

        def __call__(self, block):
            positive = block.group_scores[:, :1]
            return (block.scores - positive + self.margin).clamp(min=0).sum() - self.margin * len(positive)

    sharpen.finetune(base, data, loss=Hinge(2.0))     # or the setting loss: my_package.my_module:Hinge

Nothing here imports torch, so that settings can be checked where it is not installed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ScoreBlock:
    """Some rows of the score matrix of the global batch.

    Attributes:
        scores: (b, M) inner products divided by the temperature; -inf: masked. M is the columns of the whole batch, or
            G where a row has its own group only.
        groups: (b, G) columns of the row's own group; the first is its positive, the others its hard negatives.
        teacher: (b, G) teacher scores of the group (-inf: not scored); None: the data have none, or distillation is
            off, or these are rows of `symmetric`, where positives look for their queries.
        guide: (b, M) inner products of the guide model's embeddings; None: there is no guide model.
        weight: the share of these rows in the loss of their queries: 0.5 with `symmetric`, else 1. What a query has in
            one direction only, such as distillation, is divided by it.
    """

    scores: Tensor
    groups: Tensor
    teacher: Tensor | None = None
    guide: Tensor | None = None
    weight: float = 1.0

    @property
    def group_scores(self) -> Tensor:
        """(b, G) scores of the row's own group, positive first."""
        return self.scores.gather(1, self.groups)


class Loss(ABC):
    """A loss of rows of scores; subclass it and write `__call__`.

    Attributes:
        in_batch: it looks at the whole batch's columns; False: at each row's own group, which needs no other scores.
        whole_batch: all rows of the global batch are one block, computed on the first process; for losses that compare
            rows with each other. Without `in_batch` that is N x G scores, with it the matrix is held whole.
        scaled: scores are divided by the temperature; False: they are the inner products themselves.
        distills: it learns from teacher scores: ``"always"``, ``"optionally"`` or ``"never"``.
        guided: it needs a guide model.
    """

    in_batch: ClassVar[bool] = True
    whole_batch: ClassVar[bool] = False
    scaled: ClassVar[bool] = True
    distills: ClassVar[str] = "optionally"
    guided: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, block: ScoreBlock) -> Tensor:
        """The sum of the rows' losses, one number; autograd takes its gradient with respect to `block.scores`."""

    def false_negatives(self, block: ScoreBlock) -> Tensor | None:
        """(b, M) True for what is masked besides what the batch masks by identity and margin; None: nothing."""
        return None
