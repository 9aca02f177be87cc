"""Reads, access reviews and dry runs: what a cluster says about itself, without leaving anything behind in it."""

from __future__ import annotations

from sharpen.jobs.kubernetes.client import Cluster, Object
from sharpen.jobs.kubernetes.permissions import Permission


class ClusterProbe(Cluster):
    """The API of a cluster as one namespace sees it. Methods raise KubernetesError.

    Args:
        namespace: namespace of all calls; empty: that of the pod or of the kubeconfig's context.
    """

    # a person waits
    read_seconds = 15

    def __init__(self, namespace: str = "") -> None:
        super().__init__(namespace, patience=2.0, first_wait=1.0)

    @property
    def server(self) -> str:
        """Address of the API server."""
        return str(self._client.configuration.host)

    def read_object(self, resource: str, name: str, api: str = "") -> Object | None:
        """An object of the namespace; None if there is none.

        Args:
            resource: plural of its kind.
            name: its name.
            api: ``group/version``; empty: the core.
        """
        return self.read(f"{self.path(api)}/{resource}/{name}")

    def data(self, resource: str, name: str) -> dict[str, str] | None:
        """What a ConfigMap or secret holds; None if there is none."""
        found = self.read_object(resource, name)
        return None if found is None else found.get("data") or {}

    def served(self, group: str, version: str) -> set[str]:
        """Plurals of the kinds that a group serves in a version; none if it is not served."""
        return {resource["name"] for resource in (self.read(f"/apis/{group}/{version}") or {}).get("resources", [])}

    def versions(self, group: str) -> list[str]:
        """The versions of an API group that are served."""
        return [version["version"] for version in (self.read(f"/apis/{group}") or {}).get("versions", [])]

    def allowed(self, permission: Permission, name: str = "", *, account: str = "", home: str = "") -> bool:
        """True if a call may be made in the namespace.

        Args:
            permission: the call.
            name: of the object; empty: any.
            account: service account that makes the call; empty: whoever asks here.
            home: the account's namespace; empty: this one.
        """
        resource, _, sub = permission.resource.partition("/")
        call = {"namespace": self.namespace, "verb": permission.verb, "group": permission.group, "resource": resource}
        spec: Object = {"resourceAttributes": call | {k: v for k, v in (("subresource", sub), ("name", name)) if v}}
        if account:
            home = home or self.namespace
            spec["user"] = f"system:serviceaccount:{home}:{account}"
            spec["groups"] = ["system:serviceaccounts", f"system:serviceaccounts:{home}", "system:authenticated"]
        review = "subjectaccessreviews" if account else "selfsubjectaccessreviews"
        answer = self.request("POST", f"/apis/authorization.k8s.io/v1/{review}", {"spec": spec})
        return bool(answer["status"].get("allowed"))

    def dry_run(self, resource: str, manifest: Object, api: str = "") -> None:
        """Let the API check an object without storing it: schema, admission, Pod Security, quotas, limits.

        Args:
            resource: plural of its kind.
            manifest: the object.
            api: ``group/version``; empty: the core.

        Raises:
            KubernetesError: the refusal, as a real creation would get it.
        """
        self.request("POST", f"{self.path(api)}/{resource}", manifest, query={"dryRun": "All"})
