"""`--pull`: can the images be pulled, do they start, and do they reach the store from a pod of the namespace?

The pods are what a run's pods are: account, labels that network policies choose, Pod Security "restricted",
secret and place of the store. They ask for no GPU, and are deleted whatever happens.
"""

from __future__ import annotations

import secrets as random_names
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.doctor.finding import Finding, Visit
from pipeline.doctor.store import address
from pipeline.pods import LABELS, STORE_CONFIG, STORE_KEYS, STORE_SECRET
from sharpen.jobs import pod as pods
from sharpen.jobs.api_errors import ApiError
from sharpen.jobs.cluster_probe import Survey
from sharpen.jobs.diagnosis import Trouble, ends, pod_troubles
from sharpen.jobs.permissions import Permission
from sharpen.jobs.plan import APP_LABEL

PULL_SECONDS = 900.0
LOOK_SECONDS = 2.0
_NEEDED = tuple(Permission("", resource, verb) for resource, verb in (("pods", "create"), ("pods", "delete")))


@dataclass(frozen=True)
class Trial:
    """A pod of a run: what it is called in the table, where it goes, and what is its own in the manifest."""

    check: str
    survey: Survey
    image: str
    labels: dict[str, str]
    spec: dict[str, Any]


def pull(visit: Visit) -> Iterator[Finding]:
    """A pod as of a step, and a pod as of the training job; only where it was asked for."""
    if not visit.pull:
        return
    for trial in _trials(visit):
        missing = [p for p in _NEEDED if not trial.survey.i_may(p)]
        if missing:
            said = f"you may not {' and '.join(p.verb for p in missing)} pods in namespace {trial.survey.namespace}"
            yield Finding(trial.check, "not checked", said)
            continue
        print(f"{trial.check}: a pod with {trial.image} is started, and deleted again", file=sys.stderr, flush=True)
        try:
            yield from _run(trial, address(visit))
        except ApiError as error:
            said = f"the pod cannot be made: {' '.join(error.message.split()) or error.reason}"
            yield Finding(trial.check, "fail", said, "see what the API server names")


def _trials(visit: Visit) -> Iterator[Trial]:
    of_step = visit.launcher_image or visit.image
    if of_step:
        yield Trial("pod of a step", visit.runs, of_step, dict(LABELS), {"serviceAccountName": visit.account})
    if not visit.job_image or visit.backend == "local":
        return
    job = visit.settings.job
    labels = {APP_LABEL: "sharpen", "app.kubernetes.io/component": "training"}
    spec = {
        "serviceAccountName": job.service_account,
        "imagePullSecrets": [{"name": name} for name in job.image_pull_secrets],
        "nodeSelector": job.node_selector,
        "tolerations": [toleration.model_dump(exclude_none=True) for toleration in job.tolerations],
    }
    chosen = {name: value for name, value in spec.items() if value}
    yield Trial("training pod", visit.jobs, visit.job_image, labels, chosen)


def manifest(trial: Trial, root: str) -> dict[str, Any]:
    """The pod: its program tries the store from where a run would."""
    program = ["python", "-m", "sharpen.store.check", root] if root else ["python", "-c", "import components"]
    keys = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": STORE_SECRET, "key": key, "optional": True}}}
        for key, variable in STORE_KEYS.items()
    ]
    container = {
        "name": "check",
        "image": trial.image,
        "command": program,
        "envFrom": [{"configMapRef": {"name": STORE_CONFIG, "optional": True}}],
        "env": [*keys, {"name": "HOME", "value": "/tmp"}],  # noqa: S108 - a volume of the pod's own
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": pods.container_security(),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    spec = {
        **trial.spec,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "activeDeadlineSeconds": int(PULL_SECONDS) + 60,
        "securityContext": pods.pod_security(),
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "100Mi"}}],
    }
    labels = {**trial.labels, "sidecar.istio.io/inject": "false"}
    name = f"sharpen-doctor-{random_names.token_hex(4)}"
    meta = {"name": name, "namespace": trial.survey.namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _run(trial: Trial, root: str) -> Iterator[Finding]:
    made = manifest(trial, root)
    with trial.survey.running(made) as now:
        pod, trouble = _until_the_end(now)
        lines = trial.survey.log_tail(made["metadata"]["name"], "check", 50) if pod else []
    if trouble:
        yield Finding(trial.check, "fail", trouble.line, "docker manifest inspect " + trial.image)
        return
    codes = [end.get("exitCode") for status in pod["status"].get("containerStatuses") or [] for end in ends(status)]
    told = [line.partition(": ")[::2] for line in lines if line.startswith(("ok: ", "fault: "))]
    if 0 not in codes and not told:
        last = lines[-1] if lines else "it wrote nothing"
        yield Finding(
            trial.check, "fail", f"{trial.image} does not run: {last}", "is it an image of Sharpen's, of now?"
        )
        return
    yield Finding(trial.check, "pass", f"{trial.image} was pulled and runs")
    for word, rest in told:
        operation, _, fault = rest.partition(": ")
        check = f"store from a {trial.check.removeprefix('pod of a ')}, {operation}"
        yield Finding(
            check, "fail" if word == "fault" else "pass", fault or root, "see the README: store" if fault else ""
        )


def _until_the_end(now: Any) -> tuple[Any, Trouble | None]:
    deadline = time.monotonic() + PULL_SECONDS
    while True:
        pod = now()
        if pod is None:
            return None, Trouble("the pod was deleted by somebody else")
        if pod["status"].get("phase") in ("Succeeded", "Failed"):
            return pod, None
        troubles = list(pod_troubles([pod]))
        final = next((trouble for trouble in troubles if trouble.final), None)
        if final:
            return pod, final
        if time.monotonic() > deadline:
            waited = f"the pod did not end within {PULL_SECONDS:.0f} s"
            return pod, Trouble(f"{waited}: {troubles[0].line}" if troubles else waited)
        time.sleep(LOOK_SECONDS)
