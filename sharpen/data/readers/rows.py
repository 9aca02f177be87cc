"""Bad rows, the closed set of reasons for one, and the checks of single fields."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from sharpen.terminal import one_line

RAW_CHARACTERS = 500
MAX_STORED_ROWS = 100_000
SHOWN_FAULTS = 5

# Closed: a reader may report these and no others.
REASONS = {
    "broken_json": "not valid JSON",
    "not_utf8": "not UTF-8 text",
    "not_an_object": "JSON, but not an object",
    "missing_field": "a required field is missing",
    "repeated_field": "the row names a field twice",
    "wrong_type": "a field has the wrong type",
    "empty_text": "a text is empty",
    "no_positive": "the query has no positive passage",
    "positive_equals_query": "a positive passage says the same as its query",
    "repeated_id": "the id was already given to another text",
    "unknown_id": "the judgement names an id that is in no file",
    "lost_id": "the judgement names a row that is itself in quarantine",
    "bad_grade": "the grade is not a whole number",
    "bad_score": "a score is not a finite number",
    "bad_time": "not a time",
    "score_length": "there are not as many scores as passages",
    "wrong_columns": "the line has not the columns that it should have",
    "broken_csv": "not valid CSV",
    "broken_python": "the file is not Python that this interpreter can parse",
}

# Faults that follow from another row's fault: they are quarantined too, but do not count towards the allowed share.
CONSEQUENCES = frozenset({"lost_id"})

# trec_eval and Parquet columns of grades have 32 bits
GRADE_LIMIT = 2**31
_GRADE = re.compile(r"[+-]?[0-9]{1,40}")
# seen as nothing although Unicode counts them among the letters and marks
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


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
        return one_line(f"{where}: {REASONS[self.reason]}" + (f" ({self.detail})" if self.detail else ""), 500)


class RowError(Exception):
    """Why one row cannot be used; never leaves the readers.

    Args:
        reason: of `REASONS`.
        field: of the row, where one is at fault.
        detail: what about it, in words.
    """

    def __init__(self, reason: str, field: str = "", detail: str = "") -> None:
        super().__init__(reason, field, detail)
        self.reason, self.field, self.detail = reason, field, detail


@dataclass
class ReadReport:
    """What reading brought up besides the data.

    Attributes:
        bad_rows: the first `MAX_STORED_ROWS` bad rows, in the order of reading.
        counts: reason -> number of bad rows, complete.
        notices: what was left aside or changed without harm, in words -> how often.
        rows: rows read, good and bad.
        repeats: texts that came again, for example ``query exact`` (to the letter) or ``passage normalised``, and given
            negatives that are positives (``negative is a positive``) -> how often.
        conflicts: pairs with two labels, by kind (``relevance`` or ``similarity``): text, passage, values; a table for
            each file or folder that has some.
        groups: text_key and group of queries that several groups name, whichever of them they get.
        on_bytes: called now and then with the number of bytes read since the last call.
    """

    bad_rows: list[BadRow] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    notices: Counter[str] = field(default_factory=Counter)
    repeats: Counter[str] = field(default_factory=Counter)
    conflicts: dict[str, list[pl.DataFrame]] = field(default_factory=dict)
    rows: int = 0
    groups: set[tuple[int, str]] = field(default_factory=set)
    on_bytes: Callable[[int], None] = lambda _: None

    def add(self, file: str, line: int, fault: RowError, raw: bytes | str) -> None:
        """Set one row aside: its `file`, `line` (from 1), `fault`, and the beginning of its content `raw`."""
        if fault.reason not in REASONS:
            raise ValueError(f"{fault.reason} is not a reason")
        text = raw[: 4 * RAW_CHARACTERS].decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
        text = text.encode("utf-8", "backslashreplace").decode()[:RAW_CHARACTERS]
        self.counts[fault.reason] += 1
        if len(self.bad_rows) < MAX_STORED_ROWS:
            self.bad_rows.append(BadRow(file, line, fault.reason, one_line(fault.field), one_line(fault.detail), text))

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


def kind_of_value(value: Any) -> str:
    """The JSON name of a value's type, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), type(value).__name__)


def text_field(row: dict[str, Any], name: str) -> str:
    """The text in a required field, stripped. Raises RowError: missing, not a text, or empty."""
    if name not in row:
        raise RowError("missing_field", name)
    return checked_text(row[name], name)


def checked_text(value: Any, name: str) -> str:
    """`value` stripped, if it is a text that is not empty. Raises RowError."""
    if not isinstance(value, str):
        raise RowError("wrong_type", name, f"expected a text, found {kind_of_value(value)}")
    text = value.strip()
    # most texts begin with a visible character of ASCII
    if not "!" <= text[:1] <= "~" and is_blank(text):
        raise RowError("empty_text", name)
    return text


def group_field(values: dict[str, Any], name: str = "group") -> str:
    """What a query's row says it comes from; empty when it says nothing. Raises RowError: neither text nor integer."""
    value = values.get("group")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is not None and not isinstance(value, str):
        raise RowError("wrong_type", name, f"expected a text, found {kind_of_value(value)}")
    return (value or "").strip()


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen: it is empty, or all white space, controls and zero-width characters."""
    return not any(map(_can_be_seen, text))


def _can_be_seen(character: str) -> bool:
    if character.isalnum():
        return character not in _FILLERS
    kind = unicodedata.category(character)
    is_variation_selector = "\ufe00" <= character <= "\ufe0f" or character >= "\U000e0100"
    return not (kind[0] == "Z" or kind in ("Cc", "Cf") or character in _FILLERS or is_variation_selector)


def parse_grade(text: str) -> int:
    """The grade of a judgement: a whole number in ASCII digits that fits 32 bits. Raises RowError."""
    if not _GRADE.fullmatch(text):
        raise RowError("bad_grade", "score", f"found {text[:40]!r}")
    number = int(text)
    if not -GRADE_LIMIT <= number < GRADE_LIMIT:
        raise RowError("bad_grade", "score", f"{text[:40]} does not fit 32 bits")
    return number


def refuse_positive_equal_to_query(query_key: int, positive_key: int, name: str) -> None:
    """Raise RowError about the field `name` when both texts' `text_key`, `query_key` and `positive_key`, are equal."""
    if query_key == positive_key:
        raise RowError("positive_equals_query", name)
