"""Two models tuned from one base, as noise on its weights, and data to search a weight on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from tests.sharpen.training.small_data import small_data

ENCODER = EncoderSettings.checked({"precision": "fp32", "query_max_len": 16, "passage_max_len": 24})


@pytest.fixture(scope="module")
def tuned_from(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function: a base model and a seed -> a folder of a model whose weights differ from it by noise of the seed."""

    def tune(base: Path, seed: int, **settings: object) -> Path:
        encoder = Encoder.load(str(base), ENCODER.model_copy(update=settings))
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in encoder.parameters():
                weight += 0.02 * torch.randn(weight.shape, generator=draw)
        folder = tmp_path_factory.mktemp("tuned") / f"tuned-{seed}"
        encoder.save(folder)
        return folder

    return tune


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "data"
    with storage.publish(str(folder), producer="data_prep") as local:
        small_data().save(local)
    return folder
