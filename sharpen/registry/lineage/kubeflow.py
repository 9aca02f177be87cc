"""A version registered in Kubeflow's Model Registry too: address, lineage and figures, by its REST API (v1alpha3).

https://www.kubeflow.org/docs/components/model-registry/reference/rest-api/
"""

from __future__ import annotations

import os
from typing import Any

from sharpen.errors import InputError
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

SERVER = "Kubeflow's Model Registry"
NAMES = "sharpen.names"
"""Property of a version: champion and aliases, which that registry has not."""

_PATH, _TOKEN = "/api/model_registry/v1alpha3", "MODEL_REGISTRY_TOKEN"
_FORMAT = "sentence-transformers"


def register(root: str, name: str, version: str, server: str) -> str:
    """Register a version under the same name and number; the id of that registry's version.

    Weights stay where they are: the version's artifact has the address. What is there already is not made again; its
    properties, the names among them, are set anew.

    Args:
        root, name: of this registry and of the model.
        version: its number, ``champion`` or an alias.
        server: address of the Model Registry. `MODEL_REGISTRY_TOKEN` says who calls.

    Raises:
        InputError: no such version, a registry on a local disk, a server that refuses, or another model under this
            name and number there.
        StepFailed: the server does not answer.
    """
    lineage = readable_lineage(root, name, version, SERVER)
    token = os.environ.get(_TOKEN)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with one_line_faults(SERVER):
        api = server_api(SERVER, f"{server.rstrip('/')}{_PATH}", headers)
        model = _found(api, "/registered_model", name=name) or api.call(
            "POST", "/registered_models", {"name": name, "description": "Text-embedding model tuned by Sharpen"}
        )
        made = _version(api, model["id"], lineage, names_of(root, name, lineage.version.version))
        _artifact(api, made["id"], name, lineage)
    return str(made["id"])


def _version(api: JsonApi, model: str, lineage: Lineage, names: list[str]) -> dict[str, Any]:
    """The registry's version of this number, made or brought up to date."""
    number, properties = lineage.version.version, _properties(lineage, names)
    described = {"description": "; ".join(lineage.reasons), "customProperties": properties}
    there = _found(api, "/model_version", name=number, parentResourceId=model)
    if not there:
        return api.call("POST", "/model_versions", {"name": number, "registeredModelId": model, **described})
    content = there.get("customProperties", {}).get(CONTENT, {}).get("string_value")
    if content != lineage.version.content:
        raise InputError(f"{SERVER} has another model as {number} under this name; register it under another name")
    return api.call("PATCH", f"/model_versions/{there['id']}", described)


def _artifact(api: JsonApi, version: str, name: str, lineage: Lineage) -> None:
    """The version's artifact, whose address is that of the weights; one a version."""
    title = f"{name}-{lineage.version.version}"
    if _found(api, "/model_artifact", name=title, parentResourceId=version):
        return
    body = {
        "artifactType": "model-artifact",
        "name": title,
        "uri": lineage.version.address,
        "modelFormatName": _FORMAT,
        "modelSourceKind": "pipelines",
        "modelSourceClass": "pipelinerun",
        "modelSourceId": lineage.version.run_id,
    }
    api.call("POST", f"/model_versions/{version}/artifacts", {key: value for key, value in body.items() if value})


def _found(api: JsonApi, path: str, **query: str) -> dict[str, Any]:
    """What a search by name gives; empty for nothing."""
    try:
        return api.call("GET", path, query=query)
    except ApiError as error:
        if error.status == 404:
            return {}
        raise


def _properties(lineage: Lineage, names: list[str]) -> dict[str, dict[str, Any]]:
    """Facts, names and figures as the registry's typed values."""
    texts = {**facts_of(lineage), NAMES: ", ".join(names)}
    return {
        **{key: {"metadataType": "MetadataStringValue", "string_value": value} for key, value in texts.items()},
        **{
            key: {"metadataType": "MetadataDoubleValue", "double_value": value}
            for key, value in lineage.version.metrics.items()
        },
    }
