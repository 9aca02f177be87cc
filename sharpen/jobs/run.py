"""`run_job`: a step's program on several processes, here or on a cluster, and the same way everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sharpen.errors import InputError
from sharpen.jobs.job import Backend, Job
from sharpen.jobs.launch_context import in_pipeline_pod
from sharpen.jobs.local_backend import LocalBackend
from sharpen.jobs.settings import JobSettings
from sharpen.store import storage


def run_job(
    module: str,
    arguments: Mapping[str, str],
    settings: JobSettings,
    *,
    task_config: Mapping[str, Any] | None = None,
    manifest: str = "",
) -> str:
    """Run ``module --name value ...`` on as many processes and machines as asked, and wait for it.

    SIGTERM and Ctrl-C end the job.

    Args:
        module: a step, for example ``components.finetuning``.
        arguments: option name -> value, as the step's command line takes them; `output` is the address of its output.
        settings: where and on how many processes it runs.
        task_config: what the pipeline's author set on the task: the fields of ``kfp.dsl.TaskConfig``.
        manifest: address of a file for what is started, written before it is; empty: none.

    Returns:
        Address of a folder with the output of its pods, which outlives them; empty: there is none.

    Raises:
        InputError: a process said that the user's input is wrong, or the settings do not go together.
        StepFailed: the job failed for another reason.
    """
    import yaml

    backend = backend_for(Job(module, arguments, settings, task_config or {}))
    built = backend.build()
    if manifest:
        storage.write_bytes(manifest, yaml.safe_dump(built, sort_keys=False, allow_unicode=True, width=120).encode())
    with backend.cancelled_on_signals():
        backend.submit(built)
        ending = backend.watch()
    backend.result(ending)
    return backend.logs


def check_job(settings: JobSettings) -> None:
    """Refuse what no job here can do, before the work that comes before the job.

    Raises:
        InputError: several machines without a cluster, or what the chosen kind of job cannot express.
    """
    chosen = _backend_name(settings)
    faults: list[str] = []
    if chosen == "local" and settings.nodes > 1:
        faults = [f"job.nodes: {settings.nodes} machines need a cluster; set job.backend or run in a pipeline"]
    if chosen == "trainjob":
        from sharpen.jobs.manifests.trainjob import unsupported_by_trainjob

        faults = unsupported_by_trainjob(settings)
    if faults:
        raise InputError(faults)


def backend_for(job: Job) -> Backend:
    """What runs this job. auto: a PyTorchJob for a step of a pipeline on a cluster, this machine elsewhere."""
    check_job(job.settings)
    chosen = _backend_name(job.settings)
    if chosen != "local":
        from sharpen.jobs.cluster_backend import ClusterBackend

        return ClusterBackend(job, chosen)
    # the environment is applied to the launching pod as well
    unused = sorted(name for name, value in job.task_config.items() if value and name != "env")
    if unused and in_pipeline_pod():
        raise InputError(
            f"job.backend: local trains in the launching pod, which {', '.join(unused)} of the task are not applied "
            "to; use pytorchjob or trainjob"
        )
    return LocalBackend(job)


def _backend_name(settings: JobSettings) -> str:
    if settings.backend != "auto":
        return settings.backend
    return "pytorchjob" if in_pipeline_pod() else "local"
