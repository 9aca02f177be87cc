"""Every document that an overlay renders: valid, strictly; safe; and true to what the code does."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.crd_schema import crd_faults, crd_file
from tests.k8s.rbac import Asked, Rbac
from tests.k8s.rendered import COMPONENTS, K8S, OVERLAYS, of_kind, pods, render, with_component
from tests.pod_security import restricted_faults
from tests.tools import tool

DEFINITIONS = {
    "kueue.x-k8s.io/ResourceFlavor": "kueue-resourceflavors.crd.yaml",
    "kueue.x-k8s.io/ClusterQueue": "kueue-clusterqueues.crd.yaml",
    "kueue.x-k8s.io/LocalQueue": "kueue-localqueues.crd.yaml",
    "trainer.kubeflow.org/ClusterTrainingRuntime": "clustertrainingruntime-v2.3.0.crd.yaml",
}
VERSIONS = dict(
    line.split("=", 1) for line in (K8S / "install/versions.env").read_text().splitlines() if not line.startswith("#")
)
GROUPS = {"kubeflow.org", "trainer.kubeflow.org"}
# kubeadm's and kind's port of the API server, and minikube's: https://minikube.sigs.k8s.io/docs/commands/start/
API_SERVERS = {6443, 8443}
KUBERNETES = VERSIONS["KUBERNETES_VERSION"].removeprefix("v").rpartition(".")[0]


@pytest.fixture(params=["base", *(f"overlays/{name}" for name in OVERLAYS), *(f"components/{n}" for n in COMPONENTS)])
def documents(request: pytest.FixtureRequest, tmp_path: Path) -> list[dict[str, Any]]:
    """What the base, each overlay, and the base with each component render."""
    kind, _, name = request.param.partition("/")
    return with_component(name, tmp_path) if kind == "components" else render(K8S / request.param)


def test_every_document_is_valid_and_has_no_unknown_field(documents: list[dict[str, Any]]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for document in documents:
        group = document["apiVersion"].rpartition("/")[0]
        definition = DEFINITIONS.get(f"{group}/{document['kind']}")
        if definition:
            assert crd_faults(crd_file(definition), document) == [], document["metadata"]["name"]
            continue
        assert group in {"", "apps", "batch", "networking.k8s.io", "rbac.authorization.k8s.io"}
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_every_pod_passes_the_restricted_profile_and_has_no_token(documents: list[dict[str, Any]]) -> None:
    found = [pod for document in documents for pod in pods(document)]
    assert found
    for metadata, spec in found:
        assert restricted_faults(spec, metadata.get("annotations")) == []
        assert spec["automountServiceAccountToken"] is False
        assert all(container["securityContext"]["readOnlyRootFilesystem"] for container in spec["containers"])


def test_no_secret_and_no_right_to_everything(documents: list[dict[str, Any]]) -> None:
    assert not of_kind(documents, "Secret")
    assert not of_kind(documents, "ClusterRole")
    assert not of_kind(documents, "ClusterRoleBinding")
    for role in of_kind(documents, "Role").values():
        for rule in role["rules"]:
            assert not any("*" in rule[part] for part in ("apiGroups", "resources", "verbs"))
            if "secrets" in rule["resources"]:
                assert rule["verbs"] == ["get"]
                assert rule["resourceNames"]


def test_every_binding_has_its_role_and_its_account(documents: list[dict[str, Any]]) -> None:
    roles, accounts = of_kind(documents, "Role"), of_kind(documents, "ServiceAccount")
    outside = {"pipeline-runner", "default-editor"}  # Kubeflow's own
    for binding in of_kind(documents, "RoleBinding").values():
        assert binding["roleRef"]["name"] in roles
        for subject in binding["subjects"]:
            assert subject["name"] in accounts or subject["name"] in outside
            assert subject.get("namespace") == binding["metadata"].get("namespace")


def granted(documents: list[dict[str, Any]], prefix: str) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for name, role in of_kind(documents, "Role").items()
        if name.startswith(prefix)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_a_launching_step_may_do_what_its_code_does_and_no_more(tmp_path: Path) -> None:
    """The base alone is enough for PyTorchJobs; TrainJobs come with their component."""
    permissions = pytest.importorskip("sharpen.jobs.kubernetes.permissions")
    base = granted(render(K8S / "base"), "sharpen-launcher")
    assert base == {permission for permission in permissions.LAUNCHER if permission.group != "trainer.kubeflow.org"}
    assert granted(with_component("trainer-v2", tmp_path), "sharpen-launcher") == permissions.LAUNCHER


@pytest.mark.parametrize(("overlay", "kinds"), [("kind", {"kubeflow.org"}), ("kind-trainer-v2", GROUPS)])
def test_the_account_that_runs_go_under_on_one_machine_may_launch(overlay: str, kinds: set[str]) -> None:
    """Kubeflow Pipelines standalone runs everything as pipeline-runner; what it has from there is not counted on."""
    permissions = pytest.importorskip("sharpen.jobs.kubernetes.permissions")
    rbac = Rbac(render(K8S / "overlays" / overlay))
    for account in ("pipeline-runner", "sharpen-pipeline"):
        may = {p for p in permissions.LAUNCHER if rbac.may(account, "kubeflow", Asked(*p, "kubeflow"))}
        assert may == {p for p in permissions.LAUNCHER if p.group in kinds | {""}}


def test_training_pods_have_an_account_without_rights(documents: list[dict[str, Any]]) -> None:
    assert of_kind(documents, "ServiceAccount")["sharpen-training"]["automountServiceAccountToken"] is False
    subjects = [s["name"] for binding in of_kind(documents, "RoleBinding").values() for s in binding["subjects"]]
    assert "sharpen-training" not in subjects


def open_to_all(policy: dict[str, Any]) -> set[int]:
    """Ports that may be called wherever they are."""
    return {port["port"] for rule in policy["spec"]["egress"] if not rule.get("to") for port in rule["ports"]}


def test_network_policies_choose_our_pods_only_and_deny_the_rest(documents: list[dict[str, Any]]) -> None:
    policies = of_kind(documents, "NetworkPolicy")
    policies.pop("sharpen-training-progress", None)
    chosen = {name: policy["spec"]["podSelector"]["matchLabels"] for name, policy in policies.items()}
    component = "app.kubernetes.io/component"
    assert chosen == {
        "sharpen-step": {"app.kubernetes.io/name": "sharpen", component: "step"},
        "sharpen-training": {"app.kubernetes.io/name": "sharpen", component: "training"},
    }
    for policy in policies.values():
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        for rule in policy["spec"].get("egress", []):
            assert rule.get("to") or {port["port"] for port in rule["ports"]} <= {53, 443, *API_SERVERS}
    assert open_to_all(policies["sharpen-step"]) == {53, 443, *API_SERVERS}
    # training pods have no token for it
    assert open_to_all(policies["sharpen-training"]) == {53, 443}
    assert "ingress" not in policies["sharpen-step"]["spec"]
    for metadata, _ in (pod for document in documents for pod in pods(document) if document["kind"] == "CronJob"):
        assert {name: metadata["labels"][name] for name in ("app.kubernetes.io/name", component)} in chosen.values()


def test_pods_of_a_trainjob_may_report_their_progress_to_its_controller(tmp_path: Path) -> None:
    """To nobody else, and only where the component for TrainJobs is."""
    policies = of_kind(with_component("trainer-v2", tmp_path), "NetworkPolicy")
    progress, training = policies["sharpen-training-progress"]["spec"], policies["sharpen-training"]["spec"]
    assert progress["podSelector"] == training["podSelector"]
    assert progress["policyTypes"] == ["Egress"]
    (rule,) = progress["egress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 10443}]
    assert rule["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kubeflow-system"}}}]
    assert "sharpen-training-progress" not in of_kind(render(K8S / "base"), "NetworkPolicy")


def test_artifacts_go_where_the_steps_write(documents: list[dict[str, Any]]) -> None:
    """Kubeflow's launcher and our steps use one store. Without default credentials the launcher refuses a provider."""
    maps = of_kind(documents, "ConfigMap")
    launcher, store = maps["kfp-launcher"]["data"], maps["sharpen-store"]["data"]
    scheme, _, rest = launcher["defaultPipelineRoot"].partition("://")
    default = yaml.safe_load(launcher["providers"])[scheme]["default"]
    known = {"endpoint", "region", "disableSSL", "forcePathStyle", "maxRetries", "credentials"}
    assert set(default) <= known
    assert default["region"] == store["AWS_REGION"]
    assert store["SHARPEN_STORE"].startswith(f"s3://{rest.partition('/')[0]}/")
    if default["credentials"]["fromEnv"]:
        assert "AWS_ENDPOINT_URL_S3" not in store
    else:
        assert store["AWS_ENDPOINT_URL_S3"] == f"{'http' if default['disableSSL'] else 'https'}://{default['endpoint']}"
        named = default["credentials"]["secretRef"]["secretName"]
        rules = [rule for role in of_kind(documents, "Role").values() for rule in role["rules"]]
        assert [named] in [rule.get("resourceNames") for rule in rules if "secrets" in rule["resources"]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_names_namespace_and_fixed_images(overlay: str) -> None:
    documents = render(K8S / "overlays" / overlay)
    cluster_wide = {"Namespace", "ClusterQueue", "ResourceFlavor", "ClusterTrainingRuntime"}
    spaces = {d["metadata"]["namespace"] for d in documents if d["kind"] not in cluster_wide}
    assert len(spaces) == 1
    assert set(of_kind(documents, "Namespace")) <= spaces
    for _, spec in (pod for document in documents for pod in pods(document)):
        for container in spec["containers"]:
            assert re.search(r"/.*:(?!latest$)[\w.-]+$", container["image"]), container["image"]


def test_pinned_versions_agree() -> None:
    nodes = yaml.safe_load((K8S / "kind/cluster.yaml").read_text())["nodes"]
    assert {node["image"] for node in nodes} == {VERSIONS["KIND_NODE_IMAGE"]}
    assert f":{VERSIONS['KUBERNETES_VERSION']}@sha256:" in VERSIONS["KIND_NODE_IMAGE"]
    labels = of_kind(render(K8S / "overlays/production"), "Namespace")["sharpen"]["metadata"]["labels"]
    stated = {value for name, value in labels.items() if name.endswith("-version")}
    assert stated == {f"v{KUBERNETES}"}


def test_yamllint() -> None:
    config = K8S.parent / ".yamllint.yaml"
    subprocess.run([tool("yamllint"), "--strict", "--config-file", str(config), str(K8S)], check=True)
