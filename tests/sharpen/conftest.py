"""Tiny cross-encoders with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest


def make_cross_encoder(folder: Path, tokenizer: Path, outputs: int) -> Path:
    """A tiny BERT with a classification head whose scores differ by several units."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    words = AutoTokenizer.from_pretrained(tokenizer)
    words.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        num_labels=outputs,
        initializer_range=0.4,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(30 + outputs)
        BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A cross-encoder with one output."""
    return make_cross_encoder(tmp_path_factory.mktemp("cross") / "encoder", tiny_model, 1)
