"""JSON objects, one a row: JSON Lines, or one array of objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sharpen.data.readers.lines import opened, read_lines, uncompressed_name, without_mark
from sharpen.data.readers.rows import RAW_CHARACTERS, REASONS, ReadReport, RowError, kind_of_value
from sharpen.errors import InputError

# a whole number of more digits may be too large for a float, and from 4,300 on Python refuses to read it
_LONGEST_INTEGER = 308
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class _Repeating(dict):
    """An object in which a key stands twice; which of its values is meant, nobody can know."""

    key = ""


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    repeating, seen = _Repeating(values), set()
    for key, _ in pairs:
        if key in seen:
            repeating.key = key
        seen.add(key)
    return repeating


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


_DECODER = json.JSONDecoder(parse_int=_integer, object_pairs_hook=_object_of)


def read_objects(path: Path, shown: str, report: ReadReport) -> Iterator[tuple[int, dict[str, Any], bytes]]:
    """Line number, object and raw bytes of every row that is an object; bad rows go to `report`.

    A file is read as JSON Lines; a ``.json`` file that begins with a bracket, as one array of objects.

    Args:
        path: the file.
        shown: its address, for messages.
        report: takes bad rows.

    Raises:
        InputError: as `read_lines`; an array that is not valid JSON from its first to its last character, which would
            else be used up to its fault only; an array in a file of lines.
    """
    if is_array(path, shown):
        yield from _read_array(path, shown, report)
        return
    yield from objects_of(read_lines(path, shown, report.on_bytes), shown, report)


def is_array(path: Path, shown: str) -> bool:
    """Whether a file is read as one array of objects."""
    return uncompressed_name(path.name).endswith(".json") and _starts_with_bracket(path, shown)


def objects_of(
    lines: Iterable[tuple[int, bytes]], shown: str, report: ReadReport
) -> Iterator[tuple[int, dict[str, Any], bytes]]:
    """As `read_objects`, of `lines` with their numbers; `shown` and `report` as there."""
    before = report.rows
    for number, line in lines:
        report.rows += 1
        try:
            value = parse_json(line)
            if report.rows == before + 1:
                _refuse_array(value, shown, number)
            yield number, _checked(value, line), line
        except RowError as fault:
            report.add(shown, number, fault, line)


def parse_object(line: bytes) -> dict[str, Any]:
    """The JSON object that a line holds. Raises RowError."""
    return _checked(parse_json(line), line)


def parse_json(line: bytes) -> Any:
    """The JSON value that a line holds. Whole numbers of more than 308 digits are floats. Raises RowError."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RowError("not_utf8", detail=f"byte {error.start + 1} of the line") from None
    try:
        value, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        raise RowError("broken_json", detail=f"{error.msg} at character {error.pos + 1}") from None
    except (ValueError, RecursionError) as error:  # brackets nested too deep
        raise RowError("broken_json", detail=str(error).split(";")[0]) from None
    if text[end:].strip():
        raise RowError("broken_json", detail=f"something follows the object at character {end + 1}")
    return value


def _refuse_array(value: Any, shown: str, number: int) -> None:
    """Raise InputError when the first line holds a whole array, which would else be one bad row, however long it is."""
    if isinstance(value, list) and any(isinstance(element, dict) for element in value):
        raise InputError(
            f"{shown}, line {number}: a JSON array of {len(value):,} elements; name the file *.json, or write one "
            "object a line"
        )


def _starts_with_bracket(path: Path, shown: str) -> bool:
    with opened(path, shown) as (_, content):
        return without_mark(content.read(4096), shown).lstrip().startswith(b"[")


def _read_array(path: Path, shown: str, report: ReadReport) -> Iterator[tuple[int, dict[str, Any], bytes]]:
    """The elements of an array, with the line on which each begins."""
    text = _text_of(path, shown)
    report.on_bytes(path.stat().st_size)
    at, line, counted = _skip(text, text.index("[") + 1), 1, 0
    while text[at : at + 1] != "]":
        line, counted = line + text.count("\n", counted, at), at
        value, end = _element(text, at, shown)
        report.rows += 1
        raw = text[at:end].encode("utf-8", "replace")
        try:
            yield line, _checked(value, raw), raw
        except RowError as fault:
            report.add(shown, line, fault, raw[: 4 * RAW_CHARACTERS])
        at = _skip(text, end)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "]":
            raise _broken_array(text, at, shown, "no comma or bracket after the element before it")
    if (after := _skip(text, at + 1)) < len(text):
        raise _broken_array(text, after, shown, "something follows the array")


def _text_of(path: Path, shown: str) -> str:
    with opened(path, shown) as (_, content):
        data = content.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{shown}, line {line}: {REASONS['not_utf8']}; save the file as UTF-8") from None


def _element(text: str, at: int, shown: str) -> tuple[Any, int]:
    """The value that begins at a position, and where it ends."""
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise _broken_array(text, error.pos, shown, error.msg) from None
    except (ValueError, RecursionError) as error:
        raise _broken_array(text, at, shown, str(error).split(";")[0]) from None


def _broken_array(text: str, at: int, shown: str, what: str) -> InputError:
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    if at >= len(text.rstrip()):
        what = "the file ends inside the array; is it cut off?"
    return InputError(
        f"{shown}, line {line}, column {column}: {what}; a JSON array is used whole or not at all: repair it, or write "
        "one object a line (*.jsonl), where a bad row stands alone"
    )


def _checked(value: Any, raw: bytes) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RowError("not_an_object", detail=f"found {kind_of_value(value)}")
    if isinstance(value, _Repeating):
        raise RowError("repeated_field", value.key[:80])
    # an escaped half of a surrogate pair is valid JSON, but no text that can be stored
    if _ESCAPED_SURROGATE.search(raw):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise RowError("not_utf8", detail="half of a surrogate pair") from None
        except RecursionError as error:
            raise RowError("broken_json", detail=str(error)) from None
    return value


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at
