"""What the launching step may do in its namespace, and no more: one source for the roles in `k8s/`.

A test compares this list with the calls that the code really makes.
"""

from __future__ import annotations

from typing import NamedTuple

from components.core.jobs.kinds import KINDS


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
