"""Send the pipeline to a cluster: one run of one version."""

from __future__ import annotations

import time
from collections.abc import Iterator

from pipeline.cluster.api.client import Api, Object
from pipeline.cluster.api.errors import KfpError
from pipeline.cluster.compiled_settings import check_on_cluster
from pipeline.cluster.versions import Version
from pipeline.parameters import Settings
from pipeline.run_form import run_inputs
from sharpen.data.source_settings import HUB_SCHEMES, addresses_in
from sharpen.errors import InputError, StepFailed
from sharpen.models.model_hub import PACKAGE_SCHEME, is_hub_id
from sharpen.uri import is_remote

PYTHON_SOURCE = "python-source:"


def check_submittable(settings: Settings) -> None:
    """Refuse what no run on a cluster can use: addresses that only this machine can read, an image that moves.

    Raises:
        InputError: one line per field that holds a local path, for no store, or for a job's image without a fixed tag.
    """
    faults = [
        f"{field}: {address} is on this machine, where no pod can read it; copy it to the cluster's store and write "
        "s3://bucket/key"
        for field, address in _on_this_machine(settings)
    ]
    try:
        check_on_cluster(settings)
    except InputError as error:
        faults += error.faults
    if faults:
        raise InputError(faults)


def _on_this_machine(settings: Settings) -> Iterator[tuple[str, str]]:
    """(setting, address) of everything that steps would read and no pod can."""
    for field in ("train_data", "eval_data"):
        for address in addresses_in(getattr(settings, field)):
            source = address.removeprefix(PYTHON_SOURCE)
            is_here = not is_remote(address) and not address.startswith(HUB_SCHEMES)
            if is_here and (source == address or "/" in source):
                yield field, address
    models = [("base_model", settings.base_model)]
    for source in settings.mining.candidate_sources:
        kind, _, address = source.partition(":")
        if kind == "file" and not is_remote(address):
            yield "mining.candidate_sources", address
        elif kind == "model":
            models.append(("mining.candidate_sources", address))
    models.append(("mining.rescoring_model", settings.mining.rescoring_model or ""))
    for address in settings.evaluation.addresses:
        data = address.removeprefix("data:")
        if data == address:
            models.append(("evaluation.systems or evaluation.reranking_model", address))
        elif not is_remote(data):
            yield "evaluation.guard_data", data
    if settings.data.judgements and not is_remote(settings.data.judgements):
        yield "data.judgements", settings.data.judgements
    for field, model in models:
        if model and not is_remote(model) and not model.startswith(PACKAGE_SCHEME) and not is_hub_id(model):
            yield field, model


def create_run(
    api: Api, settings: Settings, version: Version, *, experiment: str, name: str = "", service_account: str = ""
) -> Object:
    """Create a run and return it as the server describes it.

    Args:
        api: the API.
        settings: become the run's inputs.
        version: what to run.
        experiment: id of the experiment.
        name: name of the run; empty: the model's and the time.
        service_account: account of the steps' pods; empty: the server's default.

    Raises:
        InputError: the server refuses it.
        StepFailed: it is not known whether there is a run now.
    """
    name = name or f"{settings.model_name}-{time.strftime('%Y%m%d-%H%M%S')}"
    body: Object = {
        "display_name": name,
        "experiment_id": experiment,
        "pipeline_version_reference": version.reference,
        "runtime_config": {"parameters": run_inputs(settings)},
    }
    if service_account:
        body["service_account"] = service_account
    try:
        return api.call_without_retry("create the run", api.runs.run_service_create_run, run=body)
    except KfpError as fault:
        if fault.passing and fault.status != 429:
            raise StepFailed(
                f"creating the run: {fault}; it may exist all the same: look with `sharpen status {name}` before you "
                "submit again"
            ) from None
        raise api.explained(fault) from None
