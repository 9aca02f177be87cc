"""A sound run, which others are made from by one fault each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from sharpen.diagnosis.artifacts import RunArtifacts
from tests.sharpen.diagnosis.runs import Workshop, make_rows


@dataclass(frozen=True)
class Sound:
    """A sound run and its parts."""

    workshop: Workshop
    data: str
    negatives: str
    base: str
    run: RunArtifacts


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Sound:
    """Data that can be learned, enough steps, a dev set that is watched, and a model that is better."""
    workshop = Workshop(tmp_path_factory.mktemp("runs"), tiny_model)
    data = workshop.prepare("sound", make_rows(260))
    negatives = workshop.mine("sound", data)
    base = workshop.measure("sound-base", data)
    settings = {"max_steps": 30, "train_batch_size": 16, "train_group_size": 2, "eval_steps": 15}
    return Sound(workshop, data, negatives, base, workshop.run("sound", data, negatives, base, **settings))
