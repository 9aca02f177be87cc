"""What the accounts of a run may do in its namespace, and no more: one source for the roles in `k8s/`.

Tests compare the launching step's list with the calls that the code really makes, and both with the roles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sharpen.jobs.manifests.kinds import KINDS


class Permission(NamedTuple):
    """A rule of a Role: API group ("" is the core), resource with its subresource, verb."""

    group: str
    resource: str
    verb: str


LAUNCHER: frozenset[Permission] = frozenset(
    [
        *(
            Permission(kind.group, kind.plural, verb)
            for kind in KINDS
            for verb in ("create", "delete", "get", "list", "watch")
        ),
        Permission("", "pods", "get"),
        Permission("", "pods", "list"),
        Permission("", "pods/log", "get"),
        Permission("", "events", "list"),
    ]
)

# What Kubeflow Pipelines does in every pod of a run with the run's account, and on which objects; empty: on any.
STEP: Mapping[Permission, str] = {
    Permission("argoproj.io", "workflowtaskresults", "create"): "",
    Permission("argoproj.io", "workflowtaskresults", "patch"): "",
    Permission("", "configmaps", "get"): "kfp-launcher",
    Permission("", "secrets", "get"): "mlpipeline-minio-artifact",
}
