"""The run that this process belongs to, as environment variables say it.

The run is not an input of a step, because then no two runs could share a cached step.
"""

from __future__ import annotations

import os

RUN_VARIABLE = "SHARPEN_RUN"
# The run's id in a pod: the pipeline sets it from the pod's label, a job's launcher in the job's pods.
RUN_ID_VARIABLE = "KFP_RUN_ID"
LOCAL_RUN = "local"
# Root of the registry where a run names none: the cluster's own, from a ConfigMap.
STORE_VARIABLE = "SHARPEN_STORE"
# Set where the registry is the embedded store, to which commands need no address and no other one leads.
EMBEDDED_VARIABLE = "SHARPEN_EMBEDDED_STORE"
# The image of a job's pods, for a step that only launches it.
JOB_IMAGE_VARIABLE = "SHARPEN_JOB_IMAGE"


def run_id() -> str:
    """The name of this run: last part of `SHARPEN_RUN`, or `KFP_RUN_ID`, or ``local``."""
    run = os.environ.get(RUN_VARIABLE, "").rstrip("/")
    return run.rsplit("/", 1)[-1] if run else os.environ.get(RUN_ID_VARIABLE) or LOCAL_RUN
