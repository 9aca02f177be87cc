"""Which pod a step ran in, and what its log says."""

from __future__ import annotations

import itertools

import pytest

from pipeline.cluster.steps.log import StepLog
from pipeline.cluster.steps.nodes import Nodes
from pipeline.cluster.steps.tasks import Graph
from tests.pipeline.cluster.conftest import task
from tests.pipeline.cluster.fake_backend import Object
from tests.pipeline.cluster.fake_nodes import Tree, node_id


def clock() -> str:
    return "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("tries", [1, 2, 11])
def test_the_pod_of_the_last_try_is_found_by_the_engines_hash_of_its_name(tries: int) -> None:
    tree = Tree("sharpen-x1")
    details = tree.details([task("data-prep", "SUCCEEDED"), task("finetuning", "FAILED", tries=tries)], clock)
    nodes = Nodes(details)
    assert nodes.pod("finetuning") == tree.pod("finetuning", tries)
    assert nodes.pod("data-prep") == tree.pod("data-prep")
    assert nodes.pod("finetuning-driver") == nodes.pod("prep") == nodes.pod("promotion") == ""
    # as Argo 4.0 does, https://pkg.go.dev/hash/fnv
    assert node_id("sharpen-x1", "a") == f"sharpen-x1-{0xE40C292C}"


def test_a_pod_that_follows_another_without_tries_is_not_taken_for_one_of_them() -> None:
    """Without a policy of retries the engine's nodes after a pod are children of that pod."""
    names = ["w.root", "w.root.plan", "w.root.plan.executor", "w.root.data-prep-driver"]
    details: list[Object] = [
        {"display_name": name.rpartition(".")[2], "child_tasks": [{"pod_name": node_id("w", following)}]}
        for name, following in itertools.pairwise(["w", *names])
    ]
    assert Nodes(details).pod("plan") == node_id("w", "w.root.plan.executor")


def test_a_server_that_tells_the_ids_of_nodes_needs_no_hash() -> None:
    chain = ["finetuning", "finetuning(0)", "executor", "the-pod"]
    details: list[Object] = [
        {"display_name": name, "task_id": f"id-{name}", "child_tasks": [{"pod_name": f"id-{following}"}]}
        for name, following in itertools.pairwise(chain)
    ]
    assert Nodes(details).pod("finetuning") == "id-the-pod"
    assert Nodes([]).pod("finetuning") == Nodes([{"display_name": "finetuning"}]).pod("finetuning") == ""


def test_the_templates_of_pods_are_named_as_kubeflow_names_them() -> None:
    tasks = {
        name: {"componentRef": {"name": f"comp-{name}"}, "taskInfo": {"name": name}, **more}
        for name, more in (("plan", {}), ("data-prep", {"retryPolicy": {"maxRetryCount": 2}}))
    }
    components = {f"comp-{name}": {"executorLabel": f"exec-{name}"} for name in tasks}
    spec = {"root": {"dag": {"tasks": tasks}}, "components": components}
    labels = {"podMetadata": {"labels": {"a": "1", "b": "2"}}}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-data-prep": labels}}}}}
    assert Graph.of({"pipeline_spec": spec, "platform_spec": platform}).templates == {
        "plan": "system-container-impl",
        "data-prep": "metadata-0-2-retry-system-container-impl",
    }


def test_many_faults_and_foreign_signs_are_cut() -> None:
    log = StepLog("".join(f"error: row {number}: \x1b[31m{'x' * 2000}\n" for number in range(30)))
    assert len(log.reasons) == 11 and log.reasons[-1] == "and 20 more"
    assert all(len(line) < 1100 and "\x1b" not in line for line in log.reasons)
    assert not log.failed


def test_an_empty_log_says_nothing() -> None:
    log = StepLog("")
    assert not (log.failed or log.is_user_error or log.reasons or log.notes or log.progress or log.outcome)


def test_a_job_that_runs_has_notes_of_its_pods_only() -> None:
    waits = "note: before\njob a-1: pending\nnote: no node\n"
    runs = f"{waits}job a-1: running\nnote: 3 texts are cut\nnote: pod a-1-0 failed: 137\n"
    runs += "Training:   8 % · 1/9 steps · 0:01 left\n"
    assert StepLog(waits).notes == ["job a-1: pending", "no node"]
    assert StepLog(runs).notes == ["pod a-1-0 failed: 137"]
    assert StepLog(runs).progress.startswith("Training:   8 %")
    assert StepLog(f"{runs}job a-1: pending\n").progress == ""
    assert StepLog("note: before\n").notes == []
