"""Experiments and pipelines of the server by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pipeline.cluster.api.client import Api, Object, equals_filter
from pipeline.cluster.api.errors import KfpError

Kind = Literal["experiment", "pipeline"]


def find(api: Api, kind: Kind, name: str) -> str | None:
    """Id of the experiment or pipeline of this name; None if there is none."""
    listed = api.paginate(
        f"list {kind}s",
        f"{kind}s",
        _methods(api, kind)[0],
        namespace=api.namespace or None,
        filter=equals_filter("display_name", name),
    )
    return next((str(found[f"{kind}_id"]) for found in listed if found.get("display_name") == name), None)


def find_or_create(api: Api, kind: Kind, name: str, fields: Mapping[str, str] | None = None) -> str:
    """Id of the experiment or pipeline of this name, which is created if there is none.

    Args:
        api: the API.
        kind: which of the two.
        name: what is asked for.
        fields: of a new one, besides its name and namespace.

    Raises:
        InputError, StepFailed: the server refuses.
    """
    if found := find(api, kind, name):
        return found
    body: Object = {"display_name": name, **(fields or {})}
    if api.namespace:
        body["namespace"] = api.namespace
    try:
        made = api.call_without_retry(f"create the {kind}", _methods(api, kind)[1], **{kind: body})
        return str(made[f"{kind}_id"])
    except KfpError as fault:
        # somebody else was first, or the answer was lost
        if found := find(api, kind, name):
            return found
        raise api.explained(fault) from None


def _methods(api: Api, kind: Kind) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What lists them, and what creates one."""
    if kind == "experiment":
        service = api.experiments
        return service.experiment_service_list_experiments, service.experiment_service_create_experiment
    return api.pipelines.pipeline_service_list_pipelines, api.pipelines.pipeline_service_create_pipeline
