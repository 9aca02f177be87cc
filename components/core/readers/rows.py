"""Reading input row by row: a bad row is reported with its place and reason, and never stops the others."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from components.core.errors import InputError

RAW_CHARACTERS = 500
KEPT_ROWS = 100_000
SHOWN_FAULTS = 5

# Closed: a reader may report these and no others.
REASONS = {
    "broken_json": "not valid JSON",
    "not_utf8": "not UTF-8 text",
    "not_an_object": "JSON, but not an object",
    "missing_field": "a required field is missing",
    "wrong_type": "a field has the wrong type",
    "empty_text": "a text is empty",
    "no_positive": "the query has no positive passage",
    "positive_equals_query": "a positive passage says the same as its query",
    "repeated_id": "the id was already given to another text",
    "unknown_id": "the judgement names an id that is in no file",
    "lost_id": "the judgement names a row that is itself in quarantine",
    "bad_grade": "the grade is not a whole number",
    "bad_score": "a score is not a finite number",
    "score_length": "there are not as many scores as passages",
    "wrong_columns": "the line has not three columns separated by tabs",
    "broken_python": "the file is not Python that this interpreter can parse",
}

# Faults that follow from another row's fault: they are quarantined too, but do not count towards the allowed share.
CONSEQUENCES = frozenset({"lost_id"})

_DECODER = json.JSONDecoder()
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was set aside.

    Attributes:
        file: address of the file as the user knows it.
        line: line of the file, from 1.
        reason: a key of `REASONS`.
        field: the field at fault, for example ``pos[2]``; empty when it is the whole row.
        detail: what was found, in words.
        raw: the row as it stands in the file, at most `RAW_CHARACTERS` characters; bytes that are not UTF-8 escaped.
    """

    file: str
    line: int
    reason: str
    field: str
    detail: str
    raw: str

    def __str__(self) -> str:
        where = f"{self.file}, line {self.line}" + (f", {self.field}" if self.field else "")
        return f"{where}: {REASONS[self.reason]}" + (f" ({self.detail})" if self.detail else "")


class RowFault(Exception):
    """Why one row cannot be used; never leaves the readers."""

    def __init__(self, reason: str, field: str = "", detail: str = "") -> None:
        super().__init__(reason, field, detail)
        self.reason, self.field, self.detail = reason, field, detail


@dataclass
class Findings:
    """What reading brought up besides the data.

    Attributes:
        bad_rows: the first `KEPT_ROWS` bad rows, in the order of reading.
        counts: reason -> number of bad rows, complete.
        notices: what was left aside or changed without harm, in words -> how often.
        rows: rows read, good and bad.
        on_bytes: called now and then with the number of bytes read since the last call.
    """

    bad_rows: list[BadRow] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    notices: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    on_bytes: Callable[[int], None] = lambda _: None

    def add(self, file: str, line: int, fault: RowFault, raw: bytes | str) -> None:
        """Set one row aside."""
        if fault.reason not in REASONS:
            raise ValueError(f"{fault.reason} is not a reason")
        text = raw[: 4 * RAW_CHARACTERS].decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
        text = text.encode("utf-8", "backslashreplace").decode()[:RAW_CHARACTERS]
        self.counts[fault.reason] += 1
        if len(self.bad_rows) < KEPT_ROWS:
            self.bad_rows.append(BadRow(file, line, fault.reason, fault.field, fault.detail, text))

    def notice(self, what: str, amount: int = 1) -> None:
        """Count something that was left aside or changed without harm."""
        if amount:
            self.notices[what] += amount

    @property
    def bad(self) -> int:
        """Bad rows that count towards the allowed share."""
        return sum(count for reason, count in self.counts.items() if reason not in CONSEQUENCES)

    def summary(self) -> str:
        """Counts by reason in one line, most frequent first."""
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{count:,} {reason}" for reason, count in ordered)

    def first_faults(self, advice: str) -> list[str]:
        """The first bad rows, a line each, and a line with all counts and what to do."""
        lines = [str(row) for row in self.bad_rows[:SHOWN_FAULTS]]
        total = sum(self.counts.values())
        rows = "bad row" if total == 1 else "bad rows"
        return [*lines, f"{total:,} {rows} of {self.rows:,} ({self.summary()}). {advice}"]


@contextmanager
def _opened(path: Path, shown: str) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The file on disk and, for ``.gz``, its decompressed content; the same object twice for others."""
    with path.open("rb") as file, gzip.open(file) if path.suffix == ".gz" else nullcontext(file) as content:
        try:
            yield file, content  # type: ignore[misc]
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"{shown}: damaged gzip file ({error}); compress it again") from None


def read_lines(path: Path, shown: str, on_bytes: Callable[[int], None]) -> Iterator[tuple[int, bytes]]:
    """Line number (from 1) and bytes of every line that is not blank, without line end and byte order mark.

    A file whose name ends with ``.gz`` is decompressed; `on_bytes` counts the bytes on disk.

    Raises:
        InputError: the gzip data are damaged.
    """
    seen = 0
    with _opened(path, shown) as (file, lines):
        for number, line in enumerate(lines, 1):
            if number % 1000 == 0:
                on_bytes(file.tell() - seen)
                seen = file.tell()
            if number == 1:
                line = line.removeprefix(_BYTE_ORDER_MARK)
            if line := line.strip(b" \t\r\n"):
                yield number, line
        on_bytes(file.tell() - seen)


def read_objects(path: Path, shown: str, findings: Findings) -> Iterator[tuple[int, dict[str, Any], bytes]]:
    """Line number, object and raw bytes of every row that is an object; bad rows go to `findings`.

    A file is read as JSON Lines; a ``.json`` file that begins with a bracket, as one array of objects.
    """
    if path.name.removesuffix(".gz").endswith(".json") and _starts_with_bracket(path, shown):
        yield from _read_array(path, shown, findings)
        return
    for number, line in read_lines(path, shown, findings.on_bytes):
        findings.rows += 1
        try:
            yield number, parse_object(line), line
        except RowFault as fault:
            findings.add(shown, number, fault, line)


def _starts_with_bracket(path: Path, shown: str) -> bool:
    with _opened(path, shown) as (_, content):
        return content.read(4096).removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(b"[")


def _read_array(path: Path, shown: str, findings: Findings) -> Iterator[tuple[int, dict[str, Any], bytes]]:
    """The elements of an array, with the line on which each begins; ends at the first that is not valid JSON."""
    with _opened(path, shown) as (_, content):
        data = content.read()
    findings.on_bytes(path.stat().st_size)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{shown}, line {line}: {REASONS['not_utf8']}; save the file as UTF-8") from None
    at, line, counted = _skip(text, text.index("[") + 1), 1, 0
    while text[at : at + 1] != "]":
        line, counted = line + text.count("\n", counted, at), at
        findings.rows += 1
        try:
            value, end = _decode(text, at)
            after = _skip(text, end)
            if text[after : after + 1] not in ("]", ","):
                raise RowFault("broken_json", detail=f"no comma or bracket after the object, character {end - at + 1}")
        except RowFault as fault:
            fault.detail += "; the rest of the file cannot be read"
            findings.add(shown, line, fault, text[at : at + RAW_CHARACTERS])
            return
        raw = text[at:end].encode("utf-8", "replace")
        try:
            yield line, _object(value, raw), raw
        except RowFault as fault:
            findings.add(shown, line, fault, raw)
        at = _skip(text, after + 1) if text[after] == "," else after
    if rest := text[at + 1 :].strip():
        line += text.count("\n", counted, text.index(rest[0], at + 1))
        findings.rows += 1
        fault = RowFault("broken_json", detail="something follows the array; it was not read")
        findings.add(shown, line, fault, rest[:RAW_CHARACTERS])


def parse_object(line: bytes) -> dict[str, Any]:
    """The JSON object that a line holds. Raises RowFault."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RowFault("not_utf8", detail=f"byte {error.start + 1} of the line") from None
    value, end = _decode(text, 0)
    if text[end:].strip():
        raise RowFault("broken_json", detail=f"something follows the object at character {end + 1}")
    return _object(value, line)


def _decode(text: str, at: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise RowFault("broken_json", detail=f"{error.msg} at character {error.pos - at + 1}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets nested too deep
        raise RowFault("broken_json", detail=str(error).split(";")[0]) from None


def _object(value: Any, raw: bytes) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RowFault("not_an_object", detail=f"found {kind_of_value(value)}")
    # an escaped half of a surrogate pair is valid JSON, but no text that can be stored
    if b"\\u" in raw:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise RowFault("not_utf8", detail="half of a surrogate pair") from None
    return value


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def kind_of_value(value: Any) -> str:
    """The JSON name of a value's type, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def text_field(row: dict[str, Any], name: str) -> str:
    """The text in a required field, stripped. Raises RowFault: missing, not a text, or empty."""
    if name not in row:
        raise RowFault("missing_field", name)
    return checked_text(row[name], name)


def checked_text(value: Any, name: str) -> str:
    """`value` stripped, if it is a text that is not empty. Raises RowFault."""
    if not isinstance(value, str):
        raise RowFault("wrong_type", name, f"expected a text, found {kind_of_value(value)}")
    if not (text := value.strip()):
        raise RowFault("empty_text", name)
    return text


def group_field(values: dict[str, Any], name: str = "group") -> str:
    """What a query's row says it comes from; empty when it says nothing. Raises RowFault: neither text nor integer."""
    value = values.get("group")
    if isinstance(value, int) and not isinstance(value, bool):
        value = _decimal(value, name)
    if value is not None and not isinstance(value, str):
        raise RowFault("wrong_type", name, f"expected a text, found {kind_of_value(value)}")
    return (value or "").strip()


def _decimal(value: int, name: str) -> str:
    try:
        return str(value)
    except ValueError:  # more digits than Python turns into text
        raise RowFault("wrong_type", name, "expected a text, found a number of thousands of digits") from None


def refuse_positive_equal_to_query(query_key: str, positive_key: str, name: str) -> None:
    """Raise RowFault when both texts have the same `text_id`, that is, are the same after normalisation."""
    if query_key == positive_key:
        raise RowFault("positive_equals_query", name)
