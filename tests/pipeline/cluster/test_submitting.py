"""`sharpen submit` against an API that checks every request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.run_plan import checked_settings
from tests.pipeline.cluster.conftest import IMAGE, ON_THE_STORE, Sharpen, only_run
from tests.pipeline.cluster.fake_kfp import FakeKfp


def test_a_first_submit_makes_pipeline_version_experiment_and_run(kfp: FakeKfp, on: Sharpen) -> None:
    done = on("submit", *ON_THE_STORE, "--set", "training.temperature=0.05", "--service-account", "sharpen-pipeline")
    assert done.code == 0, done.err
    run = only_run(kfp)
    (version,) = kfp.state.versions.values()
    (experiment,) = kfp.state.experiments.values()
    assert experiment["display_name"] == "sharpen"
    assert run["pipeline_version_reference"]["pipeline_version_id"] == version["pipeline_version_id"]
    assert run["service_account"] == "sharpen-pipeline"
    parameters = run["runtime_config"]["parameters"]
    assert parameters["train_data"] == "s3://data/train.jsonl"
    assert (parameters["training_temperature"], parameters["overrides"]) == (0.05, {})
    assert run["run_id"] in done.out
    assert f"sharpen status {run['run_id']} --endpoint {kfp.url}" in done.out
    images = {
        executor["container"]["image"]
        for executor in version["pipeline_spec"]["pipeline_spec"]["deploymentSpec"]["executors"].values()
    }
    assert images == {IMAGE}


def test_the_settings_of_a_file_are_the_defaults_of_the_form_and_a_sweep_is_one_version(
    kfp: FakeKfp, on: Sharpen, tmp_path: Path
) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("train_data: s3://data/mine.jsonl\nmodel_name: mine\ntraining: {temperature: 0.05}\n")
    for rate in ("1e-5", "2e-5"):
        done = on("submit", "--image", IMAGE, "--config", str(path), "--set", f"training.learning_rate={rate}")
        assert done.code == 0, done.err
    (version,) = kfp.state.versions.values()
    fields = version["pipeline_spec"]["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
    shown = {
        name: fields[name]["defaultValue"] for name in ("train_data", "model_name", "training_temperature", "store")
    }
    assert list(shown.values()) == ["s3://data/mine.jsonl", "mine", 0.05, ""]
    assert "`training_temperature`: Scores are divided by it" in version["description"]
    rates = [run["runtime_config"]["parameters"]["training_learning_rate"] for run in kfp.state.runs.values()]
    assert sorted(rates) == [1e-5, 2e-5]


def test_twice_the_same_is_two_runs_of_one_version(kfp: FakeKfp, on: Sharpen) -> None:
    assert on("submit", *ON_THE_STORE).code == 0
    # other settings are inputs, not another pipeline
    again = on("submit", *ON_THE_STORE, "--set", "training.temperature=0.5", "--run-name", "again")
    assert "(was there)" in again.out
    assert len(kfp.state.versions) == len(kfp.state.experiments) == len(kfp.state.pipelines) == 1
    assert len(kfp.state.runs) == 2
    assert "again" in {run["display_name"] for run in kfp.state.runs.values()}


def test_what_is_compiled_pod_settings_is_what_the_run_asks_for(kfp: FakeKfp, on: Sharpen) -> None:
    given = ("pods.memory=48Gi", "pods.gpus=1", "job.gpu_resource=amd.com/gpu", "mining.rounds=2", "job.backend=local")
    assert on("submit", *ON_THE_STORE).code == 0
    done = on("submit", *ON_THE_STORE, *(part for one in given for part in ("--set", one)))
    assert done.code == 0, done.err
    _, version = kfp.state.versions.values()
    spec = version["pipeline_spec"]["pipeline_spec"]
    mining = spec["deploymentSpec"]["executors"]["exec-hard-negatives"]["container"]["resources"]
    assert mining["resourceMemoryLimit"] == "48Gi"
    assert mining["accelerator"]["resourceType"] == "amd.com/gpu"
    # the first task compares the two, and must find nothing
    *_, run = kfp.state.runs.values()
    dags = (part.get("dag", {}).get("tasks", {}) for part in spec["components"].values())
    (first,) = (tasks["plan"] for tasks in dags if "plan" in tasks)
    compiled = first["inputs"]["parameters"]["compiled"]["runtimeValue"]["constant"]
    checked_settings(run["runtime_config"]["parameters"], json.loads(compiled))


def test_another_image_or_more_rounds_are_other_versions(kfp: FakeKfp, on: Sharpen) -> None:
    on("submit", *ON_THE_STORE)
    on("submit", *ON_THE_STORE, "--set", "mining.rounds=2")
    on("submit", *ON_THE_STORE, "--launcher-image", "registry.example/launcher:v1")
    assert len({version["name"] for version in kfp.state.versions.values()}) == 3


def test_names_are_found_on_any_page(kfp: FakeKfp, on: Sharpen) -> None:
    kfp.page_size = 1
    for name in ("one", "two", "three"):
        assert on("submit", *ON_THE_STORE, "--experiment", name, "--pipeline-name", name).code == 0
        assert on("submit", *ON_THE_STORE, "--experiment", name, "--pipeline-name", name).code == 0
    assert (len(kfp.state.pipelines), len(kfp.state.versions), len(kfp.state.experiments)) == (3, 3, 3)
    assert len(kfp.state.runs) == 6


def test_what_only_this_machine_can_read_is_refused_before_anything_is_sent(
    kfp: FakeKfp, on: Sharpen, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").touch()
    (tmp_path / "model").mkdir()
    done = on(
        *("submit", "--image", IMAGE, "--set", "train_data=rows.jsonl,python-source:./here,s3://a/b"),
        *("--set", f"eval_data={tmp_path}/eval", "--set", "base_model=model"),
        *("--set", "mining.candidate_sources=model,file:found.jsonl,model:/other"),
        *("--set", "mining.rescoring_model=~/cross", "--set", "evaluation.systems=bm25,peer=./peer"),
        *("--set", "evaluation.guard_data=general.jsonl", "--set", "data.judgements=judge.csv"),
    )
    assert done.code == 2
    lines = done.err.splitlines()
    assert [line.removeprefix("error: ").split(" is ")[0] for line in lines] == [
        "train_data: rows.jsonl",
        "train_data: python-source:./here",
        f"eval_data: {tmp_path}/eval",
        "mining.candidate_sources: found.jsonl",
        "evaluation.guard_data: general.jsonl",
        "data.judgements: judge.csv",
        "base_model: model",
        "mining.candidate_sources: /other",
        "mining.rescoring_model: ~/cross",
        "evaluation.systems or evaluation.reranking_model: ./peer",
    ]
    assert kfp.calls == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (ON_THE_STORE[2:], "--image: name the image"),
        (("--image", "x/y:latest", *ON_THE_STORE[2:]), "latest moves"),
        ((*ON_THE_STORE, "--set", "job.image=x/y:latest"), "job.image x/y:latest: latest moves"),
        ((*ON_THE_STORE, "--set", "job.image=host:5000/y"), "job.image host:5000/y: name a digest"),
        ((*ON_THE_STORE, "--set", "store=here"), "store: here is on this machine"),
        ((*ON_THE_STORE, "--set", "training.temprature=1"), "did you mean temperature?"),
    ],
)
def test_wrong_input_is_told(kfp: FakeKfp, on: Sharpen, given: tuple[str, ...], said: str) -> None:
    done = on("submit", *given)
    assert (done.code, kfp.state.runs) == (2, {})
    assert said in done.err


def test_calls_that_read_are_repeated_and_those_that_create_are_not(kfp: FakeKfp, on: Sharpen) -> None:
    for status, headers in ((429, {"retry-after": "0"}), (500, {}), (503, {}), (0, {})):
        kfp.misbehave(".*List.*", status=status, headers=headers)
    assert on("submit", *ON_THE_STORE).code == 0
    kfp.misbehave("RunService_CreateRun", status=500)
    done = on("submit", *ON_THE_STORE, "--run-name", "second")
    assert done.code == 1
    assert "it may exist all the same: look with `sharpen status second`" in done.err
    assert len(kfp.made("RunService_CreateRun")) == 2
    kfp.misbehave("RunService_CreateRun", status=429)
    assert "try again later" in on("submit", *ON_THE_STORE).err
    assert len(kfp.made("RunService_CreateRun")) == 3


@pytest.mark.parametrize(
    "operation", ["PipelineService_CreatePipeline", "UploadPipelineVersion", "ExperimentService_CreateExperiment"]
)
def test_an_answer_that_is_lost_makes_nothing_twice(kfp: FakeKfp, on: Sharpen, operation: str) -> None:
    kfp.misbehave(operation, status=0, done=True)
    done = on("submit", *ON_THE_STORE)
    assert done.code == 0, done.err
    assert (len(kfp.state.pipelines), len(kfp.state.versions), len(kfp.state.experiments)) == (1, 1, 1)
    assert len(kfp.made(operation)) == 1


def test_an_upload_that_is_refused_is_told(kfp: FakeKfp, on: Sharpen) -> None:
    kfp.misbehave("UploadPipelineVersion", status=400, body=b'{"error_message": "pipeline spec is invalid"}')
    done = on("submit", *ON_THE_STORE)
    assert (done.code, done.err) == (2, "error: cannot upload the pipeline: 400 pipeline spec is invalid\n")
