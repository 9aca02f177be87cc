"""Steps of pre-training: which windows are in a step, and what of them is masked.

A step is a pure function of (windows, settings, step): it depends neither on the number of processes nor on a restart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sharpen.distributed import ProcessGroup
from sharpen.models.micro_batches import padded_length
from sharpen.pretraining import masks
from sharpen.pretraining.settings import PretrainingSettings
from sharpen.pretraining.windows import Windows
from sharpen.training.data.collator import assign_micro_batches
from sharpen.training.data.mixing import cut
from sharpen.training.gradient.micro_batch import MicroBatchConfig, plan

IGNORED = -100


@dataclass(frozen=True)
class Vocabulary:
    """Token ids that masking needs: of the mask and of padding, and all that are no special token."""

    mask: int
    padding: int
    ordinary: np.ndarray


@dataclass(frozen=True)
class MaskedTexts:
    """Windows that are computed at once; n of them, L tokens wide.

    Attributes:
        masked_ids: (n, L) the encoder's input.
        ids: (n, L) the text.
        attention_mask: (n, L) 0 for padding.
        encoder_labels: (n, L) ids of masked tokens, `IGNORED` elsewhere.
        decoder_labels: (n, L) ids of all tokens that are not special, `IGNORED` elsewhere; None: no decoder.
        visible: (n, L, L, bool) what the decoder sees from each position; None: no decoder.
    """

    masked_ids: Tensor
    ids: Tensor
    attention_mask: Tensor
    encoder_labels: Tensor
    decoder_labels: Tensor | None
    visible: Tensor | None

    def to(self, device: torch.device) -> MaskedTexts:
        """The same on a device."""
        return MaskedTexts(*(None if part is None else part.to(device) for part in vars(self).values()))  # type: ignore[arg-type]


@dataclass(frozen=True)
class MaskedBatch:
    """This process's part of a step: its micro-batches, the step's number, and the windows of all processes."""

    step: int
    total_rows: int
    micro_batches: list[MaskedTexts]


class WindowSteps(Dataset):
    """All steps of a pre-training. Each epoch takes every window once, in an order drawn from (seed, epoch).

    Args:
        windows: of the corpus.
        vocabulary: for masking.
        settings: batch size, masks, seed.
        exchange: the processes.
        steps: how many there are; None: one epoch.
        device: what micro-batches must suit.
    """

    def __init__(
        self,
        windows: Windows,
        vocabulary: Vocabulary,
        settings: PretrainingSettings,
        exchange: ProcessGroup,
        device: torch.device,
        steps: int | None = None,
    ) -> None:
        self.windows, self.vocabulary, self.settings, self.device = windows, vocabulary, settings, device
        self.rank, self.size = exchange.rank, exchange.size
        self._epoch = lru_cache(maxsize=2)(self._batches_of)
        self.per_epoch = len(self._epoch(0))
        self.steps = self.per_epoch if steps is None else steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> MaskedBatch:
        if step >= self.steps:
            raise IndexError(step)
        epoch, position = divmod(step, self.per_epoch)
        numbers = self._epoch(epoch)[position].tolist()
        share = assign_micro_batches([len(self.windows[number][0]) for number in numbers], self.size)[self.rank]
        mine = [numbers[row] for row in share.tolist()]
        memory = MicroBatchConfig(tokens=self.settings.micro_batch_tokens)
        cut_rows = plan([self.windows[number][0] for number in mine], memory, self.device)
        return MaskedBatch(step, len(numbers), [self.masked([mine[row] for row in rows], epoch) for rows in cut_rows])

    def masked(self, numbers: list[int], epoch: int) -> MaskedTexts:
        """Windows by their numbers, with the masks that they have in an epoch."""
        settings, decodes = self.settings, self.settings.method == "retromae"
        width = max(len(self.windows[number][0]) for number in numbers)
        width = max(width, min(padded_length(width), self.windows.counts.window_length))
        shape = (len(numbers), width)
        ids, masked_ids = (np.full(shape, self.vocabulary.padding, dtype=np.int64) for _ in range(2))
        attention, encoder_labels = np.zeros(shape, dtype=np.int64), np.full(shape, IGNORED, dtype=np.int64)
        decoder_labels = encoder_labels.copy()
        visible = np.zeros((*shape, width), dtype=bool) if decodes else None
        for row, number in enumerate(numbers):
            text, kinds = self.windows[number]
            size, whole = len(text), settings.whole_word_mask
            rng = np.random.default_rng([settings.seed, epoch, 3, number])
            chosen = masks.masked_positions(kinds, settings.encoder_mlm_probability, whole, rng)
            ids[row, :size], attention[row, :size] = text, 1
            masked_ids[row, :size] = masks.corrupted(text, chosen, self.vocabulary.mask, self.vocabulary.ordinary, rng)
            encoder_labels[row, :size][chosen] = text[chosen]
            if visible is not None:
                unseen = masks.unseen_words(kinds, settings.decoder_mlm_probability, whole, rng)
                visible[row, :size, :size] = masks.visible_positions(kinds, unseen)
                visible[row, size:, 0] = True  # padding restores nothing, but must see something
                decoder_labels[row, :size] = np.where(kinds == masks.SPECIAL, IGNORED, text)
        return MaskedTexts(
            masked_ids=torch.from_numpy(masked_ids),
            ids=torch.from_numpy(ids),
            attention_mask=torch.from_numpy(attention),
            encoder_labels=torch.from_numpy(encoder_labels),
            decoder_labels=None if visible is None else torch.from_numpy(decoder_labels),
            visible=None if visible is None else torch.from_numpy(visible),
        )

    def _batches_of(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self.settings.seed, epoch, 0])
        return cut(rng.permutation(len(self.windows)), self.settings.train_batch_size, rng)
