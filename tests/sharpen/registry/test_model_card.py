"""The card of a promoted model: results that the hub's library reads, slices, the guard set, and how it is repeated."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from sharpen.registry.gate import Decision, decide
from sharpen.registry.model_card import MOST_SLICES, promoted_card
from sharpen.registry.settings import PromotionSettings
from tests.sharpen.registry.conftest import GOOD, measured

CARD = "---\nlibrary_name: sentence-transformers\nlanguage:\n- en\n---\n\n# A model\n\nTrained with care.\n"
HOSTILE = "<img src=x>|`"


def promoted(folder: Path, card: str = CARD, run_settings: str = "", **files: Any) -> str:
    """The card after a promotion, with these contents of the evaluation's files and of the model's."""
    (folder / "model").mkdir()
    parts = {"slices": files.get("slices", {}).get("slices"), "guard": files.get("guard")}
    (folder / "model" / "training.json").write_text(json.dumps(files.get("training", {})))
    evaluation = replace(measured(groups=57, queries_left_out=2), address=str(folder), **parts)
    decision: Decision = decide(evaluation, PromotionSettings.checked({}))
    return promoted_card(
        card,
        name="code-search",
        model=str(folder / "model"),
        decision=decision,
        measured=evaluation,
        run_settings=run_settings,
    )


def test_the_hub_reads_the_results(tmp_path: Path) -> None:
    card = promoted(tmp_path)
    data = ModelCard(card).data
    assert data.model_name == "code-search" and data.language == ["en"]
    assert data.eval_results is not None
    found = {one.metric_type: one for one in data.eval_results}
    assert found["ndcg_at_10"].metric_value == 0.58 and found["ndcg_at_10"].metric_name == "nDCG@10"
    one = found["ndcg_at_10"]
    assert (one.task_type, one.dataset_split, one.dataset_revision) == ("information-retrieval", "test", "data-1")
    assert set(found) == set(GOOD)
    assert "Trained with care." in card and "| nDCG@10 | 0.5000 | 0.5800 | +0.0800 | +0.0500 ... +0.1100 |" in card
    assert "200 test queries of 57 groups" in card and "2 test queries are left out" in card
    assert "No guard set was measured" in card and "No slices were measured" in card


def test_a_model_without_a_card_gets_one(tmp_path: Path) -> None:
    assert "# code-search\n" in promoted(tmp_path, card="")


def test_slices_and_guard_set_have_tables(tmp_path: Path) -> None:
    figures = {"reference": 0.5, "candidate": 0.4, "difference": -0.1, "ci_low": -0.2, "ci_high": 0.0}
    slices = [
        {"field": "language", "value": f"{HOSTILE}{i}", "queries": 100 - i, "metrics": {"ndcg_at_10": 0.4},
         "against": {"base": {"ndcg_at_10": figures}}}
        for i in range(MOST_SLICES)
    ]  # fmt: skip
    slices.append({"field": "language", "value": "", "queries": 3, "metrics": {}, "against": {}})
    guard = {"name": "general", "queries": 120, "metrics": {}, "against": {"base": {"ndcg_at_10": figures}}}
    card = promoted(tmp_path, slices={"slices": slices}, guard=guard)
    assert "| language: &lt;img src=x&gt;\\|\\`0 | 100 | 0.4000 | -0.1000 | -0.2000 ... +0.0000 |" in card
    assert "1 more in the report." in card and "not stated" not in card
    assert "120 queries of general" in card and "| nDCG@10 | 0.5000 | 0.4000 | -0.1000 |" in card
    assert "No guard set" not in card and "No slices" not in card


def test_the_run_can_be_repeated_from_the_card(tmp_path: Path) -> None:
    sources = [
        {"address": "s3://b/a.jsonl", "role": "train"},
        {"address": "s3://b/b.jsonl", "role": "train"},
        {"address": "s3://b/t.jsonl", "role": "eval"},
    ]
    given = json.dumps({"training": {"max_steps": 5, "loss": "```\n````"}})
    card = promoted(tmp_path, run_settings=given, training={"data_facts": {"sources": sources}})
    block = re.search(r"\n(`{3,})yaml\n(.*?)\n\1\n", card, re.DOTALL)
    assert block is not None
    assert yaml.safe_load(block[2]) == {
        "model_name": "code-search",
        "train_data": "s3://b/a.jsonl,s3://b/b.jsonl",
        "eval_data": "s3://b/t.jsonl",
        "base_model": "s3://bucket/base",
        "training": {"max_steps": 5, "loss": "```\n````"},
    }


@pytest.mark.parametrize("head", ["---\n[broken\n---\n\nx", "---\n- a list\n---\n\nx", "no head"])
def test_metadata_that_cannot_be_read_stay_text(tmp_path: Path, head: str) -> None:
    card = promoted(tmp_path, card=head)
    assert ModelCard(card).data.model_name == "code-search" and head.splitlines()[-1] in card
