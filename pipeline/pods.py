"""What every step's pod gets on a cluster besides its image: store, labels, rights, and what `resources` says it needs.

Names are those of `k8s/base`. On one machine nothing of it is set but what may be taken from an earlier run: a step
that fails there is told at once, and tried again by whoever is told.
"""

from __future__ import annotations

from collections.abc import Iterable

from kfp import kubernetes
from kfp.dsl import PipelineTask, pipeline_context

from pipeline.parameters import Settings
from pipeline.resources import ResourceRequest, resource_requests
from pipeline.settings import PodSettings
from sharpen import http_api
from sharpen.generation.settings import GenerationSettings
from sharpen.jobs.settings import JobSettings
from sharpen.notifications import WEBHOOK_VARIABLE
from sharpen.run_context import RUN_ID_VARIABLE, STORE_VARIABLE
from sharpen.store.checksums import ETAGS_VARIABLE
from sharpen.store.retry import TIMEOUT_VARIABLE
from sharpen.teachers.settings import TeacherSettings

# The secret that Kubeflow Pipelines makes for its own store; optional, since a cloud's identity needs none.
STORE_SECRET = "mlpipeline-minio-artifact"  # noqa: S105 - its name
STORE_KEYS = {"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"}
# The address of a webhook; optional. Only the step that sends it sees it.
WEBHOOK_SECRET, WEBHOOK_KEYS = "sharpen-webhook", {"url": WEBHOOK_VARIABLE}
NOTIFYING = ("finish", "decide-approval")
# The key of a language model's endpoint, by the component that asks it; optional. Only that step sees it.
ENDPOINT_KEYS = {
    "query-generation": ("sharpen-generation", {"api_key": GenerationSettings.key_variable}),
    "teachers": ("sharpen-teachers", {"api_key": TeacherSettings.key_variable}),
}
STORE_CONFIG = "sharpen-store"
STORE_PLACES = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    STORE_VARIABLE,
    TIMEOUT_VARIABLE,
    http_api.TIMEOUT_VARIABLE,
    ETAGS_VARIABLE,
)
# What network policies choose pods by.
LABELS = {"app.kubernetes.io/name": "sharpen", "app.kubernetes.io/component": "step"}


def cache_all() -> None:
    """Say of every task of the pipeline that is being made whether an earlier result may stand for it."""
    needs = resource_requests(PodSettings(), JobSettings())  # type: ignore[call-arg]
    for task in _tasks():
        task.set_caching_options(needs[task.component_spec.name].cached)


def configure_pods(settings: Settings) -> None:
    """Prepare every task of the pipeline that is being made for a cluster."""
    needs = resource_requests(settings.pods, settings.job)
    for task in _tasks():
        configure_pod(task)
        if task.component_spec.name in NOTIFYING:
            kubernetes.use_secret_as_env(task, WEBHOOK_SECRET, WEBHOOK_KEYS, optional=True)
        if task.component_spec.name in ENDPOINT_KEYS:
            secret, keys = ENDPOINT_KEYS[task.component_spec.name]
            kubernetes.use_secret_as_env(task, secret, keys, optional=True)
        apply_resources(task, needs[task.component_spec.name], settings.job.gpu_resource)


def configure_pod(task: PipelineTask) -> None:
    """Let a step's pod use the store, know its run, and be what a restricted namespace admits."""
    kubernetes.use_secret_as_env(task, STORE_SECRET, STORE_KEYS, optional=True)
    kubernetes.use_config_map_as_env(task, STORE_CONFIG, {name: name for name in STORE_PLACES}, optional=True)
    kubernetes.use_field_path_as_env(task, RUN_ID_VARIABLE, "metadata.labels['pipeline/runid']")
    for name, value in LABELS.items():
        kubernetes.add_pod_label(task, name, value)
    kubernetes.set_security_context(task, run_as_non_root=True)


def apply_resources(task: PipelineTask, needs: ResourceRequest, gpu_resource: str) -> None:
    """Give a step's pod what it needs.

    Args:
        task: the step.
        needs: what it needs.
        gpu_resource: name of the resource that GPUs are.
    """
    if needs.retries:
        task.set_retry(needs.retries, backoff_duration="1s", backoff_factor=2, backoff_max_duration="60s")
    if needs.seconds:
        kubernetes.set_timeout(task, needs.seconds)
    if needs.cpu:
        task.set_cpu_request(needs.cpu)
    if needs.memory:
        task.set_memory_request(needs.memory).set_memory_limit(needs.memory)
    if needs.threads:
        task.set_env_variable("OMP_NUM_THREADS", str(needs.threads))
    if needs.gpus:
        task.set_accelerator_type(gpu_resource).set_accelerator_limit(needs.gpus)
        # nodes with GPUs keep others away by a taint of the resource's name, as a rule
        kubernetes.add_toleration(task, key=gpu_resource, operator="Exists", effect="NoSchedule")
    if needs.shm:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=needs.shm)  # noqa: S108


def _tasks() -> Iterable[PipelineTask]:
    made: pipeline_context.Pipeline = pipeline_context.Pipeline.get_default_pipeline()  # type: ignore[assignment]
    return made.tasks.values()
