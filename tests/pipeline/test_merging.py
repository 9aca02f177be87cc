"""The step of merging is in the graph where it is asked for; elsewhere nothing changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.graph import make_pipeline
from pipeline.parameters import Settings, load
from pipeline.run_form import compiled_json
from pipeline.run_plan import checked_settings
from sharpen.errors import InputError
from sharpen.retraining.fingerprint import fingerprint_inputs


def test_what_is_evaluated_and_promoted_is_the_merged_model() -> None:
    settings = load(None, ["merging.enabled=true", "store=s3://b"])
    spec = make_pipeline(1, settings, **settings.optional_steps()).pipeline_spec
    (tasks,) = [one.dag.tasks for one in spec.components.values() if "finetuning" in one.dag.tasks]
    tuned = tasks["merging"].inputs.parameters["model"].task_output_parameter
    assert (tuned.producer_task, tuned.output_parameter_key) == ("finetuning", "Output")
    for step in ("evaluation", "promotion"):
        model = tasks[step].inputs.parameters["model"].task_output_parameter
        assert (model.producer_task, model.output_parameter_key) == ("merging", "Output")
    card = tasks["promotion"].inputs.artifacts["tuned_model"].task_output_artifact
    assert (card.producer_task, card.output_artifact_key) == ("merging", "merged_model")
    base = tasks["merging"].inputs.parameters["base_model"]
    assert base.component_input_parameter == "pipelinechannel--plan-base_model"


def test_nobody_who_does_not_want_it_gets_any_of_it() -> None:
    assert "comp-merging" not in make_pipeline(1, load(None, ["store=s3://b"])).pipeline_spec.components
    before = Settings().results_hash(1)  # type: ignore[call-arg]
    assert load(None, ["merging.weights=0.5"]).results_hash(1) == before
    enabled = [load(None, ["merging.enabled=true", f"merging.weights={weight}"]).results_hash(1) for weight in (0.5, 1)]
    assert len({before, *enabled}) == 3
    given = load(None, ["merging.enabled=true", "merging.weights=0.5"])
    assert json.loads(given.group_json("merging")) == {"weights": [0.5]}


def test_what_the_graph_has_and_what_a_run_wants_agree() -> None:
    run = {"overrides": {"merging": {"enabled": True}}}
    with pytest.raises(InputError, match=r"merging\.enabled: True wanted.*compile it again"):
        checked_settings(run, json.loads(compiled_json(1, None)))
    assert checked_settings(run, json.loads(compiled_json(1, None, merging=True))).merging.enabled
    run["overrides"]["pretraining"] = {"enabled": True}
    with pytest.raises(InputError, match=r"set merging\.enabled or pretraining\.enabled to false"):
        checked_settings(run, json.loads(compiled_json(1, None, merging=True, pretraining=True)))


def test_a_step_is_done_again_when_another_model_that_it_merges_changes(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"query": "a", "pos": ["b"]}\n')
    (tmp_path / "other").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "other" / name).write_text("{}")
    model = str(tmp_path / "other")

    def fingerprints() -> tuple[dict[str, str], dict[str, str]]:
        found = fingerprint_inputs(str(tmp_path / "rows.jsonl"), "", model, merged_with=[model])
        return found.of_steps(), found.identity("s", ["merging"])

    plain = fingerprint_inputs(str(tmp_path / "rows.jsonl"), "", model)
    first, (identity, without) = fingerprints()[0], (fingerprints()[1], plain.identity("s"))
    assert {name for name, value in plain.of_steps().items() if value != first[name]} == {"merging"}
    assert identity["code"] != without["code"] and "merging" not in without
