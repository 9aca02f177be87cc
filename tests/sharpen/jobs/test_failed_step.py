"""Which step ended a run, as its pods say."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from sharpen.exit_status import ExitStatus
from sharpen.jobs.failed_step import FailedStep, failed_step

WORKFLOW = "sharpen-x1.root.run"
NAME = "pod-train.hard-negatives.executor-0"


def a_pod(node: str, phase: str, at: int = 0, *, end: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    meta = {"name": f"pod-{node}-{at}", "creationTimestamp": f"2026-11-21T08:00:{at:02}Z"}
    meta["annotations"] = {"workflows.argoproj.io/node-name": f"{WORKFLOW}.{node}"}  # type: ignore[assignment]
    containers = [{"name": "main", "state": {"terminated": end}}] if end else []
    spec = {"containers": [{"name": "main", "image": "x/y:1", "resources": {"limits": {"memory": "8Gi"}}}]}
    return {"metadata": meta, "spec": spec, "status": {"phase": phase, "containerStatuses": containers, **status}}


def said(step: str, *lines: str) -> dict[str, Any]:
    return {"exitCode": 1, "reason": "Error", "message": json.dumps(asdict(ExitStatus(step, 1, list(lines))))}


def test_the_step_and_its_own_words_are_told() -> None:
    pods = [
        a_pod("data-prep.executor", "Succeeded", 1),
        a_pod("train.finetuning(0).executor", "Failed", 2, end=said("finetuning", "the loss is not a number")),
    ]
    assert failed_step(pods) == FailedStep("finetuning", ["the loss is not a number"])


def test_a_try_that_failed_before_the_step_succeeded_is_no_failure() -> None:
    pods = [
        a_pod("evaluation(1).executor", "Succeeded", 2),
        a_pod("evaluation(0).executor", "Failed", 1, end=said("evaluation", "the store did not answer")),
        a_pod("finish-driver", "Running", 3),
    ]
    assert failed_step(pods) is None


@pytest.mark.parametrize(
    ("end", "status", "lines", "killed"),
    [
        (
            {"exitCode": 137, "reason": "OOMKilled"},
            {},
            [
                f"pod {NAME} ran out of memory (OOMKilled; its limit is 8Gi): raise pods.memory",
                "exit code 137 (OOMKilled)",
            ],
            False,
        ),
        ({"exitCode": 143, "reason": "Error"}, {}, ["exit code 143"], True),
        ({"exitCode": 137, "reason": "Error"}, {"message": "The node was low on resource: memory."}, None, True),
        (None, {"reason": "Evicted", "message": "low on disk"}, [f"pod {NAME} was evicted: low on disk"], False),
        (None, {}, ["its pod does not say why"], False),
    ],
)
def test_a_pod_that_could_say_nothing_is_told_by_what_the_cluster_says(
    end: dict[str, Any] | None, status: dict[str, Any], lines: list[str] | None, killed: bool
) -> None:
    told = failed_step([a_pod("train.hard-negatives.executor", "Failed", end=end, **status)])
    assert told is not None and told.step == "hard-negatives" and told.killed is killed
    assert told.lines == (lines or ["The node was low on resource: memory.", "exit code 137"])


def test_a_step_that_never_started_is_told_with_its_obstacle() -> None:
    waiting = {"name": "main", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}
    pods = [a_pod("plan.executor", "Pending", containerStatuses=[waiting])]
    line = (
        "pod pod-plan.executor-0 cannot pull its image x/y:1: not found; "
        "check the image that the pipeline was compiled with and its service account's pull secrets"
    )
    assert failed_step(pods) == FailedStep("plan", [line])
    no_node = {"type": "PodScheduled", "reason": "Unschedulable", "message": "0/1 nodes: Insufficient cpu"}
    pods = [a_pod("plan.executor", "Pending", conditions=[no_node])]
    assert failed_step(pods) == FailedStep(
        "plan", ["pod pod-plan.executor-0 finds no node: 0/1 nodes: Insufficient cpu"]
    )
    starting = {"name": "main", "state": {"waiting": {"reason": "ContainerCreating"}}}
    assert failed_step([a_pod("plan.executor", "Pending", containerStatuses=[starting])]) is None
    assert failed_step([]) is None
