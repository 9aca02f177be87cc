"""What a cluster says of itself: reads, questions about rights, and trials that leave nothing behind.

A job needs none of this; `sharpen doctor` does. Answers are plain values, as the API writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sharpen.jobs.api_errors import ApiError
from sharpen.jobs.cluster_client import CONNECT_SECONDS, Cluster, Object
from sharpen.jobs.kinds import Kind
from sharpen.jobs.permissions import Permission

# A person waits.
READ_SECONDS = 15
_PLAIN: dict[str, Any] = {"_preload_content": False, "_request_timeout": (CONNECT_SECONDS, READ_SECONDS)}


class Survey(Cluster):
    """The API of a cluster as one namespace sees it. Methods raise ApiError; what is not there is None.

    Args:
        namespace: namespace of all calls; empty: that of the pod or of the kubeconfig's context.
    """

    def __init__(self, namespace: str = "") -> None:
        super().__init__(namespace, patience=2.0, first_wait=1.0)

    # the cluster

    @property
    def server(self) -> str:
        """Address of the API server."""
        return str(self._client.configuration.host)

    def version(self) -> str:
        """Version of the API server."""
        return str(self._call(lambda api: api.VersionApi(self._client).get_code(**_PLAIN))["gitVersion"])

    def groups(self) -> dict[str, list[str]]:
        """API group -> its versions that are served. Every account may ask for this."""
        found = self._call(lambda api: api.ApisApi(self._client).get_api_versions(**_PLAIN))["groups"]
        return {group["name"]: [version["version"] for version in group["versions"]] for group in found}

    def resources(self, group: str, version: str) -> set[str]:
        """Names of the kinds of objects that a group serves in a version; none if it is not served."""
        found = self._found(lambda api: api.CustomObjectsApi(self._client).get_api_resources(group, version, **_PLAIN))
        return {resource["name"] for resource in found["resources"]} if found else set()

    def cluster_object(self, group: str, version: str, plural: str, name: str) -> Object | None:
        """A custom object that belongs to no namespace."""
        return self._found(
            lambda api: api.CustomObjectsApi(self._client).get_cluster_custom_object(
                group, version, plural, name, **_PLAIN
            )
        )

    def nodes(self) -> list[Object]:
        """The nodes."""
        return self._call(lambda api: api.CoreV1Api(self._client).list_node(**_PLAIN))["items"]

    def priority_class(self, name: str) -> Object | None:
        """A PriorityClass."""
        return self._found(lambda api: api.SchedulingV1Api(self._client).read_priority_class(name, **_PLAIN))

    # the namespace

    def namespace_object(self) -> Object | None:
        """The namespace itself."""
        return self._found(lambda api: api.CoreV1Api(self._client).read_namespace(self.namespace, **_PLAIN))

    def custom_object(self, group: str, version: str, plural: str, name: str) -> Object | None:
        """A custom object of the namespace."""
        return self._found(
            lambda api: api.CustomObjectsApi(self._client).get_namespaced_custom_object(
                group, version, self.namespace, plural, name, **_PLAIN
            )
        )

    def config_map(self, name: str) -> dict[str, str] | None:
        """What a ConfigMap holds."""
        found = self._found(
            lambda api: api.CoreV1Api(self._client).read_namespaced_config_map(name, self.namespace, **_PLAIN)
        )
        return None if found is None else found.get("data") or {}

    def secret_keys(self, name: str) -> list[str] | None:
        """The keys of a secret. Its values are dropped here."""
        found = self._found(
            lambda api: api.CoreV1Api(self._client).read_namespaced_secret(name, self.namespace, **_PLAIN)
        )
        return None if found is None else sorted(found.get("data") or {})

    def service_account(self, name: str) -> Object | None:
        """A service account."""
        return self._found(
            lambda api: api.CoreV1Api(self._client).read_namespaced_service_account(name, self.namespace, **_PLAIN)
        )

    def quotas(self) -> list[Object]:
        """The namespace's ResourceQuotas."""
        return self._call(
            lambda api: api.CoreV1Api(self._client).list_namespaced_resource_quota(self.namespace, **_PLAIN)
        )["items"]

    def limit_ranges(self) -> list[Object]:
        """The namespace's LimitRanges."""
        return self._call(
            lambda api: api.CoreV1Api(self._client).list_namespaced_limit_range(self.namespace, **_PLAIN)
        )["items"]

    def network_policies(self) -> list[Object]:
        """The namespace's NetworkPolicies."""
        return self._call(
            lambda api: api.NetworkingV1Api(self._client).list_namespaced_network_policy(self.namespace, **_PLAIN)
        )["items"]

    def service(self, namespace: str, name: str) -> Object | None:
        """A service of any namespace."""
        return self._found(lambda api: api.CoreV1Api(self._client).read_namespaced_service(name, namespace, **_PLAIN))

    def through_service(self, namespace: str, service: str, port: int, path: str) -> Any:
        """What a service of the cluster answers to GET with JSON, through the API server; None: no such service."""

        def ask(api: Any) -> Any:
            # else the client writes the path's slashes as %2F, which not every proxy on the way understands
            self._client.configuration.safe_chars_for_path_param = "/:"
            return api.CoreV1Api(self._client).connect_get_namespaced_service_proxy_with_path(
                f"{service}:{port}", namespace, path, **_PLAIN
            )

        return self._found(ask)

    # rights

    def i_may(self, permission: Permission, name: str = "") -> bool:
        """True if whoever asks here may make this call in the namespace, on the object of this name or on all."""
        body = {"spec": {"resourceAttributes": self._attributes(permission, name)}}
        answer = self._call(
            lambda api: api.AuthorizationV1Api(self._client).create_self_subject_access_review(body, **_PLAIN)
        )
        return bool(answer["status"].get("allowed"))

    def account_may(self, account: str, permission: Permission, name: str = "", *, home: str = "") -> bool:
        """True if a service account may make this call in the namespace.

        Args:
            account: the account's name.
            permission: the call.
            name: of the object; empty: all.
            home: the account's namespace; empty: this one.
        """
        home = home or self.namespace
        spec = {
            "user": f"system:serviceaccount:{home}:{account}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{home}", "system:authenticated"],
            "resourceAttributes": self._attributes(permission, name),
        }
        answer = self._call(
            lambda api: api.AuthorizationV1Api(self._client).create_subject_access_review({"spec": spec}, **_PLAIN)
        )
        return bool(answer["status"].get("allowed"))

    # trials

    def try_job(self, kind: Kind, manifest: Object) -> None:
        """Let the API check a job without keeping it: schema, admission, quota. Raises ApiError with what it says."""
        self._call(
            lambda api: api.CustomObjectsApi(self._client).create_namespaced_custom_object(
                kind.group, kind.version, self.namespace, kind.plural, manifest, dry_run="All", **_PLAIN
            )
        )

    def try_pod(self, manifest: Object) -> None:
        """Let the API check a pod without keeping it: Pod Security, limits, quota, admission."""
        self._call(
            lambda api: api.CoreV1Api(self._client).create_namespaced_pod(
                self.namespace, manifest, dry_run="All", **_PLAIN
            )
        )

    @contextmanager
    def running(self, manifest: Object) -> Iterator[Callable[[], Object | None]]:
        """A pod for the time of the block; what is given shows it as it is now. It is deleted, whatever happens."""
        name = manifest["metadata"]["name"]
        try:
            self._call(
                lambda api: api.CoreV1Api(self._client).create_namespaced_pod(self.namespace, manifest, **_PLAIN)
            )
            yield lambda: self.pod(name)
        finally:
            self._found(
                lambda api: api.CoreV1Api(self._client).delete_namespaced_pod(
                    name, self.namespace, grace_period_seconds=0, **_PLAIN
                )
            )

    def _attributes(self, permission: Permission, name: str) -> dict[str, str]:
        resource, _, sub = permission.resource.partition("/")
        found = {"namespace": self.namespace, "verb": permission.verb, "group": permission.group, "resource": resource}
        return found | ({"subresource": sub} if sub else {}) | ({"name": name} if name else {})

    def _found(self, call: Callable[[Any], Any]) -> Any:
        try:
            return self._call(call)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
