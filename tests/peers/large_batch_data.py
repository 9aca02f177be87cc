"""A tiny BERT with random weights, or one of base size, and rows of short synthetic texts, for one very large batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast  # type: ignore[attr-defined]

from tests.peers.mining_data import write_lines

WORDS = 30_000


@dataclass(frozen=True)
class Shape:
    """Layers, hidden size and heads of a BERT."""

    layers: int
    hidden: int
    heads: int


SHAPES = {"tiny": Shape(2, 128, 2), "small": Shape(6, 384, 12), "base": Shape(12, 768, 12)}


def write_model(folder: Path, shape: Shape, seed: int) -> None:
    """A BERT with random weights whose vocabulary is `WORDS` made-up words."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(WORDS))]
    vocabulary = {name: number for number, name in enumerate(names)}
    BertTokenizerFast(vocab=vocabulary, model_max_length=128).save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.hidden,
        max_position_embeddings=128,
    )
    BertModel(config).save_pretrained(folder)


def write_rows(file: Path, queries: int, group: int, words: tuple[int, int], seed: int) -> None:
    """Rows of FlagEmbedding's format: random words, no text twice.

    Args:
        file: where to.
        queries: how many rows.
        group: passages a query: its positive, which shares half of its words, and negatives of its own.
        words: words of a query and of a passage.
        seed: of the words.
    """
    draw = np.random.default_rng(seed)
    asked = draw.integers(WORDS, size=(queries, words[0]))
    passages = draw.integers(WORDS, size=(queries, group, words[1]))
    shared = words[0] // 2
    passages[:, 0, :shared] = asked[:, :shared]

    def text(numbers: np.ndarray, mark: str) -> str:
        # the mark makes every text another one; the tokeniser knows it as one unknown word
        return " ".join([mark, *(f"w{number}" for number in numbers.tolist())])

    write_lines(
        file,
        [
            {
                "query": text(asked[row], f"q{row}"),
                "pos": [text(passages[row, 0], f"p{row}x0")],
                "neg": [text(passages[row, place], f"p{row}x{place}") for place in range(1, group)],
            }
            for row in range(queries)
        ],
    )
