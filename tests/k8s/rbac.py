"""Who may do what by rendered Roles and RoleBindings, as Kubernetes' authorizer decides.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.k8s.rendered import of_kind


class Asked(NamedTuple):
    """A call: API group, resource with its subresource, verb, namespace, name of the object (empty: all)."""

    group: str
    resource: str
    verb: str
    namespace: str
    name: str = ""


class Rbac:
    """Roles and bindings of one namespace."""

    def __init__(self, documents: list[dict[str, Any]]) -> None:
        self.roles = of_kind(documents, "Role")
        self.bindings = list(of_kind(documents, "RoleBinding").values())
        assert not of_kind(documents, "ClusterRole")

    def rules(self, account: str, home: str, namespace: str) -> list[dict[str, Any]]:
        """Every rule that an account has in a namespace."""
        subject = {"kind": "ServiceAccount", "name": account, "namespace": home}
        return [
            rule
            for binding in self.bindings
            if binding["metadata"].get("namespace") == namespace
            and subject in [{"namespace": namespace, **each} for each in binding["subjects"]]
            for rule in self.roles[binding["roleRef"]["name"]]["rules"]
        ]

    def may(self, account: str, home: str, asked: Asked) -> bool:
        """True if a rule allows the call. A rule with names of objects allows no call on all of them."""
        return any(
            {asked.group, "*"} & set(rule["apiGroups"])
            and {asked.resource, "*"} & set(rule["resources"])
            and {asked.verb, "*"} & set(rule["verbs"])
            and (not rule.get("resourceNames") or asked.name in rule["resourceNames"])
            for rule in self.rules(account, home, asked.namespace)
        )
