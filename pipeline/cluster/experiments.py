"""The experiment that holds the runs: found by its name, created if missing."""

from __future__ import annotations

from pipeline.cluster.api.client import Api, Object, equals_filter
from pipeline.cluster.api.errors import KfpError
from sharpen.errors import InputError


def find(api: Api, name: str) -> str | None:
    """Id of the experiment of this name; None if there is none."""
    listed = api.paginate(
        "list experiments",
        "experiments",
        api.experiments.experiment_service_list_experiments,
        namespace=api.namespace or None,
        filter=equals_filter("display_name", name),
    )
    return next((str(found["experiment_id"]) for found in listed if found.get("display_name") == name), None)


def existing(api: Api, name: str) -> str:
    """Id of the experiment of this name.

    Raises:
        InputError: there is none.
    """
    if found := find(api, name):
        return found
    raise InputError(f"--experiment {name}: there is no such experiment; `sharpen submit` makes it")


def find_or_create(api: Api, name: str) -> str:
    """Id of the experiment of this name."""
    if found := find(api, name):
        return found
    body: Object = {"display_name": name}
    if api.namespace:
        body["namespace"] = api.namespace
    try:
        made = api.call_without_retry(
            "create the experiment", api.experiments.experiment_service_create_experiment, experiment=body
        )
        return str(made["experiment_id"])
    except KfpError as fault:
        # somebody else was first, or the answer was lost
        if found := find(api, name):
            return found
        raise api.explained(fault) from None
