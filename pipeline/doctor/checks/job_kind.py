"""The kind of the training job is installed, and for a TrainJob its runtime."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.doctor import remedies
from pipeline.doctor.finding import CheckContext, Finding
from sharpen.jobs.manifests.kinds import TRAINJOB


def check(context: CheckContext) -> Iterator[Finding]:
    """The kind that the settings choose is served in the version that Sharpen writes."""
    kind, jobs = context.kind, context.jobs
    if kind is None:
        return
    full = f"{kind.plural}.{kind.group}"
    if kind.plural not in jobs.served(kind.group, kind.version):
        others = ", ".join(jobs.versions(kind.group))
        install = remedies.INSTALL_TRAINER if kind is TRAINJOB else remedies.INSTALL_TRAINING_OPERATOR
        detail = f"{full} {kind.version} is not served{f'; of {kind.group} there is {others}' if others else ''}"
        yield Finding(kind.name, "fail", detail, install)
        return
    yield Finding(kind.name, "pass", f"{full} {kind.version}")
    name = context.settings.job.runtime
    if kind is not TRAINJOB:
        return
    if jobs.read(f"/apis/{kind.api_version}/clustertrainingruntimes/{name}"):
        yield Finding("training runtime", "pass", f"ClusterTrainingRuntime {name}")
    else:
        remedy = f"{remedies.add_component('trainer-v2', jobs.namespace)}; and --set job.runtime=sharpen-torch"
        yield Finding("training runtime", "fail", f"there is no ClusterTrainingRuntime {name} (job.runtime)", remedy)
