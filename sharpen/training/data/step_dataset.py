"""Step number -> this process's part of that step, for a `DataLoader`."""

from __future__ import annotations

from torch.utils.data import Dataset

from sharpen.distributed import ProcessGroup
from sharpen.losses import Loss
from sharpen.training.data.collator import ShardedBatch, shard_batch
from sharpen.training.data.guide import GuideEmbeddings
from sharpen.training.data.sampler import BatchSampler
from sharpen.training.data.tokens import Tokens
from sharpen.training.settings import TrainingSettings


class StepDataset(Dataset):
    """All steps of a training.

    Args:
        batches: gives the global batches.
        tokens: token ids of the examples.
        settings: which rows are contrasted with which.
        exchange: the processes.
        steps: how many there are.
        loss: of the search for passages.
        guide: the guide model's embeddings, or None.
    """

    def __init__(
        self,
        batches: BatchSampler,
        tokens: Tokens,
        settings: TrainingSettings,
        exchange: ProcessGroup,
        steps: int,
        loss: Loss,
        guide: GuideEmbeddings | None = None,
    ):
        self.batches, self.tokens, self.settings = batches, tokens, settings
        self.rank, self.size, self.steps = exchange.rank, exchange.size, steps
        self.loss, self.guide = loss, guide

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch."""
        return self.batches.per_epoch

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> ShardedBatch:
        if step >= self.steps:
            raise IndexError(step)
        return shard_batch(
            *(self.batches.batch(step), self.tokens, self.settings, self.rank, self.size),
            loss=self.loss,
            guide=self.guide,
        )
