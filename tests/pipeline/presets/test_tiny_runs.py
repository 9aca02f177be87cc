"""Each preset's settings in the library's own functions, on a tiny model and few steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.parameters import load
from pipeline.presets.catalog import NAMES
from sharpen.data.preparation.prepare import prepare
from sharpen.data.preparation.settings import DataSettings
from sharpen.data.source_settings import parse_sources
from sharpen.evaluation.evaluate import evaluate
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.mining.mine import mine
from sharpen.mining.settings import StepSettings
from sharpen.models.model_config import computing_part
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.teachers.score import score_by_teachers
from sharpen.teachers.settings import StepSettings as TeachersSettings
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from tests.sharpen.conftest import make_cross_encoder
from tests.sharpen.diagnosis.runs import make_rows, write

pytestmark = pytest.mark.model

# what must be tiny on a tiny model: steps, batches and lengths, never which settings there are
TINY = {
    "training.max_steps": 2,
    "training.eval_steps": 2,
    "training.train_batch_size": 8,
    "training.train_group_size": 2,
    "encoder.query_max_len": 16,
    "encoder.passage_max_len": 24,
    "evaluation.resamples": 100,
    "evaluation.guard_data": "",
}


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.sharpen.models.tiny_models import make_model

    return make_model(tmp_path_factory.mktemp("tiny-decoder"), "qwen2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Rows of two sources, prepared once."""
    folder = tmp_path_factory.mktemp("preset-data")
    for name, seed in (("one", 1), ("two", 2)):
        write(folder / f"{name}.jsonl", make_rows(60, seed=seed, subject=f"{name} of"))
    settings = DataSettings.from_json(load(preset="hundreds").group_json("data"))
    prepare(parse_sources(f"{folder}/one.jsonl,{folder}/two.jsonl"), [], str(folder / "data"), settings)
    return str(folder / "data")


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_trains_a_tiny_model(name: str, data: str, tiny_model: Path, decoder: Path, tmp_path: Path) -> None:
    model = str(decoder if name == "decoder-lora" else tiny_model)
    assignments = [f"{setting}={value}" for setting, value in TINY.items()]
    if name == "strong-base":
        assignments.append(f"teachers.cross_encoder={make_cross_encoder(tmp_path / 'teacher', tiny_model, 1)}")
    settings = load(None, [*assignments, f"base_model={model}"], preset=name)

    def group(kind: Any, of: str) -> Any:
        return kind.from_json(settings.group_json(of), where=f"{of}.")

    encoder, training = group(EncoderSettings, "encoder"), group(TrainingSettings, "training")
    negatives = str(tmp_path / "negatives")
    mine(data, model, negatives, group(StepSettings, "mining"), encoder)
    if settings.teachers.enabled:
        mined, negatives = negatives, str(tmp_path / "scored")
        score_by_teachers(data, mined, negatives, group(TeachersSettings, "teachers"), encoder)
    facts = train(data, negatives, model, str(tmp_path / "model"), training, encoder)
    assert facts["settings"]["knowledge_distillation"] == (name == "strong-base")
    assert facts["steps"] == 2 and facts["dev_ndcg_at_10_base"] is not None
    assert bool(facts["adapters"]) == (name == "decoder-lora")
    tuned = str(tmp_path / "model")
    evaluate(
        tuned,
        data,
        "test",
        str(tmp_path / "evaluation"),
        group(EvaluationSettings, "evaluation"),
        computing_part(encoder),
    )
    assert 0 <= storage.read_json(f"{tmp_path}/evaluation/metrics.json")["ndcg_at_10"] <= 1
    shown = json.loads((tmp_path / "model" / "training.json").read_text())["settings"]
    assert shown["num_train_epochs"] == settings.training.num_train_epochs
