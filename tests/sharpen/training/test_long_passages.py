"""A passage of 8,192 tokens goes through whole, and the gradient cache gives its gradient without its activations."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.training.gradient.gradient_cache import encode
from sharpen.training.gradient.micro_batch import MicroBatchConfig
from sharpen.training.model.encoder_setup import set_dropout
from tests.peers import random_model

pytestmark = pytest.mark.model


def test_the_cache_gives_the_gradient_of_8192_tokens(tmp_path: Path) -> None:
    random_model.write(tmp_path, hidden=64, layers=1, positions=8192)
    chosen = EncoderSettings.checked({"query_max_len": 16, "passage_max_len": 8192, "precision": "fp32"})
    encoder = Encoder.load(str(tmp_path), chosen, device="cpu", training=True).train()
    set_dropout(encoder, 0.0)
    # whatever is fast for short texts: all scores of such a text fill the memory of larger models
    assert encoder.attention == "sdpa"
    draw = random.Random(2)
    texts = [random_model.text(words, draw) for words in (60, 9000)]
    tokens = encoder.tokenize(texts, "passage")
    assert [len(ids) for ids in tokens] == [62, 8192]
    directions = torch.randn(2, 64, generator=torch.Generator().manual_seed(3))
    gradients = {}
    for cache in ("off", "on"):
        encoding = encode(encoder, tokens, MicroBatchConfig(cache=cache))
        assert [micro_batch.rows for micro_batch in encoding.micro_batches] == [[1], [0]]
        assert all((micro_batch.embeddings is None) == (cache == "on") for micro_batch in encoding.micro_batches)
        encoding.backward(directions)
        parts = [weights.grad.flatten() for weights in encoder.parameters() if weights.grad is not None]
        gradients[cache] = torch.cat(parts).clone()
        encoder.zero_grad()
    assert gradients["off"].norm() > 0
    torch.testing.assert_close(gradients["on"], gradients["off"])
