"""A BERT of random weights and any size, written as a folder, and texts of its words."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast  # type: ignore[attr-defined]

WORDS = [f"{first}{second}" for first in "bcdfghjklmnprstvz" for second in "aeiou"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]


def write(folder: Path, *, hidden: int, layers: int, positions: int = 512, vocabulary: int = len(VOCABULARY)) -> int:
    """Write the model and its tokenizer; returns how many weights it has.

    Args:
        folder: where to.
        hidden, layers: sizes; a head has 64 dimensions.
        positions: most tokens of a text.
        vocabulary: rows of the embedding, of which the texts of `text` use the first.
    """
    BertTokenizerFast(
        vocab={word: number for number, word in enumerate(VOCABULARY)}, model_max_length=positions
    ).save_pretrained(folder)
    torch.manual_seed(1)
    model = BertModel(
        BertConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=max(1, hidden // 64),
            intermediate_size=4 * hidden,
            max_position_embeddings=positions,
        ),
        add_pooling_layer=False,
    )
    model.save_pretrained(folder)
    return sum(weights.numel() for weights in model.parameters())


def text(words: int, draw: random.Random) -> str:
    """A text of so many words, each of one token."""
    return " ".join(draw.choices(WORDS, k=words))
