"""The run form: what the UI shows for the pipeline's inputs, and what a run makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.parameters import TOP_LEVEL, Settings, load
from pipeline.run_form import FORM, compiled_json, input_name, run_inputs, settings_of
from pipeline.run_plan import checked_settings
from sharpen.errors import InputError
from tests.pipeline.cluster.test_compiling import IMAGE, compiled

KINDS = pipeline_spec_pb2.ParameterType
TYPES = {str: KINDS.STRING, bool: KINDS.BOOLEAN, int: KINDS.NUMBER_INTEGER, float: KINDS.NUMBER_DOUBLE}
PLAIN = run_inputs(Settings())


def form(tmp_path: Path, *options: str) -> tuple[Any, Any]:
    """The inputs of a compiled pipeline, and the pipeline."""
    document = compiled(tmp_path, "--image", IMAGE, *options)[0]
    spec = json_format.ParseDict(document, pipeline_spec_pb2.PipelineSpec())
    return spec.root.input_definitions.parameters, spec


def test_every_field_has_the_type_the_default_and_the_help_of_its_setting(tmp_path: Path) -> None:
    fields, spec = form(tmp_path)
    assert set(fields) == {*map(input_name, FORM), "overrides"} and len(fields) == 17
    assert not spec.root.input_definitions.artifacts
    for name, field in fields.items():
        kind = KINDS.STRUCT if name == "overrides" else TYPES[type(PLAIN[name])]
        assert field.parameter_type == kind, name
        # a form with every default untouched can be sent
        default = json_format.MessageToDict(field)["defaultValue"]
        assert default == PLAIN[name], name
        # the form shows no help, so the pipeline's description holds it
        assert len(field.description) > 10
        assert f"`{name}`" in spec.pipeline_info.description or name in spec.pipeline_info.description
    assert [name for name, field in fields.items() if field.literals] == ["promotion_mode"]
    assert [value.string_value for value in fields["promotion_mode"].literals] == ["significant", "mean", "never"]


def test_groups_of_settings_stand_together_in_the_sorted_form() -> None:
    groups = [setting.partition(".")[0] for setting in sorted(FORM, key=input_name) if "." in setting]
    assert groups == sorted(groups)


def test_compiled_settings_are_the_forms_defaults(tmp_path: Path) -> None:
    given = ("training.temperature=0.05", "training.max_steps=9", "model_name=mine", "promotion.mode=mean")
    fields, _ = form(tmp_path, *(part for one in given for part in ("--set", one)))
    shown = {name: json_format.MessageToDict(field)["defaultValue"] for name, field in fields.items()}
    changed = {"training_temperature": 0.05, "model_name": "mine", "promotion_mode": "mean"}
    assert shown == {**PLAIN, **changed, "overrides": {"training": {"max_steps": 9}}}


def test_inputs_give_the_same_settings_again() -> None:
    given = ["training.temperature=0.07", "mining.negative_number=3", "job.nodes=2", "eval_data=e", "pods.cpu=3"]
    settings = load(None, given)
    assert settings_of(run_inputs(settings)) == settings
    # kfp passes on no null in an object
    unset = load(None, ["mining.relative_margin=null", "job.nodes=2"])
    assert run_inputs(unset)["overrides"] == {"mining": {"relative_margin": "none"}}
    assert settings_of(run_inputs(unset)) == unset
    # as the server hands them on: all numbers of an object are floats
    inputs = run_inputs(settings)
    floats = {"mining": {"negative_number": 3.0}, "pods": {"cpu": "3"}}
    assert settings_of({**inputs, "overrides": floats}) == settings
    # a default that is given is no setting of the user's
    assert json.loads(settings_of(PLAIN).given_json()) == {}


def test_the_rate_goes_by_what_is_trained_unless_it_was_set() -> None:
    plain, adapters = run_inputs(Settings()), run_inputs(load(None, ["training.lora_rank=8"]))
    assert (plain["training_learning_rate"], adapters["training_learning_rate"]) == (2e-5, 1e-4)
    assert settings_of(adapters).training.learning_rate == 1e-4
    # the default of other trainings, set by somebody, is what they wanted
    low = load(None, ["training.lora_rank=8", "training.learning_rate=2e-5"])
    assert settings_of(run_inputs(low)) == low
    assert settings_of({**PLAIN, "overrides": {"training.lora_rank": 8}}).training.learning_rate == 2e-5


@pytest.mark.parametrize("overrides", [{"training.temperature": 0.1}, {"training": {"temperature": 0.1}}])
def test_a_field_and_an_override_that_disagree_are_one_line(overrides: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        settings_of({**PLAIN, "overrides": overrides})
    (line,) = caught.value.faults
    assert line == (
        "overrides: training.temperature is 0.1, but the field training_temperature says 0.02; set the field, and "
        "leave training.temperature out of overrides"
    )
    agreed = settings_of({**PLAIN, "training_temperature": 0.1, "overrides": overrides})
    assert agreed.training.temperature == 0.1


def test_sources_with_settings_are_a_list_in_yaml_a_text_in_the_form_and_may_be_overrides(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("train_data:\n- rows.jsonl\n- address: s3://b/clicks/\n  weight: 2\nmodel_name: m\n")
    settings = load(path)
    text = '["rows.jsonl", {"address": "s3://b/clicks/", "weight": 2.0}]'
    assert settings.train_data == text == run_inputs(settings)["train_data"]
    assert settings_of(run_inputs(settings)) == settings == load(None, [f"train_data={text}", "model_name=m"])
    # as an override, where nobody wrote another value into the field
    listed = {"train_data": ["rows.jsonl", {"address": "s3://b/clicks/", "weight": 2}]}
    assert settings_of({**PLAIN, "model_name": "m", "overrides": listed}) == settings
    compiled_value = {"train_data": "s3://b/mine", "model_name": "m"}
    assert settings_of({"train_data": "s3://b/mine", "overrides": listed}, compiled_value).train_data == text
    with pytest.raises(InputError, match="but the field train_data says 's3://b/other'; set the field"):
        settings_of({"train_data": "s3://b/other", "overrides": listed}, compiled_value)
    with pytest.raises(InputError, match=r"train_data: .*\[0\].wieght: unknown setting; did you mean weight"):
        load(None, ['train_data=[{"address": "a", "wieght": 2}]'])


def test_settings_of_sources_count_as_settings_of_the_run() -> None:
    hashes = [
        load(None, [f"train_data={text}"]).results_hash(1)
        for text in ("a.jsonl", "b.jsonl", '["a.jsonl"]', '[{"address": "a.jsonl", "weight": 2}]')
    ]
    assert hashes[0] == hashes[1] == hashes[2] == load().results_hash(1) != hashes[3]


@pytest.mark.parametrize("overrides", ["{", "[]", '{"training": {"x": 1}}', '{"x": 1}', {"x": 1}])
def test_wrong_overrides_are_the_users_fault(overrides: Any) -> None:
    with pytest.raises(InputError):
        settings_of({"overrides": overrides})


@pytest.mark.parametrize("overrides", ['{"training": {"max_steps": 5}}', '{"training.max_steps": 5}'])
def test_overrides_may_be_nested_or_dotted(overrides: str) -> None:
    settings = settings_of({"train_data": "a.jsonl", "model_name": "m", "overrides": overrides})
    assert (settings.training.max_steps, settings.train_data) == (5, "a.jsonl")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("training_temperature", -1.0, "training.temperature: Input should be greater than 0"),
        ("promotion_mode", "always", "promotion.mode: Input should be 'significant', 'mean' or 'never'"),
        ("job_nodes", 0, "job.nodes: Input should be greater than or equal to 1"),
        ("model_name", "No Name", "model_name: "),
    ],
)
def test_a_wrong_value_is_one_line(field: str, value: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        settings_of({**PLAIN, field: value})
    (line,) = caught.value.faults
    assert line.startswith(said)


def test_a_field_that_is_emptied_is_as_it_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = load(None, ["train_data=s3://b/mine", "base_model=a/b", "model_name=mine", "eval_data=s3://b/test"])
    built = json.loads(compiled_json(1, cluster))
    monkeypatch.setenv("SHARPEN_STORE", "s3://cluster/own")
    empty = {**run_inputs(cluster), **dict.fromkeys(TOP_LEVEL, "")}
    settings = checked_settings(empty, built)
    assert (settings.train_data, settings.base_model, settings.model_name) == ("s3://b/mine", "a/b", "mine")
    # no evaluation data is a wish of its own: a part of the training data is held out
    assert settings.eval_data == ""
    assert settings.store == "s3://cluster/own"
    assert settings.group_json("encoder", on_cluster=True) == '{"vector_cache": "s3://cluster/own/vectors"}'


def test_a_person_who_only_clicks_start_gets_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields, spec = form(tmp_path)
    clicked = {name: json_format.MessageToDict(field)["defaultValue"] for name, field in fields.items()}
    (constant,) = (
        json_format.MessageToDict(task.inputs.parameters["compiled"])["runtimeValue"]["constant"]
        for component in spec.components.values()
        for name, task in component.dag.tasks.items()
        if name == "plan"
    )
    monkeypatch.setenv("SHARPEN_STORE", "s3://cluster/own")
    settings = checked_settings(clicked, json.loads(constant))
    assert settings == Settings(store="s3://cluster/own")
    monkeypatch.delenv("SHARPEN_STORE")
    with pytest.raises(InputError, match="store: is empty, and so is SHARPEN_STORE in the ConfigMap sharpen-store"):
        checked_settings(clicked, json.loads(constant))
