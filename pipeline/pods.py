"""What every step's pod gets on a cluster, besides its image: store, labels, rights. Names are those of `k8s/base`.

On one machine none of it means anything, and kfp.local leaves it out.
"""

from __future__ import annotations

from kfp import kubernetes
from kfp.dsl import PipelineTask, pipeline_context

from components.core.place import RUN_ID_VARIABLE

# The secret that Kubeflow Pipelines makes for its own store; optional, since a cloud's identity needs none.
STORE_SECRET = "mlpipeline-minio-artifact"  # noqa: S105 - its name
STORE_KEYS = {"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"}
STORE_CONFIG = "sharpen-store"
STORE_PLACES = ("AWS_ENDPOINT_URL_S3", "AWS_REGION")
# What network policies choose pods by.
LABELS = {"app.kubernetes.io/name": "sharpen", "app.kubernetes.io/component": "step"}


def prepare_all() -> None:
    """Prepare every task of the pipeline that is being made."""
    made: pipeline_context.Pipeline = pipeline_context.Pipeline.get_default_pipeline()  # type: ignore[assignment]
    for task in made.tasks.values():
        prepare(task)


def prepare(task: PipelineTask) -> None:
    """Let a step's pod use the store, know its run, and be what a restricted namespace admits."""
    kubernetes.use_secret_as_env(task, STORE_SECRET, STORE_KEYS, optional=True)
    kubernetes.use_config_map_as_env(task, STORE_CONFIG, {name: name for name in STORE_PLACES}, optional=True)
    kubernetes.use_field_path_as_env(task, RUN_ID_VARIABLE, "metadata.labels['pipeline/runid']")
    for name, value in LABELS.items():
        kubernetes.add_pod_label(task, name, value)
    kubernetes.set_security_context(task, run_as_non_root=True)
