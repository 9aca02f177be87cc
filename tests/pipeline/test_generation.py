"""The step that writes queries: in the graph where it is wanted, and nothing of it where it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from pipeline.graph import make_pipeline
from pipeline.parameters import load
from pipeline.run_form import compiled_json, run_inputs
from sharpen.errors import InputError
from tests.pipeline.test_plan import inputs, planned, record, refused  # noqa: F401 - a fixture among them

WANTED = ["generation.enabled=true", "generation.documents=s3://b/docs", "store=s3://b"]


def test_step_stands_before_data_preparation_and_alone_sees_the_key() -> None:
    settings = load(None, WANTED)
    spec = make_pipeline(1, settings, generation=True)
    (tasks,) = [one.dag.tasks for one in spec.pipeline_spec.components.values() if "data-prep" in one.dag.tasks]
    given = {name: value.task_output_parameter for name, value in tasks["query-generation"].inputs.parameters.items()}
    assert {value.producer_task for value in given.values()} == {"plan"}
    assert given["settings"].output_parameter_key == "generation"
    train_data = tasks["data-prep"].inputs.parameters["train_data"].task_output_parameter
    assert (train_data.producer_task, train_data.output_parameter_key) == ("query-generation", "Output")
    platform = MessageToDict(spec.platform_spec)["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    secrets = {name: {one["secretName"] for one in pod["secretAsEnv"]} for name, pod in platform.items()}
    assert [name for name, named in secrets.items() if "sharpen-generation" in named] == ["exec-query-generation"]
    (secret,) = [
        one for one in platform["exec-query-generation"]["secretAsEnv"] if one["secretName"] == "sharpen-generation"
    ]
    assert secret["optional"] and secret["keyToEnv"][0]["envVar"] == "SHARPEN_GENERATION_API_KEY"


def test_nobody_who_does_not_want_it_gets_any_of_it() -> None:
    spec = make_pipeline(1, load(None, ["store=s3://b"]))
    assert "comp-query-generation" not in spec.pipeline_spec.components
    assert json.loads(compiled_json(1, None)) == {"rounds": 1}
    plain, other = load(), load(None, ["generation.concurrency=3", "generation.temperature=1"])
    assert plain.results_hash(1) == other.results_hash(1)
    assert plain.train_data == "python-source:stdlib"


def test_documents_may_stand_alone_and_their_settings_count() -> None:
    settings = load(None, WANTED)
    assert settings.train_data == "" and run_inputs(settings)["train_data"] == ""
    assert load(None, [*WANTED, "train_data=a.jsonl"]).train_data == "a.jsonl"
    assert settings.results_hash(1) == load(None, [*WANTED, "generation.concurrency=1"]).results_hash(1)
    assert settings.results_hash(1) != load(None, [*WANTED, "generation.temperature=1"]).results_hash(1)
    journal = json.loads(settings.group_json("generation", on_cluster=True))["journal"]
    assert journal == "s3://b/generation"
    assert "journal" not in json.loads(settings.group_json("generation"))
    with pytest.raises(InputError, match="train_data: is empty"):
        load(None, ["train_data="])


def test_plan_hands_documents_on_and_counts_their_content(
    tmp_path: Path,
    inputs: dict[str, Any],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    documents = tmp_path / "docs"
    documents.mkdir()
    (documents / "a.md").write_text("# A\n\ntext")
    written = {"generation": {"enabled": True, "documents": str(documents)}}
    given = {**inputs, "train_data": "", "overrides": {**inputs["overrides"], **written}}
    compiled = compiled_json(1, None, generation=True)
    found = planned(tmp_path, given, compiled)
    assert (found["Output"], found["train_data"]) == ("train", "")
    assert json.loads(found["generation"]) == written["generation"]
    record(found, inputs["store"])
    skipped = planned(tmp_path, given, compiled)
    assert (skipped["Output"], skipped["generation"], skipped["generation_fingerprint"]) == ("skip", "{}", "")
    (documents / "a.md").write_text("# A\n\nother text")
    again = planned(tmp_path, given, compiled)
    assert again["Output"] == "train"
    changed = [name for name in ("generation", "data") if again[f"{name}_fingerprint"] != found[f"{name}_fingerprint"]]
    assert changed == ["generation", "data"]
    capsys.readouterr()
    # a pipeline without the step, and documents without the wish
    (line,) = refused(tmp_path, given, capsys)
    assert "generation.enabled: True wanted, but this pipeline was compiled with False" in line
    only = {**given, "train_data": inputs["train_data"], "overrides": {"generation": {"documents": str(documents)}}}
    (line,) = refused(tmp_path, only, capsys)
    assert "no effect without generation.enabled" in line
