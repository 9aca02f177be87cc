"""Where a step runs on a cluster: its pod's namespace, run, workflow and image."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sharpen import run_context
from sharpen.jobs.kubernetes.client import Cluster
from sharpen.jobs.kubernetes.connection import own_namespace
from sharpen.jobs.kubernetes.errors import KubernetesError
from sharpen.store.s3_client import named_endpoint
from sharpen.uri import is_remote, parse_remote

logger = logging.getLogger(__name__)

# https://github.com/kubeflow/pipelines/tree/master/manifests/kustomize/third-party/seaweedfs
_PROFILE_LABEL = "app.kubernetes.io/part-of=kubeflow-profile"
# What Kubeflow Pipelines gives every pod of a run.
POD_NAME_VARIABLE = "KFP_POD_NAME"
RUN_LABEL = "pipeline/runid"


@dataclass(frozen=True)
class LaunchContext:
    """What a job takes over from the pod that launches it.

    Attributes:
        namespace: where the job goes.
        run: the run's id.
        image: the pod's own image; empty when it is not known.
        owner: owner reference to the run's Workflow, so that the job goes when the run is deleted; none for a job in
            another namespace, where the cluster would look for the Workflow in vain and delete the job.
    """

    namespace: str
    run: str
    image: str = ""
    owner: Mapping[str, Any] = field(default_factory=dict)


def in_pipeline_pod() -> bool:
    """True in a pod of a pipeline's run."""
    return bool(os.environ.get(POD_NAME_VARIABLE))


def discover_context(cluster: Cluster) -> LaunchContext:
    """Ask the API about the own pod; where it may not be read, only environment variables are known.

    Args:
        cluster: where the job goes; the own pod may be in another namespace of it.

    Raises:
        KubernetesError: the API does not answer, or refuses with anything else than 403.
    """
    home = own_namespace()
    name = os.environ.get(POD_NAME_VARIABLE)
    pod: Mapping[str, Any] | None = None
    if name:
        try:
            pod = cluster.in_namespace(home).pod(name)
        except KubernetesError as error:
            if error.status != 403:
                raise
            logger.warning(f"note: the own pod cannot be read ({error.message}); the job gets no owner")
    run = run_context.run_id()
    if pod is None:
        return LaunchContext(cluster.namespace, run)
    meta = pod["metadata"]
    if run == run_context.LOCAL_RUN:
        run = (meta.get("labels") or {}).get(RUN_LABEL, run)
    owners = [owner for owner in meta.get("ownerReferences") or [] if owner["kind"] == "Workflow"]
    if owners and cluster.namespace != home:
        logger.warning(f"note: the job goes to namespace {cluster.namespace}, so deleting its run does not delete it")
        owners = []
    owner = {name: owners[0][name] for name in ("apiVersion", "kind", "name", "uid")} if owners else {}
    containers = pod["spec"]["containers"]
    # Argo calls the step's container main; beside it runs its own "wait".
    image = next((c["image"] for c in containers if c["name"] == "main"), containers[0]["image"])
    return LaunchContext(cluster.namespace, run, image, owner)


def store_hint(around: LaunchContext, addresses: Iterable[str]) -> str:
    """Why pods in a namespace of their own may not reach a store in the cluster; empty where nothing speaks for it.

    Args:
        around: where the job goes.
        addresses: what it reads and writes, and other arguments.
    """
    home, there = own_namespace(), around.namespace
    if there == home:
        return ""
    for address in addresses:
        host = urlsplit(named_endpoint(parse_remote(address)) or "").hostname or "" if is_remote(address) else ""
        service, namespace, kind, *_ = [*host.split("."), "", "", ""]
        if namespace != there and (kind == "svc" or (not kind and namespace in (home, "kubeflow"))):
            return (
                f"the job's pods are in namespace {there}, and the store {service} is in {namespace}, whose network "
                f"policy lets in only pods of its own namespace and of those with the label {_PROFILE_LABEL}; if they "
                f"cannot reach it: kubectl label namespace {there} {_PROFILE_LABEL}"
            )
    return ""
