"""The rules of Pod Security "restricted", as published, for any pod that the project makes or renders.

https://kubernetes.io/docs/concepts/security/pod-security-standards/ (the restricted profile holds all baseline rules)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Spec = Mapping[str, Any]

# restricted, "Volume Types"
_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
# baseline, "AppArmor", "SELinux", "Sysctls", "Seccomp", "Capabilities"
_APPARMOR = {"RuntimeDefault", "Localhost"}
_SELINUX = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
_SECCOMP = {"RuntimeDefault", "Localhost"}
_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
}
_APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"


def restricted_faults(pod: Spec, annotations: Mapping[str, str] | None = None) -> list[str]:
    """Every way in which a pod breaks the profile, a line each; empty when a restricted namespace takes it.

    Args:
        pod: the pod's ``spec``.
        annotations: the pod's annotations, which AppArmor profiles were once named in.
    """
    faults = [*_pod_faults(pod), *_apparmor_annotations(annotations or {})]
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for container in pod.get(kind) or []:
            faults += _container_faults(container, pod.get("securityContext") or {})
    return faults


def _pod_faults(pod: Spec) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield f"{name} must not be true"
    for volume in pod.get("volumes") or []:
        for kind in set(volume) - {"name"} - _VOLUMES:
            yield f"volume {volume['name']}: {kind} is not allowed"
    context = pod.get("securityContext") or {}
    yield from _shared_faults("pod", context)
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield "pod: hostProcess must not be true"
    for sysctl in context.get("sysctls") or []:
        if sysctl["name"] not in _SYSCTLS:
            yield f"sysctl {sysctl['name']} is not safe"
    if context.get("runAsUser") == 0:
        yield "pod: runAsUser must not be 0"


def _shared_faults(where: str, context: Spec) -> Iterator[str]:
    """Rules that hold for a pod's and for a container's security context alike."""
    linux = context.get("seLinuxOptions") or {}
    if linux.get("type", "") not in _SELINUX:
        yield f"{where}: SELinux type {linux['type']} is not allowed"
    if linux.get("user") or linux.get("role"):
        yield f"{where}: SELinux user and role must not be set"
    apparmor = context.get("appArmorProfile")
    if apparmor and apparmor.get("type") not in _APPARMOR:
        yield f"{where}: AppArmor profile {apparmor.get('type')} is not allowed"
    seccomp = context.get("seccompProfile")
    if seccomp is not None and seccomp.get("type") not in _SECCOMP:
        yield f"{where}: seccomp profile {seccomp.get('type')} is not allowed"


def _container_faults(container: Spec, pod_context: Spec) -> Iterator[str]:
    name = f"container {container['name']}"
    context = container.get("securityContext") or {}
    yield from _shared_faults(name, context)
    if context.get("privileged"):
        yield f"{name}: privileged must not be true"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield f"{name}: hostProcess must not be true"
    if context.get("procMount") not in (None, "Default"):
        yield f"{name}: procMount must be Default"
    for port in container.get("ports") or []:
        if port.get("hostPort"):
            yield f"{name}: hostPort {port['hostPort']} is not allowed"
    for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
        yield from _host_faults(f"{name}: {kind}", container.get(kind) or {})
    for hook in ("postStart", "preStop"):
        yield from _host_faults(f"{name}: {hook}", (container.get("lifecycle") or {}).get(hook) or {})
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: allowPrivilegeEscalation must be false"
    if context.get("runAsNonRoot", pod_context.get("runAsNonRoot")) is not True:
        yield f"{name}: runAsNonRoot must be true, here or for the pod"
    if context.get("runAsUser") == 0:
        yield f"{name}: runAsUser must not be 0"
    if context.get("seccompProfile", pod_context.get("seccompProfile")) is None:
        yield f"{name}: a seccomp profile must be set, here or for the pod"
    capabilities = context.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield f"{name}: capabilities must drop ALL"
    for added in set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        yield f"{name}: capability {added} must not be added"


def _host_faults(where: str, handler: Spec) -> Iterator[str]:
    # baseline, "Host Probes / Lifecycle Hooks"
    for kind in ("httpGet", "tcpSocket"):
        if (handler.get(kind) or {}).get("host"):
            yield f"{where}: host must not be set"


def _apparmor_annotations(annotations: Mapping[str, str]) -> Iterator[str]:
    for name, value in annotations.items():
        allowed = value in ("", "runtime/default") or value.startswith("localhost/")
        if name.startswith(_APPARMOR_ANNOTATION) and not allowed:
            yield f"annotation {name}: {value} is not allowed"
