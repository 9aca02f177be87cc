"""The step of merging is in the graph unless it is turned off or cannot be; what a run may still ask of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.compiled_settings import compile_time_settings
from pipeline.graph import make_pipeline
from pipeline.parameters import load
from pipeline.run_form import compiled_json
from pipeline.run_plan import checked_settings
from pipeline.tuning.searched import check_searchable
from sharpen.errors import InputError
from sharpen.retraining.fingerprint import fingerprint_inputs


def test_what_is_evaluated_and_promoted_is_the_merged_model() -> None:
    settings = load(None, ["store=s3://b"])
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


SEVERAL = ("merging.method=average", "merging.models=a")


@pytest.mark.parametrize(
    ("assignments", "wanted", "requested", "compiled"),
    [
        ((), True, False, None),
        (("merging.enabled=none",), True, False, None),
        (("merging.enabled=true",), True, True, None),
        (("merging.weights=0.5",), True, True, None),
        (("merging.enabled=false", "merging.weights=0.5"), False, False, False),
        (("pretraining.enabled=true",), False, False, None),
        (("pretraining.enabled=true", "merging.enabled=true", *SEVERAL), True, True, True),
        (("pretraining.enabled=true", *SEVERAL), True, True, True),
    ],
)
def test_it_is_on_unless_it_cannot_be(
    assignments: tuple[str, ...], wanted: bool, requested: bool, compiled: bool | None
) -> None:
    settings = load(None, [*assignments])
    assert (settings.optional_steps()["merging"], settings.merging.requested) == (wanted, requested)
    # runs with the same graph are runs of one version
    shape = compile_time_settings(settings, load())
    assert shape.merging.enabled == compiled and shape.optional_steps() == settings.optional_steps()


def test_what_turns_it_off_and_what_it_is_changes_what_a_run_is() -> None:
    off = load(None, ["merging.enabled=false"])
    assert "comp-merging" not in make_pipeline(1, off, **off.optional_steps()).pipeline_spec.components
    assert load(None, ["merging.enabled=false", "merging.weights=0.5"]).results_hash(1) == off.results_hash(1)
    plain, asked = load(), load(None, ["merging.enabled=true"])
    # asked for, it may end with the base model or with an error
    assert len({one.results_hash(1) for one in (plain, asked, off)}) == 3
    assert off.results_hash(1, plain.optional_steps()) == plain.results_hash(1)
    weighed = [load(None, [f"merging.weights={weight}"]).results_hash(1) for weight in (0.5, 1)]
    assert len({plain.results_hash(1), *weighed}) == 3
    # the step must know whether what does not allow it is an error
    given = load(None, ["merging.enabled=true", "merging.weights=0.5"])
    assert json.loads(given.group_json("merging")) == {"enabled": True, "weights": [0.5]}
    assert off.group_json("merging") == load(None, ["merging.enabled=none"]).group_json("merging") == "{}"


def test_what_the_graph_has_and_what_a_run_wants_agree() -> None:
    without, with_it = (json.loads(compiled_json(1, None, merging=on)) for on in (False, True))
    both = json.loads(compiled_json(1, None, merging=True, pretraining=True))

    def run(**merging: object) -> dict[str, object]:
        return {"overrides": {"merging": merging}}

    with pytest.raises(InputError, match=r"merging\.enabled: True wanted.*compile it again"):
        checked_settings(run(enabled=True), without)
    with pytest.raises(InputError, match=r"merging\.enabled: False wanted.*compile it again"):
        checked_settings(run(enabled=False), with_it)
    for merging in ({}, {"enabled": None}, {"enabled": "none"}):
        for graph in (without, with_it):
            assert checked_settings(run(**merging), graph).merging.enabled is None
    assert checked_settings(run(enabled=True), with_it).merging.enabled
    # a user of the form turns pre-training on, which this graph does not have
    with pytest.raises(InputError, match=r"pretraining\.enabled: True wanted, but .* compiled with False"):
        checked_settings({"overrides": {"pretraining": {"enabled": True}}}, with_it)
    # or forgets what a graph with both is for
    for overrides in (run(), {"overrides": {"pretraining": {"enabled": True}, "merging": {"enabled": True}}}):
        with pytest.raises(InputError, match=r"set merging\.enabled or pretraining\.enabled to false"):
            checked_settings(overrides, both)
    with pytest.raises(InputError, match=r"merging\.models: is empty"):
        checked_settings(run(method="average"), both)
    assert checked_settings(run(method="average", models="a"), both).merging.requested


def test_a_search_leaves_it_out_unless_it_was_asked_for() -> None:
    check_searchable(load(), on_cluster=True)
    check_searchable(load())
    for asked in ("merging.enabled=true", "merging.weights=0.5"):
        with pytest.raises(InputError, match=r"merging\.enabled: a trial has no such step"):
            check_searchable(load(None, [asked]))
    settings = load(None, ["store=s3://b"])
    spec = make_pipeline(1, settings, **settings.optional_steps(), trial=True).pipeline_spec
    assert "comp-merging" not in spec.components and "merging" not in json.dumps(compiled_into(spec))


def compiled_into(spec: Any) -> dict[str, Any]:
    """What the pipeline's first step is told of how it was compiled."""
    (tasks,) = [one.dag.tasks for one in spec.components.values() if "plan" in one.dag.tasks]
    constant = tasks["plan"].inputs.parameters["compiled"].runtime_value.constant
    return json.loads(constant.string_value)


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
