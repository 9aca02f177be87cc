"""The step of pre-training is in the graph where it is asked for; elsewhere nothing changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.parameters import Settings, load
from pipeline.run_plan import checked_settings
from sharpen.errors import InputError
from tests.pipeline.cluster.test_compiling import compiled


def train_tasks(spec: dict[str, Any]) -> dict[str, Any]:
    graphs = [one["dag"]["tasks"] for one in spec["components"].values() if "dag" in one]
    (tasks,) = (tasks for tasks in graphs if "finetuning" in tasks)
    return tasks


def test_only_where_it_is_asked_for(tmp_path: Path) -> None:
    image = ("--image", "registry.example/sharpen@sha256:" + "0" * 64)
    assert "pretraining" not in train_tasks(compiled(tmp_path, *image)[0])
    tasks = train_tasks(compiled(tmp_path, *image, "--set", "pretraining.enabled=true")[0])
    source = {"outputParameterKey": "Output", "producerTask": "pretraining"}
    for step, name in (("hard-negatives", "model"), ("finetuning", "base_model")):
        assert tasks[step]["inputs"]["parameters"][name] == {"taskOutputParameter": source}
    # results are compared with the model that the user named
    assert "pretraining" not in json.dumps(tasks["evaluation-before"])


def test_what_the_graph_has_and_what_a_run_wants_agree() -> None:
    with pytest.raises(InputError, match=r"pretraining\.enabled: True wanted.*compile it again"):
        checked_settings({"overrides": {"pretraining": {"enabled": True}}}, {"rounds": 1})
    wanted = checked_settings({"overrides": {"pretraining": {"enabled": True}}}, {"rounds": 1, "pretraining": True})
    assert wanted.pretraining.enabled


def test_settings_of_it_are_no_reason_to_train_again_where_it_is_off() -> None:
    before = Settings().results_hash(1)
    assert load(None, ["pretraining.seed=7"]).results_hash(1) == before
    enabled = [load(None, ["pretraining.enabled=true", f"pretraining.seed={seed}"]).results_hash(1) for seed in (1, 2)]
    assert len({before, *enabled}) == 3
    given = load(None, ["pretraining.enabled=true", "pretraining.seed=7"])
    assert json.loads(given.group_json("pretraining")) == {"seed": 7}
