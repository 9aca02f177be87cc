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

from sharpen.errors import InputError, StepFailed
from sharpen.http_api import ApiError, Server
from sharpen.http_api.json_api import JsonApi
from sharpen.registry import aliases, registry
from sharpen.registry.lineage.lineage import Lineage, read_lineage
from sharpen.registry.registry import CHAMPION
from sharpen.store import storage

EXPERIMENT = "sharpen"
CONTENT = "sharpen.content"
"""Tag of runs and versions that hold a model of this content, by which a repeated call knows them."""

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
    lineage = read_lineage(root, name, version)
    if not storage.is_remote(lineage.version.address):
        raise InputError(
            f"{lineage.version.address}: is on this machine, where MLflow's users cannot read it; only versions in an "
            "s3:// registry can be registered there"
        )
    api = JsonApi(Server("MLflow", False, None, 0.5, 10.0), f"{server.rstrip('/')}/api/2.0/mlflow", _headers())
    try:
        number = _version(api, name, lineage)
        for alias in _aliases(root, name, lineage.version.version):
            api.call("POST", "/registered-models/alias", {"name": name, "alias": alias, "version": number})
    except ApiError as error:
        if error.passing:
            raise StepFailed(f"MLflow: no answer: {error.message}") from None
        raise InputError(f"MLflow refuses: {error.message}") from None
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
        "tags": _pairs(_tags(lineage)),
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
        body = {"experiment_id": experiment, "run_name": title, "start_time": now, "tags": _pairs(_tags(lineage))}
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


def _tags(lineage: Lineage) -> dict[str, str]:
    version = lineage.version
    facts = {
        "content": version.content,
        "version": version.version,
        "run": version.run_id,
        "created_at": version.created_at,
        "code_version": lineage.code_version,
        "data_fingerprint": lineage.data_fingerprint,
        "verdict": lineage.verdict,
        **{what.replace(" ", "_"): address for what, address in lineage.parents.items()},
    }
    return {f"sharpen.{name}": value for name, value in facts.items() if value}


def _parameters(lineage: Lineage) -> Iterator[tuple[str, str]]:
    for group, values in {"counts": lineage.counts, **lineage.settings}.items():
        for name, value in values.items():
            yield f"{group}.{name}", value if isinstance(value, str) else json.dumps(value)


def _pairs(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value[:_VALUE_LENGTH]} for key, value in values.items()]


def _aliases(root: str, name: str, version: str) -> list[str]:
    """Names of the version besides its number."""
    champion = registry.read_champion(root, name)
    named = [alias for alias, other in aliases.list_aliases(root, name).items() if other == version]
    return [*([CHAMPION] if champion and champion.version == version else []), *named]
