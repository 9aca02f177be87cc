"""RetroMAE's enhanced decoder: one transformer layer that restores every token from the sentence embedding.

Xiao et al. 2022, arXiv 2205.12035, section 3.3. The queries are the sentence embedding at every position; keys and
values are the text's own token embeddings, with the sentence embedding at position 0; and each position has an
attention mask of its own, in which it never sees itself.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class EnhancedDecoder(nn.Module):
    """A layer of BERT's kind (LayerNorm after attention and after the feed-forward part) with separate queries.

    Args:
        config: of the encoder: hidden_size, number of heads, size of the feed-forward part, dropout.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        size = config.hidden_size
        self.heads: int = config.num_attention_heads
        inner = getattr(config, "intermediate_size", None) or getattr(config, "hidden_dim", None) or 4 * size
        epsilon = getattr(config, "layer_norm_eps", None) or getattr(config, "norm_eps", None) or 1e-12
        # the names of BERT and of DistilBERT; others have none
        dropout = getattr(config, "hidden_dropout_prob", None) or getattr(config, "dropout", None) or 0.0
        self.query, self.key, self.value, self.output = (nn.Linear(size, size) for _ in range(4))
        self.attention_norm, self.output_norm = (nn.LayerNorm(size, eps=epsilon) for _ in range(2))
        self.expand, self.contract = nn.Linear(size, inner), nn.Linear(inner, size)
        self.dropout = nn.Dropout(dropout)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=getattr(config, "initializer_range", 0.02))
                nn.init.zeros_(part.bias)

    def forward(self, queries: Tensor, texts: Tensor, visible: Tensor) -> Tensor:
        """Vectors (n, L, d) from which each token is restored.

        Args:
            queries: (n, L, d) the sentence embedding with each position.
            texts: (n, L, d) keys and values.
            visible: (n, L, L, bool) what each position sees; at least one each.
        """
        shape = (*queries.shape[:2], self.heads, queries.shape[2] // self.heads)
        query, key, value = (
            layer(given).view(shape).transpose(1, 2)
            for layer, given in ((self.query, queries), (self.key, texts), (self.value, texts))
        )
        attended = functional.scaled_dot_product_attention(
            *(query, key, value), attn_mask=visible[:, None], dropout_p=self.dropout.p if self.training else 0.0
        )
        attended = attended.transpose(1, 2).reshape(queries.shape)
        states = self.attention_norm(queries + self.dropout(self.output(attended)))
        return self.output_norm(states + self.dropout(self.contract(functional.gelu(self.expand(states)))))


def sinusoids(length: int, size: int, device: torch.device) -> Tensor:
    """Positions (`length`, `size`) on a `device` as sines and cosines (Vaswani et al. 2017), where none are learned."""
    angles = torch.arange(length, device=device)[:, None] * torch.exp(
        torch.arange(0, size, 2, device=device) * (-math.log(10_000.0) / size)
    )
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :size]
