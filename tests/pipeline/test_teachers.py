"""The step of the teachers is in the graph where it is asked for, alone sees its key, and counts what it reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from pipeline.graph import make_pipeline
from pipeline.parameters import Settings, load
from pipeline.run_form import compiled_json
from pipeline.run_plan import checked_settings
from sharpen.errors import InputError
from sharpen.retraining.fingerprint import fingerprint_inputs
from sharpen.teachers.settings import KEY_VARIABLE

WANTED = ["teachers.enabled=true", "teachers.cross_encoder=c", "training.knowledge_distillation=true", "store=s3://b"]


def test_fine_tuning_has_the_scored_negatives_of_its_round_and_evaluation_minings_report() -> None:
    settings = load(None, [*WANTED, "mining.rounds=2"])
    spec = make_pipeline(2, settings, **settings.optional_steps())
    (tasks,) = [one.dag.tasks for one in spec.pipeline_spec.components.values() if "finetuning" in one.dag.tasks]

    def source(task: str, name: str) -> tuple[str, str]:
        found = tasks[task].inputs.parameters[name].task_output_parameter
        return found.producer_task, found.output_parameter_key

    for suffix in ("", "-2"):
        assert source(f"teachers{suffix}", "negatives") == (f"hard-negatives{suffix}", "Output")
        assert source(f"finetuning{suffix}", "negatives") == (f"teachers{suffix}", "Output")
        card = tasks[f"finetuning{suffix}"].inputs.artifacts["mined_negatives"].task_output_artifact
        assert (card.producer_task, card.output_artifact_key) == (f"teachers{suffix}", "scored_negatives")
    assert source("evaluation", "negatives") == ("hard-negatives-2", "Output")
    assert tasks["teachers"].caching_options.enable_cache
    platform = MessageToDict(spec.platform_spec)["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    keys = {
        name: one["keyToEnv"][0]["envVar"]
        for name, pod in platform.items()
        for one in pod["secretAsEnv"]
        if one["secretName"] == "sharpen-teachers"
    }
    assert keys and all(name.startswith("exec-teachers") for name in keys) and set(keys.values()) == {KEY_VARIABLE}


def test_nobody_who_does_not_want_it_gets_any_of_it() -> None:
    assert "comp-teachers" not in make_pipeline(1, load(None, ["store=s3://b"])).pipeline_spec.components
    before = Settings().results_hash(1)  # type: ignore[call-arg]
    assert load(None, ["teachers.margin=1"]).results_hash(1) == before
    enabled = [load(None, [*WANTED, f"teachers.margin={margin}"]).results_hash(1) for margin in (0, 1)]
    slower = load(None, [*WANTED, "teachers.margin=1", "teachers.concurrency=1"]).results_hash(1)
    assert len({before, *enabled}) == 3 and slower == enabled[1]
    given = load(None, [*WANTED, "teachers.margin=1"])
    assert json.loads(given.group_json("teachers")) == {"cross_encoder": "c", "margin": 1.0}
    assert json.loads(given.group_json("teachers", on_cluster=True))["journal"] == "s3://b/teachers"


def test_step_that_comes_to_nothing_is_refused() -> None:
    graph = json.loads(compiled_json(1, None, teachers=True))
    run: dict[str, dict[str, dict[str, object]]] = {"overrides": {"teachers": {"enabled": True}}}
    with pytest.raises(InputError, match=r"teachers\.enabled: True wanted.*compile it again"):
        checked_settings(run, json.loads(compiled_json(1, None)))
    with pytest.raises(InputError, match=r"teachers\.cross_encoder: no teacher is named"):
        checked_settings(run, graph)
    run["overrides"]["teachers"]["embedding_model"] = "e"
    with pytest.raises(InputError, match=r"set training\.knowledge_distillation=true"):
        checked_settings(run, graph)
    run["overrides"]["teachers"]["margin"] = 0.5
    assert checked_settings(run, graph).teachers.margin == 0.5
    run["overrides"] = {
        "teachers": {"enabled": True, "embedding_model": "e"},
        "training": {"knowledge_distillation": True},
    }
    assert checked_settings(run, graph).teachers.addresses == ["e"]


def test_it_is_done_again_when_a_teacher_changes(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"query": "a", "pos": ["b"]}\n')
    for folder in ("base", "teacher"):
        (tmp_path / folder).mkdir()
        for name in ("config.json", "model.safetensors"):
            (tmp_path / folder / name).write_text("{}")

    def found() -> tuple[dict[str, str], dict[str, str]]:
        content = fingerprint_inputs(
            str(tmp_path / "rows.jsonl"), "", str(tmp_path / "base"), taught_by=[str(tmp_path / "teacher")]
        )
        return content.of_steps(), content.identity("s", ["teachers"])

    steps, identity = found()
    (tmp_path / "teacher" / "model.safetensors").write_text("other weights")
    again, other = found()
    assert {name for name, value in again.items() if value != steps[name]} == {"teachers"}
    assert {name for name, value in other.items() if value != identity[name]} == {"teachers"}
