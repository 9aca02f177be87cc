"""The model card of a training: metadata that the hub's library accepts, and what a reviewer asks for."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from components.command_line import parse_options
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.training.model_card.cost import CostSettings, cost_lines, training_cost
from sharpen.training.model_card.sections import model_card
from sharpen.training.settings import TrainingSettings

ENCODER = EncoderSettings(query_max_len=16, passage_max_len=32)
SETTINGS = TrainingSettings(train_batch_size=8, temperature=0.05, max_steps=3, matryoshka_dims=[16], report_to=["all"])
DATA_FACTS = {
    "licence": "CC-BY-4.0",
    "languages": {"en": 90, "de": 10},
    "sources": [
        {"address": "s3://b/a.jsonl", "role": "train", "licence": "", "queries": 1200},
        {"address": "s3://b/<img>|b.jsonl", "role": "train", "licence": "MIT", "queries": 3},
        {"address": "s3://b/test.jsonl", "role": "eval", "licence": "", "queries": 40},
    ],
}


def facts(settings: TrainingSettings = SETTINGS, **values: Any) -> dict[str, Any]:
    """What a training records."""
    return {
        "base_model": "BAAI/bge-small-en-v1.5",
        "code_version": "0.2+abc",
        "data": "s3://b/prepared",
        "data_fingerprint": "d" * 64,
        "data_facts": DATA_FACTS,
        "negatives": "s3://b/mined",
        "negatives_hash": "e" * 64,
        "counts": {"queries": 1203},
        "seconds": 7200.0,
        "world_size": 2,
        "device": "cuda",
        "negatives_per_query": 15.0,
        "queries_per_second": 1.0,
        "temperature_increases": [],
        "settings": settings.model_dump(mode="json"),
        "encoder": ENCODER.model_dump(mode="json"),
        "versions": {"python": "3.11", "torch": "2.10"},
        **values,
    }


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    return Encoder.load(str(tiny_model), ENCODER, device="cpu")


def test_the_metadata_are_what_the_hub_reads(encoder: Encoder) -> None:
    card = ModelCard(
        model_card(encoder, facts(SETTINGS.model_copy(update={"power_watts": 500, "carbon_intensity": 400})))
    )
    data = card.data.to_dict()
    assert data["base_model"] == "BAAI/bge-small-en-v1.5" and data["base_model_relation"] == "finetune"
    assert data["language"] == ["en", "de"] and data["pipeline_tag"] == "sentence-similarity"
    # 2 h x 2 devices x 500 W = 2 kWh, at 400 g
    assert data["co2_eq_emissions"]["emissions"] == pytest.approx(800)
    assert data["co2_eq_emissions"]["hardware_used"] == "cuda"
    assert "co2_eq_emissions" not in ModelCard(model_card(encoder, facts())).data.to_dict()


def test_it_says_what_a_reviewer_asks_for(encoder: Encoder) -> None:
    card = model_card(encoder, facts())
    headings = [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]
    assert headings == [
        *("Intended use", "How to use it", "Training data", "Training", "Limits", "Cost and emissions"),
        *("How to reproduce", "Settings"),
    ]
    assert "Licence of the data: CC-BY-4.0." in card
    assert "| s3://b/a.jsonl | CC-BY-4.0 | 1,200 |" in card
    assert "| s3://b/&lt;img&gt;\\|b.jsonl | MIT | 3 |" in card
    assert "test.jsonl |" not in card
    assert "A query is cut after 16 tokens and a passage after 32" in card
    assert "Languages of the training data: en, de." in card
    bare = model_card(encoder, facts(data_facts={}))
    assert "Licence of the data: not stated (set data.licence)." in bare and "training data: not recorded" in bare


def test_the_command_gives_the_same_settings(encoder: Encoder) -> None:
    card = model_card(encoder, facts())
    [line] = [line for line in card.splitlines() if line.startswith("- Command: ")]
    words = shlex.split(line.removeprefix("- Command: ").strip("`"))
    assert words[:5] == ["torchrun", "--nproc-per-node", "2", "-m", "components.finetuning"]
    given = dict(zip(words[5::2], words[6::2], strict=True))
    named = {name.removeprefix("--"): value for name, value in given.items()}
    assert (named["data"], named["negatives"]) == ("s3://b/prepared", "s3://b/mined")
    again = TrainingSettings.checked(parse_options(TrainingSettings, {**named}))
    assert again == SETTINGS
    assert EncoderSettings.checked(parse_options(EncoderSettings, {**named})) == ENCODER
    for line in (f"| data | {'d' * 64} |", f"| hard negatives | {'e' * 64} |", "| seed | 42 |", "| torch | 2.10 |"):
        assert line in card


def test_costs_are_hours_times_rates() -> None:
    rates = CostSettings(power_watts=300, carbon_intensity=100, cost_per_hour=2.5)
    cost = training_cost(1800, 4, rates)
    assert cost == {"device_hours": 2.0, "energy_kwh": 0.6, "emissions_g": pytest.approx(60), "price": 5.0}
    lines = "\n".join(cost_lines(cost, 4, "cuda"))
    assert "2 device hours on 4 cuda processes" in lines and "0.6 kWh" in lines and "arXiv:1910.09700" in lines
    unset = training_cost(1800, 4, CostSettings())
    assert [unset[name] for name in ("energy_kwh", "emissions_g", "price")] == [None] * 3
    assert "Cost: not stated (set training.cost_per_hour)." in cost_lines(unset, 4, "cuda")
    assert training_cost(1, 1, CostSettings(power_watts=5))["emissions_g"] is None
