"""A version registered in an MLflow server too: its address, lineage and figures, by MLflow's REST API.

https://mlflow.org/docs/latest/api_reference/rest-api.html
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from sharpen.http_api import ApiError
from sharpen.http_api.json_api import JsonApi
from sharpen.registry.lineage.elsewhere import (
    CONTENT,
    facts_of,
    names_of,
    one_line_faults,
    readable_lineage,
    server_api,
)
from sharpen.registry.lineage.lineage import Lineage

EXPERIMENT = "sharpen"
# what servers from version 2 on take of a value, and of values at once
_VALUE_LENGTH, _VALUES = 500, 100


def register(root: str, name: str, version: str, server: str) -> str:
    """Register a version in MLflow, under the same name, with its aliases; MLflow's number of it.

    Weights stay where they are: MLflow's version has the address. A run of the experiment ``sharpen`` holds settings
    and figures. What is there already, by content, is not made again; its aliases are set anew.

    Args:
        root, name: of this registry and of the model.
        version: its number, ``champion`` or an alias.
        server: address of the MLflow server. `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and
            `MLFLOW_TRACKING_PASSWORD`, say who calls.

    Raises:
        InputError: no such version, a registry on a local disk, or a server that refuses.
        StepFailed: the server does not answer.
    """
    lineage = readable_lineage(root, name, version, "MLflow")
    with one_line_faults("MLflow"):
        api = server_api("MLflow", f"{server.rstrip('/')}/api/2.0/mlflow", _headers())
        number = _version(api, name, lineage)
        for alias in names_of(root, name, lineage.version.version):
            api.call("POST", "/registered-models/alias", {"name": name, "alias": alias, "version": number})
    return number


def _headers() -> dict[str, str]:
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        secret = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}
    return {}


def _version(api: JsonApi, name: str, lineage: Lineage) -> str:
    """The number of MLflow's version of this content, which is made where there is none."""
    _created(api, "/registered-models/create", {"name": name})
    search = {"filter": f"name='{name}' AND tags.`{CONTENT}`='{lineage.version.content}'"}
    if found := api.call("GET", "/model-versions/search", query=search).get("model_versions"):
        return str(found[0]["version"])
    body = {
        "name": name,
        "source": lineage.version.address,
        "run_id": _run(api, name, lineage),
        "description": "; ".join(lineage.reasons),
        "tags": _pairs(facts_of(lineage)),
    }
    return str(api.call("POST", "/model-versions/create", body)["model_version"]["version"])


def _run(api: JsonApi, name: str, lineage: Lineage) -> str:
    """The id of MLflow's run with what is known of the version, which is made or completed."""
    _created(api, "/experiments/create", {"name": EXPERIMENT})
    found = api.call("GET", "/experiments/get-by-name", query={"experiment_name": EXPERIMENT})
    experiment = found["experiment"]["experiment_id"]
    search = {"experiment_ids": [experiment], "filter": f"tags.`{CONTENT}` = '{lineage.version.content}'"}
    now = int(time.time() * 1000)
    if runs := api.call("POST", "/runs/search", search).get("runs"):
        run = runs[0]["info"]["run_id"]
    else:
        title = f"{name}-{lineage.version.version}"
        body = {"experiment_id": experiment, "run_name": title, "start_time": now, "tags": _pairs(facts_of(lineage))}
        run = api.call("POST", "/runs/create", body)["run"]["info"]["run_id"]
    parameters = _pairs(dict(_parameters(lineage)))
    for first in range(0, len(parameters), _VALUES):
        api.call("POST", "/runs/log-batch", {"run_id": run, "params": parameters[first : first + _VALUES]})
    metrics = [{"key": key, "value": value, "timestamp": now} for key, value in lineage.version.metrics.items()]
    api.call("POST", "/runs/log-batch", {"run_id": run, "metrics": metrics})
    api.call("POST", "/runs/update", {"run_id": run, "status": "FINISHED", "end_time": now})
    return run


def _created(api: JsonApi, path: str, body: dict[str, Any]) -> None:
    """Make it, unless it is there."""
    try:
        api.call("POST", path, body)
    except ApiError as error:
        if error.body.get("error_code") != "RESOURCE_ALREADY_EXISTS":
            raise


def _parameters(lineage: Lineage) -> Iterator[tuple[str, str]]:
    for group, values in {"counts": lineage.counts, **lineage.settings}.items():
        for name, value in values.items():
            yield f"{group}.{name}", value if isinstance(value, str) else json.dumps(value)


def _pairs(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value[:_VALUE_LENGTH]} for key, value in values.items()]
