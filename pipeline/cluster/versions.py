"""The pipeline on the server: one version for each content, named by its hash."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.cluster.api import named
from pipeline.cluster.api.client import Api, Object, equals_filter
from pipeline.cluster.api.errors import KfpError
from pipeline.cluster.compiled_settings import compile_time_settings
from pipeline.cluster.compiling import compile_pipeline, version_name
from pipeline.parameters import Settings
from pipeline.run_form import description
from sharpen.errors import StepFailed


@dataclass(frozen=True)
class Version:
    """A version of the pipeline on the server.

    Attributes:
        pipeline: id of the pipeline.
        identity: id of the version.
        name: its name, which holds the hash of its content.
        uploaded: whether it was not there before.
    """

    pipeline: str
    identity: str
    name: str
    uploaded: bool = False

    @property
    def reference(self) -> Object:
        """As a run or a schedule refers to it."""
        return {"pipeline_id": self.pipeline, "pipeline_version_id": self.identity}


def version_of(
    api: Api,
    settings: Settings,
    *,
    image: str,
    launcher_image: str,
    pipeline_name: str,
    form: Settings | None = None,
    trial: bool = False,
) -> Version:
    """The version for these settings and images; uploaded unless the server has it.

    Only what shapes the graph is compiled in (`compile_time_settings`, images), and the defaults of the run form. All
    other settings are inputs of the run, so that runs with different settings are runs of one version.

    Args:
        api: the API.
        settings: of the run.
        image: image of the steps; empty: the development image.
        launcher_image: image of the steps that compute nothing; empty: `image`.
        pipeline_name: name of the pipeline on the server.
        form: settings that the run form shows until somebody changes them; None: Sharpen's defaults.
        trial: whether it ends after fine-tuning.

    Raises:
        InputError: an image without a fixed tag; or the server refuses.
        StepFailed: it could not be found out whether the upload took effect.
    """
    with tempfile.TemporaryDirectory(prefix="sharpen-") as folder:
        package = Path(folder) / "pipeline.yaml"
        compiled = compile_time_settings(settings, form or Settings.checked({}))
        compile_pipeline(compiled, package, image=image, launcher_image=launcher_image, trial=trial)
        name = version_name(pipeline_name, package)
        fields = {"name": pipeline_name, "description": description()}
        pipeline = named.find_or_create(api, "pipeline", pipeline_name, fields)
        return _find(api, pipeline, name) or _upload(api, pipeline, name, package)


def _find(api: Api, pipeline: str, name: str) -> Version | None:
    listed = api.paginate(
        "list the pipeline's versions",
        "pipeline_versions",
        api.pipelines.pipeline_service_list_pipeline_versions,
        pipeline_id=pipeline,
        filter=equals_filter("display_name", name),
    )
    ids = (str(found["pipeline_version_id"]) for found in listed if found.get("display_name") == name)
    return next((Version(pipeline, identity, name) for identity in ids), None)


def _upload(api: Api, pipeline: str, name: str, package: Path) -> Version:
    try:
        made = api.call_without_retry(
            "upload the pipeline",
            api.uploads.upload_pipeline_version,
            uploadfile=str(package),
            name=name,
            display_name=name,
            description=description(),
            pipelineid=pipeline,
        )
        return Version(pipeline, str(made["pipeline_version_id"]), name, uploaded=True)
    except KfpError as fault:
        # named by content: whoever uploaded it, it is the same
        if found := _find(api, pipeline, name):
            return found
        if fault.status == 0:
            raise StepFailed(f"uploading the pipeline to {api.endpoint}: {fault}; run the command again") from None
        raise api.explained(fault) from None
