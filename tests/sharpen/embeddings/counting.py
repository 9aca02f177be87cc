"""An encoder whose work is counted, and the folder of its vectors: what the tests of the cache share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sharpen.embeddings import embed, embed_texts
from sharpen.embeddings.shards import VECTORS
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings

WORDS = "river tree moon milk winter train doctor yellow number sugar".split()
TEXTS = [" ".join([WORDS[number % 10], WORDS[number // 10], *["sea"] * (number % 7)]) for number in range(60)]


class Counted:
    """An encoder whose encoded texts are counted."""

    def __init__(self, model: Path, **settings: Any) -> None:
        values = {"precision": "fp32", "passage_max_len": 32, "query_max_len": 32, **settings}
        self.encoder = Encoder.load(str(model), EncoderSettings.checked(values), device="cpu")
        self.texts = 0
        whole = self.encoder.forward

        def forward(input_ids: torch.Tensor, *others: Any, **more: Any) -> torch.Tensor:
            self.texts += len(input_ids)
            return whole(input_ids, *others, **more)

        self.encoder.forward = forward  # type: ignore[method-assign]

    def computed(self, texts: list[str], kind: Any = "passage", instructions: list[str | None] | None = None) -> int:
        """How many texts were computed for these."""
        before = self.texts
        embed_texts(self.encoder, texts, kind, instructions)
        return self.texts - before


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "a cache"))
    monkeypatch.setattr(embed, "MIN_TEXTS_TO_CACHE", 1)
    return tmp_path / "a cache" / "vectors"


def shards(cache: Path, ending: str = VECTORS) -> list[Path]:
    return sorted(cache.glob(f"*/*{ending}"))
