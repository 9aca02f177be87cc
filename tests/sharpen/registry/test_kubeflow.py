"""Registration in Kubeflow's Model Registry: a server that takes what its published API (v1alpha3) takes, no more."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import jsonschema
import pytest

from sharpen.errors import InputError
from sharpen.registry import registry
from sharpen.registry.lineage import kubeflow
from tests.sharpen.http_recorder import serving
from tests.sharpen.registry.test_mlflow import S3, registered
from tests.sharpen.registry.test_registry import NAME

TEXT = {"type": "string"}
VALUE = {
    "oneOf": [
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["metadataType", f"{kind}_value"],
            "properties": {"metadataType": {"const": f"Metadata{kind.capitalize()}Value"}, f"{kind}_value": type_of},
        }
        for kind, type_of in (("string", TEXT), ("double", {"type": "number"}), ("bool", {"type": "boolean"}))
    ]
}
SHARED = {
    "customProperties": {"type": "object", "additionalProperties": VALUE},
    **dict.fromkeys(("description", "externalId", "name", "state"), TEXT),
}
SOURCE = [f"modelSource{part}" for part in ("Kind", "Class", "Group", "Id", "Name")]
OF_ARTIFACT = ["artifactType", "uri", "modelFormatName", "modelFormatVersion", "storageKey", "storagePath", *SOURCE]
PROPERTIES: dict[str, dict[str, Any]] = {
    "registered_models": {**SHARED, **dict.fromkeys(("owner", "readme", "license", "provider"), TEXT)},
    "model_versions": {**SHARED, "author": TEXT, "registeredModelId": {"type": "string", "pattern": "^[1-9][0-9]*$"}},
    "artifacts": {**SHARED, **dict.fromkeys(OF_ARTIFACT, TEXT)},
}
REQUIRED = {"registered_models": ["name"], "model_versions": ["name", "registeredModelId"], "artifacts": []}
SEARCHES = {"registered_model": "registered_models", "model_version": "model_versions", "model_artifact": "artifacts"}


class Registry:
    """What a server holds: kind -> entities, each with its id and its parent's."""

    def __init__(self) -> None:
        self.held: dict[str, list[dict[str, Any]]] = {kind: [] for kind in PROPERTIES}
        self.token, self.calls = "", 0

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, dict[str, Any]]:
        self.calls += 1
        match = re.fullmatch(r"/api/model_registry/v1alpha3/([a-z_]+)(?:/(\d+)(/artifacts)?)?", path)
        assert match, path
        kind, number, artifacts = match.groups()
        if method == "GET":
            found = [
                one
                for one in self.held[SEARCHES[kind]]
                if one["name"] == query["name"] and query.get("parentResourceId", one["parent"]) == one["parent"]
            ]
            return (200, found[0]) if found else (404, {"code": "404", "message": "no such entity"})
        kind = "artifacts" if artifacts else kind
        creates = method == "POST"
        allowed = {key: value for key, value in PROPERTIES[kind].items() if creates or key not in ("name",)}
        schema = {"type": "object", "additionalProperties": False, "properties": allowed}
        jsonschema.validate(body, {**schema, "required": REQUIRED[kind] if creates else []})
        if not creates:
            (one,) = [one for one in self.held[kind] if one["id"] == number]
            one.update(body)
            return 200, one
        parent = number or body.get("registeredModelId", "")
        if any((one["name"], one["parent"]) == (body["name"], parent) for one in self.held[kind]):
            return 409, {"code": "409", "message": "already exists"}
        made = {**body, "id": str(sum(map(len, self.held.values())) + 1), "parent": parent}
        self.held[kind].append(made)
        return 201, made


@pytest.fixture
def server() -> Iterator[tuple[str, Registry]]:
    state = Registry()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if state.token and self.headers.get("Authorization") != f"Bearer {state.token}":
                status, answer = 401, {"code": "401", "message": "who are you?"}
            else:
                arguments = (path, dict(urllib.parse.parse_qsl(query)), json.loads(body or b"null"))
                try:
                    status, answer = state.answer(self.command, *arguments)
                except jsonschema.ValidationError as error:
                    status, answer = 400, {"code": "400", "message": error.message}
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = answer

        def log_message(self, format: str, *args: object) -> None:
            return

    with serving(Handler) as address:
        yield address, state


@S3
def test_a_version_is_registered_once_with_address_lineage_figures_and_names(
    server: tuple[str, Registry], root: str, make_model: Callable[..., str]
) -> None:
    address, state = server
    first, second = (registered(root, make_model(weights), weights) for weights in ("w1", "w2"))
    registry.promote(root, NAME, second.version, reason="better")
    registry.set_alias(root, NAME, first.version, "staging")
    ids = [kubeflow.register(root, NAME, version, address) for version in ("v0001", "champion", "v0001")]
    assert ids[0] == ids[2] != ids[1]
    (model,) = state.held["registered_models"]
    versions = state.held["model_versions"]
    assert model["name"] == NAME and [one["name"] for one in versions] == ["v0001", "v0002"]
    assert {one["registeredModelId"] for one in versions} == {model["id"]}
    properties = versions[1]["customProperties"]
    assert properties["ndcg_at_10"]["double_value"] == 0.58
    assert properties["sharpen.content"]["string_value"] == second.content
    assert properties["sharpen.data_fingerprint"]["string_value"] == "data-1"
    assert properties["sharpen.names"]["string_value"] == "champion" and versions[1]["description"] == "nDCG@10 +.080"
    assert versions[0]["customProperties"]["sharpen.names"]["string_value"] == "staging"
    assert [(one["uri"], one["parent"]) for one in state.held["artifacts"]] == [
        (first.address, ids[0]),
        (second.address, ids[1]),
    ]
    registry.promote(root, NAME, first.version, reason="by hand")
    assert kubeflow.register(root, NAME, "champion", f"{address}/") == ids[0]
    assert versions[0]["customProperties"]["sharpen.names"]["string_value"] == "champion, staging"


@S3
def test_another_model_of_this_name_and_a_refusal_are_one_line(
    server: tuple[str, Registry], root: str, make_model: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, state = server
    registered(root, make_model("w1"), "w1")
    kubeflow.register(root, NAME, "v0001", address)
    state.held["model_versions"][0]["customProperties"]["sharpen.content"]["string_value"] = "other"
    with pytest.raises(InputError, match="has another model as v0001 under this name"):
        kubeflow.register(root, NAME, "v0001", address)
    state.token = "secret"
    with pytest.raises(InputError, match="Model Registry refuses: who are you"):
        kubeflow.register(root, NAME, "v0001", address)
    monkeypatch.setenv("MODEL_REGISTRY_TOKEN", "secret")
    state.held["model_versions"].clear()
    assert kubeflow.register(root, NAME, "v0001", address)
