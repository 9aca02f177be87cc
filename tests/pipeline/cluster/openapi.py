"""The published OpenAPI (Swagger 2) of Kubeflow Pipelines as strict JSON schemas: unknown fields are faults."""

from __future__ import annotations

import datetime
import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft4Validator, FormatChecker

from tests.crd_schema import crd_file

FILE = "kfp-api-2.17.0.swagger.json"
_FORMATS = FormatChecker(())
_FILTERED = ("display_name", "name", "storage_state", "created_at")


def needed() -> Path:
    """The file; the test is skipped where it is absent."""
    return crd_file(FILE)


@_FORMATS.checks("date-time", raises=ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.datetime.fromisoformat(value).tzinfo is not None


@functools.cache
def _api() -> dict[str, Any]:
    return _strict(json.loads(needed().read_text(encoding="utf-8")))


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    made = {name: _strict(value) for name, value in schema.items()}
    # an object without declared fields is free (parameters, a pipeline's spec)
    if made.get("type") == "object" and made.get("properties") and "additionalProperties" not in made:
        made["additionalProperties"] = False
    if made.get("format") == "int64":
        made["pattern"] = r"^-?\d+$"
    return made


def faults(value: Any, schema: dict[str, Any]) -> list[str]:
    """What is wrong with a value, a line a fault."""
    whole = {**schema, "definitions": _api()["definitions"]}
    found = Draft4Validator(whole, format_checker=_FORMATS).iter_errors(value)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in found]


def operation(method: str, path: str) -> tuple[str, dict[str, str], dict[str, Any]] | None:
    """(operationId, path parameters, definition) of a call; None if the API has no such call."""
    best = None
    for template, methods in _api()["paths"].items():
        names = re.findall(r"{([^}]+)}", template)
        pattern = re.sub(r"\\{[^}]+\\}", r"([^/:]+)", re.escape(template))
        found = re.fullmatch(pattern, path)
        # a fixed path wins over one with a parameter
        if found and method.lower() in methods and (best is None or len(names) < len(best[1])):
            values = {name: unquote(value) for name, value in zip(names, found.groups(), strict=True)}
            best = (methods[method.lower()]["operationId"], values, methods[method.lower()])
    return best


def request_faults(
    definition: Mapping[str, Any], query: Mapping[str, list[str]], body: Any, form: set[str]
) -> list[str]:
    """What is wrong with a request, by the operation's parameters."""
    known = {parameter["name"]: parameter for parameter in definition.get("parameters", [])}
    wrong = []
    for name, values in query.items():
        parameter = known.get(name)
        if parameter is None or parameter["in"] != "query":
            wrong.append(f"query {name}: unknown")
            continue
        if len(values) > 1:
            wrong.append(f"query {name}: given {len(values)} times")
        wrong += _query_faults(parameter, values[0])
    for name, parameter in known.items():
        if parameter["in"] == "body":
            wrong += [f"body {line}" for line in faults(body, parameter["schema"])]
        if parameter["in"] == "formData" and parameter.get("required") and name not in form:
            wrong.append(f"form {name}: missing")
    if body is not None and not any(parameter["in"] == "body" for parameter in known.values()):
        wrong.append("a body where none belongs")
    return wrong


def _query_faults(parameter: Mapping[str, Any], value: str) -> list[str]:
    name = parameter["name"]
    if parameter["type"] == "integer" and not re.fullmatch(r"-?\d+", value):
        return [f"query {name}: {value!r} is no integer"]
    if parameter["type"] == "boolean" and value not in ("true", "false"):
        return [f"query {name}: {value!r} is no boolean"]
    if "enum" in parameter and value not in parameter["enum"]:
        return [f"query {name}: {value!r} is none of {parameter['enum']}"]
    if name == "filter" and value:
        try:
            given = filter_of(value)
        except ValueError as error:
            return [f"query filter: {error}"]
        found = faults(given, {"$ref": "#/definitions/v2beta1Filter"})
        keys = [predicate["key"] for predicate in given.get("predicates", []) if "key" in predicate]
        return found + [f"query filter: no key {key}" for key in keys if key not in _FILTERED]
    return []


def filter_of(value: str) -> dict[str, Any]:
    """The filter in a query parameter; the server decodes it once more than HTTP does."""
    return json.loads(unquote(value.replace("+", " ")))


def response_faults(definition: Mapping[str, Any], status: int, body: Any) -> list[str]:
    """What is wrong with an answer of the fake, so that it lies to no test."""
    responses = definition["responses"]
    return faults(body, (responses.get(str(status)) or responses["default"])["schema"])
