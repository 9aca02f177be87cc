"""What the steps' pods get on a cluster, as it is compiled, beside what the manifests give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sharpen.run_context import RUN_ID_VARIABLE
from tests.pipeline.cluster.test_compiling import IMAGE, compiled

BASE = Path(__file__).parents[2] / "k8s" / "base"


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Executor -> its Kubernetes settings, for every step of the pipeline."""
    spec, platform = compiled(tmp_path_factory.mktemp("pods"), "--image", IMAGE)
    found = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(found) == set(spec["deploymentSpec"]["executors"])
    return found


def manifest(name: str, kind: str) -> dict[str, dict[str, Any]]:
    documents = yaml.safe_load_all((BASE / name).read_text())
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}


def test_every_step_reads_the_stores_keys_from_the_secret_that_its_account_may_read(
    pods: dict[str, dict[str, Any]],
) -> None:
    rules = manifest("role-step.yaml", "Role")["sharpen-step"]["rules"]
    (readable,) = (rule["resourceNames"] for rule in rules if rule["resources"] == ["secrets"])
    wanted = {("accesskey", "AWS_ACCESS_KEY_ID"), ("secretkey", "AWS_SECRET_ACCESS_KEY")}
    for name, pod in pods.items():
        secret, *others = pod["secretAsEnv"]
        assert [secret["secretName"]] == readable
        assert secret["optional"] is True
        # the kubelet puts it in, so that no account needs the right to read it
        assert [(one["secretName"], one["optional"]) for one in others] == (
            [("sharpen-webhook", True)] if name == "exec-finish" else []
        )
        assert {(key["secretKey"], key["envVar"]) for key in secret["keyToEnv"]} == wanted


def test_every_step_knows_where_the_store_is_and_which_run_it_belongs_to(pods: dict[str, dict[str, Any]]) -> None:
    maps = manifest("store.yaml", "ConfigMap")
    for pod in pods.values():
        (places,) = pod["configMapAsEnv"]
        assert places["optional"] is True
        assert {key["configMapKey"] for key in places["keyToEnv"]} <= set(maps[places["configMapName"]]["data"])
        assert {(f["name"], f["fieldPath"]) for f in pod["fieldPathAsEnv"]} == {
            (RUN_ID_VARIABLE, "metadata.labels['pipeline/runid']")
        }


def test_a_network_policy_chooses_every_step(pods: dict[str, dict[str, Any]]) -> None:
    chosen = manifest("network-policies.yaml", "NetworkPolicy")["sharpen-step"]["spec"]["podSelector"]["matchLabels"]
    for pod in pods.values():
        assert pod["podMetadata"]["labels"] == chosen
        assert pod["securityContext"] == {"runAsNonRoot": True}
