"""Settings that a compiled pipeline holds: what is built in, and whether a run may ask for something else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pipeline.images import check_job_image
from pipeline.parameters import Settings, assign, setting_field
from sharpen.errors import InputError
from sharpen.jobs.settings import OF_ONE_POD
from sharpen.uri import is_remote


def compiled_pod_settings(settings: Settings) -> dict[str, object]:
    """Settings that compiling for a cluster builds into its pods: full name -> value, as in JSON."""
    built = {f"pods.{name}": value for name, value in settings.pods.model_dump(mode="json").items()}
    built["job.backend"] = settings.job.backend
    if settings.pods.gpus:
        built["job.gpu_resource"] = settings.job.gpu_resource
    if settings.job.backend == "local":
        job = settings.job.model_dump(mode="json", include=set(OF_ONE_POD))
        built |= {f"job.{name}": value for name, value in job.items()}
    return built


def compile_time_settings(settings: Settings, form: Settings) -> Settings:
    """What of the settings shapes the compiled pipeline; everything else is an input of its runs.

    Args:
        settings: of the runs.
        form: settings whose other values become the defaults of the run form.
    """
    values = form.model_dump(mode="json", exclude_unset=True)
    for full, value in {**settings.graph_settings(), **compiled_pod_settings(settings)}.items():
        group, name = full.split(".")
        field = setting_field(full)
        assert field is not None
        values.get(group, {}).pop(name, None)
        if value != field.get_default(call_default_factory=True):
            assign(values, full, value)
    return Settings.checked(values)


def check_on_cluster(settings: Settings) -> None:
    """Raise InputError when pods cannot reach the store, or when the job's image can change behind its name."""
    faults = []
    if settings.store and not is_remote(settings.store):
        faults.append(f"store: {settings.store} is on this machine; write the cluster's, s3://bucket/key")
    try:
        check_job_image(settings.job.image)
    except InputError as error:
        faults += error.faults
    if faults:
        raise InputError(faults)


def check_compiled(
    settings: Settings, graph: Mapping[str, Any], pods: Mapping[str, Any], always_given: Collection[str]
) -> None:
    """Raise InputError when the user set something else than what was built into the pipeline.

    Args:
        settings: of the run.
        graph: `Settings.graph_settings`.
        pods: `compiled_pod_settings`; empty on one machine, where they mean nothing.
        always_given: settings that every run gives, so that their value is what is wanted even where it is the
            default.
    """
    built = {**graph, **pods}
    if "local" not in (settings.job.backend, built.get("job.backend")):
        # any other backend finds the same pod, which launches
        built.pop("job.backend", None)
    faults = []
    for full, value in built.items():
        group_name, name = full.split(".")
        group = getattr(settings, group_name)
        wanted = getattr(group, name)
        # a null in overrides is no wish
        if (full in always_given or name in group.model_fields_set) and wanted not in (None, value):
            faults.append(
                f"{full}: {wanted} wanted, but this pipeline was compiled with {value}; "
                f"compile it again with --set {full}={wanted}"
            )
    if faults:
        raise InputError(faults)
