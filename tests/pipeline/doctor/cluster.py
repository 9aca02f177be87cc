"""A cluster that the project's own manifests were applied to, as a fake Kubernetes API serves it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from tests.k8s.rbac import Asked, Rbac
from tests.k8s.rendered import K8S, render
from tests.sharpen.jobs.fake_api import FakeApi

STORE_PASSWORD = "c2VjcmV0LXZhbHVlLW9mLXRoZS1zdG9yZQ=="
ADMINISTRATOR = "me"
PLURALS = {
    "ConfigMap": ("", "configmaps"),
    "ServiceAccount": ("", "serviceaccounts"),
    "Namespace": ("", "namespaces"),
    "LocalQueue": ("kueue.x-k8s.io", "localqueues"),
    "ClusterTrainingRuntime": ("trainer.kubeflow.org", "clustertrainingruntimes"),
}
NAMELESS = {"Namespace", "ClusterTrainingRuntime"}
# As Kubeflow Pipelines 2.17 configures Argo.
WORKFLOW_DEFAULTS = """
spec:
  templateDefaults:
    retryStrategy: {limit: 2, retryPolicy: OnError}
"""


class Applied:
    """The API of a cluster with Kubeflow and one of our overlays.

    Args:
        api: serves it.
        overlay: name of the overlay.
        store: root address of a store that is really there.
    """

    def __init__(self, api: FakeApi, overlay: str, store: str) -> None:
        self.api, self.store = api, store
        documents = copy.deepcopy(render(K8S / "overlays" / overlay))
        self.namespace = next(d["metadata"]["namespace"] for d in documents if d["kind"] == "ConfigMap")
        api.known |= set(PLURALS.values()) | {
            ("", "secrets"),
            ("", "services"),
            ("argoproj.io", "workflows"),
            ("networking.k8s.io", "networkpolicies"),
        }
        api.known.discard(("trainer.kubeflow.org", "trainjobs"))
        api.versions |= {"argoproj.io": ["v1alpha1"], "kueue.x-k8s.io": ["v1beta2", "v1beta1"]}
        for document in documents:
            self.put(document)
        if not self.get("namespaces", self.namespace):
            self.put({"kind": "Namespace", "metadata": {"name": self.namespace}, "status": {"phase": "Active"}})
        self.put_secret("mlpipeline-minio-artifact", accesskey="bWluaW8=", secretkey=STORE_PASSWORD)
        self.put_retry_policy(WORKFLOW_DEFAULTS)
        rbac = Rbac(documents)

        def rights(user: str, call: dict[str, str]) -> bool:
            if user == ADMINISTRATOR:
                return True
            _, _, home, account = user.split(":")
            resource = "/".join(filter(None, (call["resource"], call.get("subresource"))))
            asked = Asked(call["group"], resource, call["verb"], call["namespace"], call.get("name", ""))
            return rbac.may(account, home, asked)

        api.rights = rights
        api.services["kubeflow/ml-pipeline/8888/apis/v2beta1/healthz"] = {"tag_name": "2.17.0", "multi_user": False}

    def put(self, document: dict[str, Any]) -> None:
        """Store an object as kubectl apply would."""
        if document["kind"] in PLURALS:
            group, plural = PLURALS[document["kind"]]
            document["metadata"]["namespace"] = "" if document["kind"] in NAMELESS else self.namespace
            self.api.put(group, plural, document)

    def put_secret(self, name: str, **data: str) -> None:
        """A secret with these keys and values."""
        meta = {"name": name, "namespace": self.namespace}
        self.api.put("", "secrets", {"metadata": meta, "type": "Opaque", "data": data})

    def put_retry_policy(self, defaults: str) -> None:
        """Argo's configuration, of Kubeflow's namespace."""
        meta = {"name": "workflow-controller-configmap", "namespace": "kubeflow"}
        self.api.put("", "configmaps", {"metadata": meta, "data": {"workflowDefaults": defaults}})

    def get(self, plural: str, name: str, group: str = "") -> dict[str, Any]:
        """A stored object; empty when there is none."""
        for (of, kind, _), found in self.api.objects.items():
            if (of, kind) == (group, plural) and name in found:
                return found[name]
        return {}

    def drop(self, plural: str, name: str, group: str = "") -> None:
        """Take an object away."""
        for (of, kind, _), found in self.api.objects.items():
            if (of, kind) == (group, plural):
                found.pop(name, None)


def kubeconfig(api: FakeApi, folder: Path, namespace: str) -> str:
    """Where the API is, as KUBECONFIG names it."""
    return str(api.kubeconfig(folder, namespace))
