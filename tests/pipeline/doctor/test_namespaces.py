"""Which namespace is looked at, and whether its pods reach the store."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from pipeline.doctor.checks.store_access import PROFILE, PROFILE_LABEL, lets_in, matches
from tests.k8s.rendered import K8S
from tests.pipeline.doctor.cluster import Applied
from tests.pipeline.doctor.conftest import Examine, of
from tests.sharpen.jobs.fake_api import Call, Object

pytestmark = pytest.mark.store

HEALTH = "kubeflow/ml-pipeline/8888/apis/v2beta1/healthz"
# The rules of the policy that Kubeflow Pipelines 2.17 has for its SeaweedFS.
SEAWEEDFS: Object = {
    "metadata": {"name": "seaweedfs", "namespace": "kubeflow"},
    "spec": {
        "podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["seaweedfs"]}]},
        "policyTypes": ["Ingress"],
        "ingress": [
            {
                "from": [{"namespaceSelector": {"matchLabels": {"app.kubernetes.io/part-of": "kubeflow-profile"}}}],
                "ports": [{"port": 8333}],
            },
            {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "istio-system"}}}]},
            {"from": [{"podSelector": {}}], "ports": [{"port": 8333}]},
        ],
    },
}
REMEDY = "kubectl label namespace gpus app.kubernetes.io/part-of=kubeflow-profile"


def test_runs_of_one_user_are_in_kubeflows_namespace_whatever_the_kubeconfig_says(
    cluster: Applied, examine: Examine, tmp_path: Path
) -> None:
    cluster.api.kubeconfig(tmp_path, "default")
    findings = examine(without=("store",))
    assert [f.detail for f in findings if f.check == "namespace"] == ["kubeflow"]
    assert [f for f in findings if f.state != "pass"] == []
    # who names a namespace is taken at their word, and told
    findings = examine(namespace="team", without=("store",))
    told = of(findings, "namespace of runs")
    assert (told.state, told.remedy.split(",")[0]) == ("warn", "--namespace kubeflow")
    assert "team does not exist" in of(findings, "namespace").detail


def test_with_several_users_the_namespace_is_that_of_the_kubeconfig(
    cluster: Applied, examine: Examine, tmp_path: Path
) -> None:
    cluster.api.kubeconfig(tmp_path, "team")
    cluster.api.services[HEALTH] = {"tag_name": "2.17.0", "multi_user": True}
    findings = examine(without=("store",))
    assert of(findings, "namespace").detail == "team does not exist"
    assert of(findings, "Kubeflow Pipelines").detail.endswith("several users")
    # nor is anything guessed where Kubeflow cannot be asked
    del cluster.api.services[HEALTH]
    assert of(examine(without=("store",)), "namespace").detail == "team does not exist"


@pytest.fixture
def gpus(cluster: Applied) -> Applied:
    """A namespace for jobs, and the store that Kubeflow brings, with its policy."""
    api = cluster.api
    api.put("", "namespaces", {"metadata": {"name": "gpus", "namespace": "", "labels": {"team": "search"}}})
    there = copy.deepcopy(cluster.get("configmaps", "sharpen-store"))
    there["metadata"]["namespace"] = "gpus"
    api.put("", "configmaps", there)
    meta = {"name": "seaweedfs", "namespace": "kubeflow"}
    api.put("", "services", {"metadata": meta, "spec": {"selector": {"app": "seaweedfs"}}})
    api.put("networking.k8s.io", "networkpolicies", copy.deepcopy(SEAWEEDFS))
    return cluster


def test_kubeflows_store_lets_in_only_labelled_namespaces(gpus: Applied, examine: Examine) -> None:
    finding = of(examine("job.namespace=gpus", without=("store",)), "way to the store")
    assert (finding.state, finding.remedy) == ("warn", REMEDY)
    assert finding.detail == "the network policies of seaweedfs.kubeflow keep out pods of namespace gpus"
    gpus.get("namespaces", "gpus")["metadata"]["labels"] = {"app.kubernetes.io/part-of": "kubeflow-profile"}
    assert of(examine("job.namespace=gpus", without=("store",)), "way to the store").state == "pass"


def test_what_kubeflows_store_lets_in_is_known_without_a_right_to_look(gpus: Applied, examine: Examine) -> None:
    gpus.api.forbidden.add(Call("networking.k8s.io", "networkpolicies", "list"))
    finding = of(examine("job.namespace=gpus", without=("store",)), "way to the store")
    assert (finding.state, finding.remedy) == ("warn", REMEDY)


def test_the_guide_names_the_same_label() -> None:
    assert f"{PROFILE_LABEL}={PROFILE}" in (K8S / "README.md").read_text()


def test_a_store_without_policies_or_outside_is_no_matter(gpus: Applied, examine: Examine) -> None:
    gpus.drop("networkpolicies", "seaweedfs", "networking.k8s.io")
    assert of(examine("job.namespace=gpus", without=("store",)), "way to the store").state == "pass"
    for found in gpus.api.all("", "configmaps", "gpus"):
        found["data"]["AWS_ENDPOINT_URL_S3"] = "https://s3.eu-central-1.amazonaws.com"
    findings = examine("job.namespace=gpus", without=("store",))
    assert "way to the store" not in {finding.check for finding in findings}


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ({}, True),
        ({"matchLabels": {"a": "1"}}, True),
        ({"matchLabels": {"a": "2"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["2"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "b", "operator": "In", "values": ["1"]}]}, False),
    ],
)
def test_selectors(selector: Object, selected: bool) -> None:
    assert matches(selector, {"a": "1"}) is selected


def test_rules_of_a_policy() -> None:
    def policy(*rules: Object) -> list[Object]:
        return [{"spec": {"podSelector": {}, "ingress": list(rules)}}]

    assert not lets_in(policy(), {}, {})
    assert lets_in(policy({}), {}, {})
    assert lets_in(policy({"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}), {}, {})
    assert lets_in(policy({"from": [{"namespaceSelector": {}}]}), {}, {})
    assert not lets_in(policy({"from": [{"podSelector": {}}]}), {}, {})
    assert lets_in([{"spec": {"podSelector": {}, "policyTypes": ["Egress"]}}], {}, {})
