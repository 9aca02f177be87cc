"""The compiled pipeline as Kubeflow Pipelines' own protobuf reads it: what a backend will be told to do."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline import parameters
from pipeline.resources import resource_requests
from pipeline.settings import PodSettings
from sharpen.jobs.settings import JobSettings
from tests.pipeline.cluster.test_compiling import IMAGE, compiled
from tests.pipeline.pod_count import depth
from tests.pipeline.pod_count import pods as pods_of

LAUNCHER = "registry.example/sharpen-python-launcher:1.0"
SETTINGS = (
    *("--set", "pods.memory=48Gi", "--set", "pods.cpu=6", "--set", "pods.gpus=1", "--set", "pods.retries=3"),
    *("--set", "pods.timeout_seconds=7200", "--set", "job.gpu_resource=amd.com/gpu", "--set", "job.backend=pytorchjob"),
)
COMPUTE = {"data-prep", "hard-negatives", "merging", "evaluation-before", "evaluation", "indexing"}
ON_GPUS = COMPUTE - {"data-prep"}

Spec = pipeline_spec_pb2.PipelineSpec


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return compiled(tmp_path_factory.mktemp("ir"), "--image", IMAGE, "--launcher-image", LAUNCHER, *SETTINGS)


@pytest.fixture(scope="module")
def spec(documents: list[dict[str, Any]]) -> Spec:
    """Strictly: a field that the protobuf does not know is an error."""
    return json_format.ParseDict(documents[0], Spec())


def deployment(spec: Spec) -> Any:
    return json_format.ParseDict(
        json_format.MessageToDict(spec.deployment_spec), pipeline_spec_pb2.PipelineDeploymentConfig()
    )


@pytest.fixture(scope="module")
def containers(spec: Spec) -> dict[str, Any]:
    """Component's name -> its container."""
    found = {name.removeprefix("exec-"): e.container for name, e in deployment(spec).executors.items()}
    # a component that is used twice stands there twice, with a number
    return {re.sub(r"-\d+$", "", name): container for name, container in found.items()}


@pytest.fixture(scope="module")
def pods(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Component's name -> its pod."""
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    config = kubernetes_pb2.KubernetesExecutorConfig
    return {
        re.sub(r"-\d+$", "", name.removeprefix("exec-")): json_format.ParseDict(values, config())
        for name, values in executors.items()
    }


def tasks(spec: Spec) -> Iterator[tuple[str, Any]]:
    """Component's name and task, over all levels of the graph; the levels themselves are left out."""
    for dag in (spec.root.dag, *(component.dag for component in spec.components.values())):
        for task in dag.tasks.values():
            if spec.components[task.component_ref.name].executor_label:
                yield re.sub(r"-\d+$", "", task.component_ref.name.removeprefix("comp-")), task


def level(spec: Spec, task: str) -> Any:
    """The level of the graph that holds a task."""
    (dag,) = (c.dag for c in (spec.root, *spec.components.values()) if task in c.dag.tasks)
    return dag


def test_images_are_pinned_and_the_small_one_is_where_nothing_computes(containers: dict[str, Any]) -> None:
    small = {name for name, container in containers.items() if container.image == LAUNCHER}
    assert {container.image for container in containers.values()} == {IMAGE, LAUNCHER}
    assert small == {"promotion", "finish", "finetuning"}


def test_every_task_is_in_the_table_and_is_cached_as_it_says(spec: Spec) -> None:
    needs = resource_requests(PodSettings(), JobSettings())  # type: ignore[call-arg]
    found = {name: task.caching_options.enable_cache for name, task in tasks(spec)}
    assert found == {
        name: need.cached
        for name, need in needs.items()
        if name not in ("decide-approval", "query-generation", "pretraining", "teachers")
    }
    assert {name for name, cached in found.items() if cached} == {*COMPUTE, "finetuning"}


def test_what_is_cached_takes_the_content_fingerprint(spec: Spec) -> None:
    for name, task in tasks(spec):
        if task.caching_options.enable_cache:
            given = task.inputs.parameters["fingerprint"]
            made = given.task_output_parameter
            known = (given.component_input_parameter, made.producer_task, made.output_parameter_key)
            step = {"hard-negatives": "mining", "finetuning": "training"}.get(name, name.removesuffix("-before"))
            outside = (f"pipelinechannel--plan-{step}_fingerprint", "", "")
            assert known == (("", "plan", "data_fingerprint") if name == "data-prep" else outside), name


def test_a_pod_that_is_gone_is_replaced_without_a_pause(spec: Spec) -> None:
    """Kubeflow's controller tries nothing else again, but spends the pause after every failure."""
    for name, task in tasks(spec):
        policy = task.retry_policy
        assert policy.max_retry_count == 3, name
        assert (policy.backoff_duration.seconds, policy.backoff_factor) == (1, 2)
        assert policy.backoff_max_duration.seconds == 60


def test_every_try_ends_but_that_of_the_job_which_has_budgets_of_its_own(pods: dict[str, Any]) -> None:
    seconds = {name: pod.active_deadline_seconds for name, pod in pods.items()}
    assert {name for name, value in seconds.items() if not value} == {"finetuning"}
    assert {seconds[name] for name in COMPUTE} == {7200}
    assert all(60 <= value <= 86_400 for name, value in seconds.items() if name != "finetuning")


def test_processors_are_requested_and_memory_is_limited_to_what_is_requested(
    containers: dict[str, Any], pods: dict[str, Any]
) -> None:
    for name, container in containers.items():
        given = container.resources
        if name == "finetuning":
            # on the task it would be the job's (`dsl.TaskConfig`)
            assert not container.HasField("resources")
            continue
        assert given.resource_cpu_request and not given.resource_cpu_limit, name
        assert given.resource_memory_request == given.resource_memory_limit != "", name
        assert bool(given.HasField("accelerator")) == (name in ON_GPUS)
    for name in COMPUTE:
        given = containers[name].resources
        assert (given.resource_cpu_request, given.resource_memory_limit) == ("6", "48Gi")
        assert {variable.name: variable.value for variable in containers[name].env} == {"OMP_NUM_THREADS": "6"}
    for name in ON_GPUS:
        assert [(t.key, t.operator, t.effect) for t in pods[name].tolerations] == [
            ("amd.com/gpu", "Exists", "NoSchedule")
        ]
        accelerator = containers[name].resources.accelerator
        assert (accelerator.resource_type, accelerator.resource_count) == ("amd.com/gpu", "1")


def test_training_in_the_steps_own_pod_gets_what_a_pod_of_the_job_would_get(tmp_path: Path) -> None:
    chosen = {"backend": "local", "cpu": "12500m", "memory": "96Gi", "gpus_per_node": "2", "shm_size": "16Gi"}
    options = [part for name, value in chosen.items() for part in ("--set", f"job.{name}={value}")]
    spec, platform = compiled(tmp_path, "--image", IMAGE, *options)
    container = spec["deploymentSpec"]["executors"]["exec-finetuning"]["container"]
    assert container["resources"]["resourceMemoryLimit"] == container["resources"]["resourceMemoryRequest"] == "96Gi"
    assert container["resources"]["resourceCpuRequest"] == "12500m"
    assert (
        container["resources"]["accelerator"].items()
        >= {"resourceType": "nvidia.com/gpu", "resourceCount": "2"}.items()
    )
    assert {"name": "OMP_NUM_THREADS", "value": "12"} in container["env"]
    pod = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-finetuning"]
    (shared,) = pod["emptyDirMounts"]
    assert (shared["mountPath"], shared["medium"], shared["sizeLimit"]) == ("/dev/shm", "Memory", "16Gi")
    assert [toleration["key"] for toleration in pod["tolerations"]] == ["nvidia.com/gpu"]


def test_small_settings_are_small(tmp_path: Path) -> None:
    spec = json_format.ParseDict(compiled(tmp_path, "--image", IMAGE, "--set", "pods.retries=0")[0], Spec())
    assert not any(task.retry_policy.max_retry_count for _, task in tasks(spec))
    containers = [executor.container for executor in deployment(spec).executors.values()]
    assert not any(container.resources.HasField("accelerator") for container in containers)


def test_secrets_are_references_and_no_value_is_anywhere(
    spec: Spec, pods: dict[str, Any], containers: dict[str, Any], documents: list[dict[str, Any]]
) -> None:
    for name, pod in pods.items():
        secret, *others = pod.secret_as_env
        assert [key.env_var for one in others for key in one.key_to_env] == (
            ["SHARPEN_WEBHOOK_URL"] if name == "finish" else []
        )
        assert {key.env_var for key in secret.key_to_env} == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
        assert not pod.secret_as_volume
    named = {variable.name for container in containers.values() for variable in container.env}
    assert named <= {"OMP_NUM_THREADS", "SHARPEN_JOB_IMAGE"}
    assert not any(re.search("secret|password|token|key", name, re.IGNORECASE) for name in inputs_of(spec))
    assert not re.search(r"AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY", str(documents))


def inputs_of(spec: Spec) -> set[str]:
    return {name for component in spec.components.values() for name in component.input_definitions.parameters}


def test_the_exit_task_runs_whatever_happened(spec: Spec) -> None:
    tasks_of_root = spec.root.dag.tasks
    assert set(tasks_of_root) == {"finish", "run"} or set(tasks_of_root) == {"finish", "exit-handler-1"}
    end = tasks_of_root["finish"]
    strategy = pipeline_spec_pb2.PipelineTaskSpec.TriggerPolicy.TriggerStrategy
    assert end.trigger_policy.strategy == strategy.ALL_UPSTREAM_TASKS_COMPLETED
    (body,) = set(tasks_of_root) - {"finish"}
    assert end.inputs.parameters["status"].task_final_status.producer_task == body
    assert list(end.dependent_tasks) == [body]


def test_a_run_starts_few_pods_in_few_levels(spec: Spec) -> None:
    assert pods_of(spec, {"train", "index"}) == 25
    assert pods_of(spec, {"train"}) == 23
    assert pods_of(spec, {"train", "compare again"}) == 29
    # plan and the exit task; the cache has what data_prep does for a skipped run
    assert pods_of(spec, {}, {"data-prep"}) == 8
    conditions = [task for c in spec.components.values() for task in c.dag.tasks.values() if condition_of(task)]
    assert (len(conditions), depth(spec)) == (3, 3)


def condition_of(task: Any) -> str:
    return task.trigger_policy.condition


def test_a_run_with_nothing_new_does_only_what_plans_it(spec: Spec) -> None:
    first = level(spec, "plan")
    (train,) = (task for task in first.tasks.values() if condition_of(task))
    assert condition_of(train) == "inputs.parameter_values['pipelinechannel--data-prep-Output'] == 'train'"
    assert {name for name, task in first.tasks.items() if task is not train} == {"plan", "data-prep"}
    # what a skipped run gives to data_prep is decided by the plan alone, so that it is the same every time
    given = first.tasks["data-prep"].inputs.parameters
    assert {parameter.task_output_parameter.producer_task for parameter in given.values()} == {"plan"}


def test_a_lost_race_is_one_more_comparison_on_the_same_data(spec: Spec) -> None:
    again = level(spec, "promotion-2")
    assert set(again.tasks) == {"evaluation-2", "promotion-2", "indexing-2"}
    given = again.tasks["evaluation-2"].inputs.parameters
    assert given["new_champion"].component_input_parameter == "pipelinechannel--promotion-champion"
    assert given["data"].component_input_parameter == "pipelinechannel--data-prep-data"
    assert given["split"].runtime_value.constant.string_value == "test"
    assert given["base"].component_input_parameter == "pipelinechannel--evaluation-before-base"
    assert not again.tasks["promotion-2"].inputs.parameters["again"].runtime_value.constant.bool_value
    assert level(spec, "promotion").tasks["promotion"].inputs.parameters["again"].runtime_value.constant.bool_value
    last = again.tasks["indexing-2"].inputs.parameters["model"].task_output_parameter
    assert (last.producer_task, last.output_parameter_key) == ("promotion-2", "version")


def test_what_people_look_at_is_an_artifact_that_the_ui_shows(spec: Spec) -> None:
    shown = {
        name: {
            artifact: kind.artifact_type.schema_title.removeprefix("system.")
            for artifact, kind in spec.components[task.component_ref.name].output_definitions.artifacts.items()
        }
        for name, task in tasks(spec)
    }
    assert all(len(found) <= 4 for found in shown.values())
    names = [name for found in shown.values() for name in found]
    assert len(set(names)) == len(names), "an artifact's name says which step made it"
    kinds = {"Metrics", "HTML", "Markdown"}
    assert {name: {a: k for a, k in found.items() if k in kinds} for name, found in shown.items()} == {
        "plan": {"plan_page": "HTML"},
        "data-prep": {"data_page": "HTML"},
        "hard-negatives": {"mining_report": "HTML"},
        "finetuning": {"training_page": "HTML"},
        "merging": {"merging_page": "HTML"},
        "evaluation-before": {"before_report": "HTML"},
        "evaluation": {"tuned_report": "HTML"},
        "promotion": {"decision_metrics": "Metrics", "decision_page": "HTML"},
        "indexing": {"index_page": "HTML"},
        "finish": {"summary": "HTML", "report": "HTML"},
    }


def test_the_lineage_of_a_model_goes_back_to_its_data(spec: Spec) -> None:
    """Kubeflow draws an edge for an input artifact, and copies into the pod what lies at its address."""
    taken = {
        name: {
            artifact: (of.task_output_artifact.output_artifact_key or of.component_input_artifact).rpartition("-")[2]
            for artifact, of in task.inputs.artifacts.items()
        }
        for name, task in tasks(spec)
    }
    assert {name: set(found.values()) for name, found in taken.items() if found} == {
        "hard-negatives": {"prepared_data"},
        "finetuning": {"prepared_data", "mined_negatives"},
        "merging": {"prepared_data", "tuned_model"},
        "promotion": {"merged_model"},
        "indexing": {"promoted_model"},
    }


def test_every_step_says_what_it_is(spec: Spec, containers: dict[str, Any]) -> None:
    """The UI shows a component's description, and that of its inputs."""
    told_by_kfp = {"task_config", "status"}
    for name, task in tasks(spec):
        for parameter, field in spec.components[task.component_ref.name].input_definitions.parameters.items():
            assert field.description or parameter in told_by_kfp, (name, parameter)


def test_the_launching_step_hands_on_what_is_set_on_its_task(spec: Spec) -> None:
    (passed,) = (
        component.task_config_passthroughs for name, component in spec.components.items() if name == "comp-finetuning"
    )
    fields = pipeline_spec_pb2.TaskConfigPassthroughType
    assert {fields.TaskConfigPassthroughTypeEnum.Name(p.field) for p in passed} >= {"RESOURCES", "ENV"}


def test_no_component_installs_anything_when_it_starts(containers: dict[str, Any]) -> None:
    for name, container in containers.items():
        assert "pip install" not in " ".join([*container.command, *container.args]), name


def test_bodies_of_components_are_short() -> None:
    import ast

    root = Path(inspect.getfile(parameters)).parents[1]
    for path in [
        *root.glob("components/*/component.py"),
        root / "pipeline/exit_handler.py",
        root / "pipeline/plan.py",
    ]:
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and function.decorator_list:
                lines = function.body[-1].end_lineno - function.body[0].end_lineno  # type: ignore[operator]
                # an empty line between imports and body is none of it
                assert lines <= 18, (path, function.name, lines)
