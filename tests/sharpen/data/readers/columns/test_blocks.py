"""Rows that are read in blocks become what they become when they are read one by one, whatever is wrong with them."""

from __future__ import annotations

import json
import random
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal

from sharpen.data.dataset import TABLES, DataSet
from sharpen.data.readers import ReadReport, detect_inputs, read_input
from sharpen.data.readers.columns import blocks, jsonl
from tests.mutations import mutated

WORDS = [
    "brake",
    "Brake",
    "pad",
    "ﬁt",
    "１",
    "ß",
    "  ",
    "\n",
    "\x00",
    "\x1c",
    "\u3000",
    "😀",
    "日本",
    ":",
    "\u200b",
    "é",
]
ODD_VALUES = [
    None,
    "",
    " ",
    0,
    1.5,
    True,
    [],
    {},
    ["a"],
    [None],
    [""],
    ["\u200b"],
    [1],
    [["a"]],
    {"a": 1},
    "sts",
    "nli",
]
NUMBERS = [0, -0.0, 1, 0.25, -3, 10**20, 5e-324, float("nan"), float("inf"), None, True, "1"]
RAW_LINES = [
    b'{"query": "a", "pos": ["b"], "query": "c"}',
    b'{"query": "a", "pos": ["b"], "neg": null, "neg": ["c"]}',
    b'{"query": "a", "pos": ["b"]} {"query": "a", "pos": ["b"]}',
    b'{"query": "\\ud800", "pos": ["b"]}',
    b'{"query": "\\ud83d\\ude00", "pos": ["b"]}',
    b'{"query": "a\xff", "pos": ["b"]}',
    b'{"query": "a\x01", "pos": ["b"]}',
    b'{"query": "a", "pos": ["b"], "pos_scores": [-0]}',
    b'{"query": "a", "pos": ["b"], "pos_scores": [1e999]}',
    b'{"query": "a", "pos": ["b"], "pos_scores": [' + b"9" * 320 + b"]}",
    b'{"query": "a", "pos": ["b"], "pos_scores": [0.1000000000000000055511151231257827021181583404541015625]}',
    b'{"query": "a", "pos": ["b"], "note": ' + b"[" * 3000 + b"}",
    b'\t {"query" : "a\\/\\u00e9", "pos":["b"] }  \r',
    *(b"", b"  ", b"{", b"}", b"{}", b"[]", b"[1]", b"null", b"\xef\xbb\xbf{}", b'{"query": "a", "pos": ["b"],}'),
]


def row(rng: random.Random) -> dict[str, Any]:
    """A row of FlagEmbedding's, more often right than not."""

    def text() -> str:
        return " ".join(rng.choice(WORDS) for _ in range(rng.choice((1, 2, 3))))

    values: dict[str, Any] = {"query": text(), "pos": [text() for _ in range(rng.choice((1, 1, 2)))]}
    optional = {
        "neg": [text() for _ in range(rng.choice((0, 1, 3)))],
        "prompt": rng.choice(("Find it: ", "", " ")),
        "type": rng.choice(("normal", "symmetric_sts", "symmetric_class", "nonsense", "")),
        "group": rng.choice(("manual.pdf", " ", "")) if rng.random() < 0.95 else 7,
    }
    values |= {name: value for name, value in optional.items() if rng.random() < 0.8} | {"note": "", "batch_size": 8}
    for name in ("pos", "neg"):
        if name in values and rng.random() < 0.6:
            values[f"{name}_scores"] = [rng.choice((0.5, 1, -2.25)) for _ in values[name]]
            if rng.random() < 0.2:
                values[f"{name}_scores"].append(rng.choice(NUMBERS))
            elif values[name] and rng.random() < 0.2:
                values[f"{name}_scores"][0] = rng.choice(NUMBERS)
    if rng.random() < 0.15:
        values[rng.choice([*values, "more", "time", "pos_id"])] = rng.choice(ODD_VALUES)
    if rng.random() < 0.03:
        del values[rng.choice(list(values))]
    return values


def lines(rng: random.Random, rows: int) -> bytes:
    """A file of rows, some of which are broken."""
    made = []
    for _ in range(rows):
        line = json.dumps(row(rng), ensure_ascii=rng.random() < 0.5).encode()
        if rng.random() < 0.04:
            line = rng.choice((mutated(line, rng), rng.choice(RAW_LINES)))
        made.append(line)
    return b"\n".join(made)


def read(path: Path) -> tuple[DataSet, ReadReport]:
    """The data and the report of a file."""
    report = ReadReport()
    [item] = detect_inputs(str(path))
    return read_input(item, "rows", "train", report), report


@pytest.mark.parametrize("seed", range(5))
def test_blocks_are_read_as_single_rows_are(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    path = tmp_path / "rows.jsonl"
    usual = {"type": "normal", "note": "seen", "batch_size": 8}
    first = [{"query": f"q{number}", "pos": [f"p{number}"], **usual} for number in range(jsonl.LOOKED_AT)]
    path.write_bytes(b"\n".join([*(json.dumps(values).encode() for values in first), lines(rng, 500)]))
    monkeypatch.setattr(blocks, "LEAST_ROWS", rng.choice((2, 4)))
    monkeypatch.setattr(blocks, "BLOCK_ROWS", rng.choice((8, 64, 20_000)))
    in_blocks = []
    original = blocks.BlockReader._add_table

    def counted(self: blocks.BlockReader, table: Any) -> list[int]:
        odd = original(self, table)
        in_blocks.append(table.num_rows - len(odd))
        return odd

    monkeypatch.setattr(blocks.BlockReader, "_add_table", counted)
    found, report = read(path)
    monkeypatch.setattr(jsonl, "kinds_of_fields", lambda *_: None)
    expected, expected_report = read(path)
    for name in TABLES:
        assert_frame_equal(getattr(found, name), getattr(expected, name))
    assert found.fingerprint() == expected.fingerprint()
    for one in fields(ReadReport):
        if one.name not in ("on_bytes", "conflicts"):
            assert getattr(report, one.name) == getattr(expected_report, one.name), one.name
    assert sum(in_blocks) > 20 and report.counts.total() > 20


def test_a_file_with_fields_that_are_read_one_by_one_has_no_blocks(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"query": f"q{n}", "pos": [f"p{n}"], "pos_id": [f"d{n}"], "time": "2026-01-31"} for n in range(300)]
    path.write_text("\n".join(map(json.dumps, rows)))
    data, report = read(path)
    assert report.rows == 300 and sorted(data.corpus["passage_id"]) == sorted(f"d{n}" for n in range(300))
    assert data.queries["time"].null_count() == 0
