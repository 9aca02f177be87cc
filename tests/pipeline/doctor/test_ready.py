"""A cluster that the project's own manifests were applied to is ready, and nothing is left behind in it."""

from __future__ import annotations

import pytest

from sharpen.store import storage
from tests.pipeline.doctor.cluster import Applied
from tests.pipeline.doctor.conftest import Examine
from tests.pod_security import restricted_faults

pytestmark = pytest.mark.store


def test_the_overlay_of_one_machine_is_ready(cluster: Applied, examine: Examine) -> None:
    findings = examine()
    assert [f for f in findings if f.state != "pass"] == []
    assert all(not finding.remedy for finding in findings)
    assert not storage.list_files(cluster.store)
    verbs = {(call.verb, call.resource) for call in cluster.api.calls}
    assert {verb for verb, resource in verbs if not resource.endswith("reviews")} == {"get", "list", "create"}
    assert {resource for verb, resource in verbs if verb == "create" and "reviews" not in resource} == {
        "pods",
        "pytorchjobs",
    }
    assert not cluster.api.all("kubeflow.org", "pytorchjobs")
    assert all(query.get("dryRun") == "All" for path, query in cluster.api.requests if path.endswith(("/pods", "jobs")))


def test_the_objects_that_are_tried_are_those_of_a_run(cluster: Applied, examine: Examine) -> None:
    findings = examine("job.nodes=2", "job.memory=4Gi", "pods.memory=6Gi", "pods.gpus=1", without=("store",))
    assert [f for f in findings if f.state != "pass"] == []
    job, pod, *steps = cluster.api.dry_runs
    assert job["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] == 2
    assert pod["spec"] == job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    assert all(restricted_faults(made["spec"]) == [] for made in (pod, *steps))
    assert {step["spec"]["serviceAccountName"] for step in steps} == {"sharpen-pipeline"}
    limits = [step["spec"]["containers"][0]["resources"]["limits"] for step in steps]
    assert {"memory": "6Gi", "nvidia.com/gpu": "1"} in limits
    # the step that only waits for the job names nothing, so that the namespace's defaults are tried too
    assert {} in limits
