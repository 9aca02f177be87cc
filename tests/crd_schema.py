"""Objects against a custom resource definition's openAPI schema, strictly: an unknown field is a fault.

The API server drops unknown fields without a word, so a wrong name would be found only by what a job does not do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

SCHEMAS = Path(os.environ.get("SHARPEN_TEST_SCHEMAS", Path(__file__).parents[2] / "shared" / "schemas"))
_KEPT = ("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "required")
_COMBINED = ("anyOf", "oneOf", "allOf")


def crd_file(name: str) -> Path:
    """A published definition; the test that asks for it is skipped where it is absent."""
    path = SCHEMAS / name
    if not path.is_file():
        pytest.skip(f"{path} is not here (SHARPEN_TEST_SCHEMAS names the folder of published schemas)")
    return path


def crd_faults(definition: Path, found: Mapping[str, Any]) -> list[str]:
    """What is wrong with an object, a line each; empty when the API would take it whole.

    Checked are fields, types, bounds, patterns, required fields, duplicate keys of list maps, and the rules for names
    and metadata; not checked are rules in CEL.
    """
    crd = _definition(definition)
    version = found["apiVersion"].removeprefix(crd["group"] + "/")
    served = {one["name"]: one["schema"]["openAPIV3Schema"] for one in crd["versions"] if one["served"]}
    if found["kind"] != crd["names"]["kind"] or version not in served:
        return [f"{found['apiVersion']} {found['kind']} is not what {definition.name} defines"]
    schema = served[version]
    validator = _validator(definition, version)
    faults = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(found)]
    return faults + list(_duplicates(schema, found, "$"))


@cache
def _definition(file: Path) -> dict[str, Any]:
    # the C parser: the files have thousands of lines
    return yaml.load(file.read_text(), Loader=yaml.CSafeLoader)["spec"]


@cache
def _validator(file: Path, version: str) -> Any:
    served = {one["name"]: one["schema"]["openAPIV3Schema"] for one in _definition(file)["versions"]}
    return jsonschema.Draft202012Validator(_strict(served[version], root=True))


_METADATA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "pattern": r"^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63},
        "namespace": {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63},
        "labels": {
            "type": "object",
            "propertyNames": {
                "pattern": r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
            },
            "additionalProperties": {
                "type": "string",
                "pattern": r"^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$",
                "maxLength": 63,
            },
        },
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        "ownerReferences": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["apiVersion", "kind", "name", "uid"],
                "properties": {
                    **{name: {"type": "string"} for name in ("apiVersion", "kind", "name", "uid")},
                    **{name: {"type": "boolean"} for name in ("controller", "blockOwnerDeletion")},
                },
            },
        },
    },
}


def _strict(schema: Mapping[str, Any], *, root: bool = False) -> dict[str, Any]:
    """The structural schema as a JSON schema that allows no field besides those it names."""
    if schema.get("x-kubernetes-int-or-string"):
        strict: dict[str, Any] = {"type": ["integer", "string"]}
        if "pattern" in schema:
            strict["pattern"] = schema["pattern"]
        return strict
    strict = {name: schema[name] for name in _KEPT if name in schema}
    for name in _COMBINED:
        if name in schema:
            strict[name] = [_strict(part) for part in schema[name]]
    if schema.get("nullable"):
        strict["type"] = [strict["type"], "null"]
    if "items" in schema:
        strict["items"] = _strict(schema["items"])
    fields = schema.get("properties")
    if fields is not None:
        strict["properties"] = {name: _strict(inner) for name, inner in fields.items()}
        if root:
            strict["properties"]["metadata"] = _METADATA
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-embedded-resource")
    others = schema.get("additionalProperties")
    if isinstance(others, Mapping):
        strict["additionalProperties"] = _strict(others)
    elif schema.get("type") == "object" and not open_ended and others is not True:
        strict["additionalProperties"] = False
    return strict


def _duplicates(schema: Mapping[str, Any], found: Any, path: str) -> Any:
    """Entries of a list that the API keeps as a map must differ in its keys."""
    if isinstance(found, Mapping):
        others = schema.get("additionalProperties")
        for name, value in found.items():
            inner = schema.get("properties", {}).get(name) or (others if isinstance(others, Mapping) else {})
            yield from _duplicates(inner, value, f"{path}.{name}")
    elif isinstance(found, list):
        items = schema.get("items", {})
        keys = schema.get("x-kubernetes-list-map-keys")
        if keys:
            defaults = {key: items["properties"][key].get("default") for key in keys}
            seen = [tuple(entry.get(key, defaults[key]) for key in keys) for entry in found]
            yield from (f"{path}: {one} twice" for one in sorted(set(seen), key=str) if seen.count(one) > 1)
        for number, entry in enumerate(found):
            yield from _duplicates(items, entry, f"{path}[{number}]")
