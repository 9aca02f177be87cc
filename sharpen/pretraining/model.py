"""What is pre-trained: an encoder, the head of its masked language model, and with RetroMAE a decoder."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sharpen.models.encoder import Encoder
from sharpen.models.masked_lm import MaskedLMHead, embedded, has_position_embeddings
from sharpen.models.pooling import pool
from sharpen.pretraining.batches import IGNORED, MaskedTexts
from sharpen.pretraining.decoder import EnhancedDecoder, sinusoids

# Scores (tokens x vocabulary) that are in memory at once; of more, blocks are computed again in the backward pass.
BLOCK_SCORES = 2**28


class PretrainingModel(nn.Module):
    """Masked texts -> losses.

    Args:
        encoder: what is kept in the end.
        head: of its masked language model.
        decoder: RetroMAE's; None: masked-language modelling alone.
    """

    def __init__(self, encoder: Encoder, head: MaskedLMHead, decoder: EnhancedDecoder | None) -> None:
        super().__init__()
        self.encoder, self.head, self.decoder = encoder, head, decoder
        # they follow the vector that is learned here, and stay as they are
        encoder.dense.requires_grad_(False)
        self.adds_positions = not has_position_embeddings(encoder)

    def forward(self, texts: MaskedTexts) -> tuple[Tensor, Tensor]:
        """Summed cross-entropy: of masked tokens by the encoder, of all by the decoder (0 without one)."""
        # a mask that hides nothing takes time; to look at it on a GPU would take more
        hides = texts.masked_ids.device.type != "cpu" or not bool(texts.attention_mask.all())
        mask = texts.attention_mask if hides else None
        states = self.encoder.model(input_ids=texts.masked_ids, attention_mask=mask).last_hidden_state
        encoder_loss = self.token_losses(states, texts.encoder_labels)
        if self.decoder is None or texts.visible is None or texts.decoder_labels is None:
            return encoder_loss, encoder_loss.new_zeros(())
        sentence = pool(states, texts.attention_mask, self.encoder.pooling)
        decoded = self.decoder(*self.decoder_inputs(sentence, texts.ids), texts.visible)
        return encoder_loss, self.token_losses(decoded, texts.decoder_labels)

    def decoder_inputs(self, sentence: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The decoder's queries, and its keys and values (both n, L, d).

        Args:
            sentence: (n, d) sentence embeddings, not normalised.
            ids: (n, L) the texts, not masked.
        """
        queries = embedded(self.encoder, vectors=sentence[:, None].expand(-1, ids.shape[1], -1))
        texts = embedded(self.encoder, ids=ids)
        if self.adds_positions:
            positions = sinusoids(ids.shape[1], sentence.shape[1], ids.device)
            queries, texts = queries + positions, texts + positions
        return queries, torch.cat([sentence[:, None].to(texts.dtype), texts[:, 1:]], dim=1)

    def token_losses(self, states: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of vectors (n, L, d) against labels (n, L), summed over those that are not `IGNORED`."""
        chosen = labels != IGNORED
        vectors, wanted = states[chosen], labels[chosen]
        block = max(1, BLOCK_SCORES // self.vocabulary_size)
        if len(vectors) <= block:
            return _summed_loss(self.head, vectors, wanted)
        again = partial(checkpoint, _summed_loss, self.head, use_reentrant=False)
        parts = [again(*part) for part in zip(vectors.split(block), wanted.split(block), strict=True)]
        return torch.stack(parts).sum()

    @property
    def vocabulary_size(self) -> int:
        """Scores of a token."""
        return int(self.encoder.model.config.vocab_size)


def _summed_loss(head: nn.Module, vectors: Tensor, labels: Tensor) -> Tensor:
    scores = head(vectors)
    scores = scores if scores.dtype == torch.float64 else scores.float()
    return functional.cross_entropy(scores, labels, reduction="sum")
