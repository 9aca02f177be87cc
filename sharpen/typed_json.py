"""JSON: texts that somebody else may have changed, read as the types that they should hold; hashes of values."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sharpen.errors import InputError


def parse(kind: Any, data: bytes | str, where: str, *, remedy: str = "") -> Any:
    """The value in a JSON text, every part of it of its declared type.

    Args:
        kind: a dataclass, or any other type that pydantic knows; fields that it does not have are left out.
        data: the text, UTF-8.
        where: what the text is, for the message.
        remedy: what a person can do about damage.

    Raises:
        InputError: the text is not JSON, or holds other types; one line without what the text holds.
    """
    try:
        return _adapter(kind).validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        fault = f"{field}: {first['msg']}" if field else first["msg"]
        raise InputError(f"{where}: damaged ({fault}){f'; {remedy}' if remedy else ''}") from None


def sha256_json(value: Any) -> str:
    """SHA-256 (hex) of a value of JSON's, whatever the order of its keys; others count as their text."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
