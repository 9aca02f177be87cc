"""Reads, access reviews and dry runs: what a cluster says about itself, without leaving anything behind in it."""

from __future__ import annotations

from typing import Any

from sharpen.jobs.api_errors import ApiError
from sharpen.jobs.cluster_client import CONNECT_SECONDS, Cluster, Object
from sharpen.jobs.permissions import Permission

# A person waits.
READ_SECONDS = 15


class ClusterProbe(Cluster):
    """The API of a cluster as one namespace sees it. Methods raise ApiError.

    Args:
        namespace: namespace of all calls; empty: that of the pod or of the kubeconfig's context.
    """

    def __init__(self, namespace: str = "") -> None:
        super().__init__(namespace, patience=2.0, first_wait=1.0)

    @property
    def server(self) -> str:
        """Address of the API server."""
        return str(self._client.configuration.host)

    def request(self, method: str, path: str, body: Object | None = None, **query: str) -> Any:
        """The API's answer to a request, as it writes it."""
        return self._call(
            lambda _: self._client.call_api(
                path,
                method,
                query_params=list(query.items()),
                header_params={"Accept": "application/json", "Content-Type": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _preload_content=False,
                _request_timeout=(CONNECT_SECONDS, READ_SECONDS),
            )
        )

    def read(self, path: str) -> Any:
        """The API's answer to GET; None if nothing is there."""
        try:
            return self.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def read_object(self, resource: str, name: str, api: str = "") -> Object | None:
        """An object of the namespace; None if there is none.

        Args:
            resource: plural of its kind.
            name: its name.
            api: ``group/version``; empty: the core.
        """
        return self.read(f"{self._namespaced(api)}/{resource}/{name}")

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
            ApiError: the refusal, as a real creation would get it.
        """
        self.request("POST", f"{self._namespaced(api)}/{resource}", manifest, dryRun="All")

    def _namespaced(self, api: str) -> str:
        return f"{f'/apis/{api}' if api else '/api/v1'}/namespaces/{self.namespace}"
