"""The helper that judges pods judges: each rule alone turns a good pod into a bad one."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.pod_security import restricted_faults

GOOD: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "one",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
    "volumes": [{"name": "a", "emptyDir": {}}],
}

BREAKS: dict[str, tuple[str, Any]] = {
    "host namespace": ("hostPID", True),
    "host network": ("hostNetwork", True),
    "host path": ("volumes.0.hostPath", {"path": "/"}),
    "nfs": ("volumes.0.nfs", {"server": "a"}),
    "root may run": ("securityContext.runAsNonRoot", False),
    "no word on root": ("securityContext.runAsNonRoot", None),
    "root in the container": ("containers.0.securityContext.runAsNonRoot", False),
    "root's number": ("containers.0.securityContext.runAsUser", 0),
    "root's number for the pod": ("securityContext.runAsUser", 0),
    "no seccomp": ("securityContext.seccompProfile", None),
    "seccomp off": ("containers.0.securityContext.seccompProfile", {"type": "Unconfined"}),
    "escalation": ("containers.0.securityContext.allowPrivilegeEscalation", None),
    "capabilities kept": ("containers.0.securityContext.capabilities", {}),
    "capability added": ("containers.0.securityContext.capabilities.add", ["IPC_LOCK"]),
    "privileged": ("containers.0.securityContext.privileged", True),
    "proc unmasked": ("containers.0.securityContext.procMount", "Unmasked"),
    "host port": ("containers.0.ports", [{"containerPort": 1, "hostPort": 1}]),
    "probe of the host": ("containers.0.livenessProbe", {"httpGet": {"host": "10.0.0.1"}}),
    "hook to the host": ("containers.0.lifecycle", {"preStop": {"httpGet": {"host": "10.0.0.1"}}}),
    "selinux type": ("securityContext.seLinuxOptions", {"type": "spc_t"}),
    "selinux user": ("containers.0.securityContext.seLinuxOptions", {"user": "root"}),
    "apparmor off": ("securityContext.appArmorProfile", {"type": "Unconfined"}),
    "sysctl": ("securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}]),
    "windows host": ("securityContext.windowsOptions", {"hostProcess": True}),
    "init container": ("initContainers", [{"name": "init-pytorch", "image": "alpine:3.10"}]),
    "ephemeral container": ("ephemeralContainers", [{"name": "debug"}]),
}


def changed(path: str, value: Any) -> dict[str, Any]:
    pod: Any = copy.deepcopy(GOOD)
    at = pod
    *way, last = path.split(".")
    for step in way:
        at = at[int(step)] if step.isdigit() else at.setdefault(step, {})
    if value is None:
        at.pop(last)
    else:
        at[last] = value
    return pod


def test_a_good_pod_passes() -> None:
    assert restricted_faults(GOOD) == []
    assert restricted_faults(changed("containers.0.securityContext.capabilities.add", ["NET_BIND_SERVICE"])) == []


@pytest.mark.parametrize("case", BREAKS)
def test_each_rule_is_held(case: str) -> None:
    assert restricted_faults(changed(*BREAKS[case]))


def test_apparmor_annotations() -> None:
    name = "container.apparmor.security.beta.kubernetes.io/one"
    assert restricted_faults(GOOD, {name: "unconfined"})
    assert restricted_faults(GOOD, {name: "runtime/default"}) == []
