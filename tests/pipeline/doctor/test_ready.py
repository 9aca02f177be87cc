"""A cluster that the project's own manifests were applied to is ready, and nothing is left behind in it."""

from __future__ import annotations

import pytest

from sharpen.store import storage
from tests.pipeline.doctor.cluster import Applied
from tests.pipeline.doctor.conftest import Examine

pytestmark = pytest.mark.store


def test_the_overlay_of_one_machine_is_ready(cluster: Applied, examine: Examine) -> None:
    findings = examine()
    assert [f for f in findings if f.state not in ("pass", "not checked")] == []
    assert [f.check for f in findings if f.state == "not checked"] == ["TrainJob"]
    assert all(not finding.mend for finding in findings)
    assert not storage.list_files(cluster.store)
    verbs = {(call.verb, call.resource) for call in cluster.api.calls}
    assert {verb for verb, resource in verbs if not resource.endswith("reviews")} == {"get", "list", "create"}
    assert {resource for verb, resource in verbs if verb == "create" and "reviews" not in resource} == {
        "pods",
        "pytorchjobs",
    }
    assert not cluster.api.all("kubeflow.org", "pytorchjobs")
    assert all(query.get("dryRun") == "All" for path, query in cluster.api.requests if path.endswith(("/pods", "jobs")))
