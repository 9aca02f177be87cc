"""CSV and TSV files of pairs: what stands in them, and every fault with its line."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from sharpen.data.dataset import DataSet
from sharpen.data.readers import ReadReport, detect_inputs, read_dataset, read_input
from sharpen.errors import InputError
from tests.sharpen.data.input_files import write_rows


def read(path: Path) -> tuple[ReadReport, DataSet]:
    findings = ReadReport()
    [item] = detect_inputs(str(path))
    return findings, read_input(item, "source", "train", findings)


ROWS = [
    ("one", 'the "first", with a comma', "", "n 1\nover two lines", "find: ", "g"),
    ("two", "second", "also\tsecond", "", "", ""),
]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz", "tsv.gz"])
def test_a_file_is_the_same_as_rows_of_flagembedding(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    with (gzip.open if suffix.endswith(".gz") else open)(path, "wt", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if "tsv" in suffix else ",")
        writer.writerow(["Query", " positive ", "positive_2", "negative", "prompt", "group"])
        writer.writerows(ROWS)
    same = [
        {"query": query, "pos": [p for p in (first, second) if p], "neg": [negative] if negative else []}
        | ({"prompt": prompt} if prompt else {})
        | ({"group": group} if group else {})
        for query, first, second, negative, prompt, group in ROWS
    ]
    (tmp_path / "other").mkdir()
    expected = read_dataset(str(write_rows(tmp_path / "other" / "rows.jsonl", same)))
    assert read_dataset(str(path)).fingerprint() == expected.fingerprint()


BAD = [
    (b"a,b,c", "wrong_columns", "", "found 3, the first line names 2"),
    (b"a", "wrong_columns", "", "found 1"),
    (b',"b"', "empty_text", "query", ""),
    (b"a, ", "no_positive", "positive", ""),
    (b"a,A ", "positive_equals_query", "positive", ""),
    (b"caf\xe9,b", "not_utf8", "", ""),
    (b'a,"b"c', "broken_csv", "", "expected after"),
]


@pytest.mark.parametrize(("line", "reason", "field", "detail"), BAD)
def test_a_bad_row_is_set_aside(tmp_path: Path, line: bytes, reason: str, field: str, detail: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'query,positive\nx,"y\nz"\n\n' + line + b"\nv,w\n")
    findings, data = read(path)
    [bad] = findings.bad_rows
    assert (bad.line, bad.reason, bad.field) == (5, reason, field) and detail in bad.detail
    assert bad.raw.startswith(line.decode("utf-8", "backslashreplace")[:3])
    assert findings.rows == 3 and sorted(data.queries["text"]) == ["v", "x"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"query,reply\na,b\n", "line 1: no column positive; name the columns there"),
        (b"a;b\n", "line 1: no column query and no column positive"),
        (b"query,positive,query\n", "line 1: two columns are named query"),
        (b'query,positive\na,b\nc,"d\ne,f\ng,h\n', "line 3: a quote is not closed up to the file's end"),
        (b"query,positive\n", "holds no row"),
        (b"\xff\xfeq\0", "UTF-16"),
        (b"", "the file is empty"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert len(caught.value.faults) == 1 and str(path) in caught.value.faults[0]


def test_columns_that_are_not_used_are_told_and_cells_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("query,positive,note\na," + "word " * 50_000 + ",x\n")
    findings, data = read(path)
    assert findings.notices == {f"{path}: column 'note' is not used": 1}
    assert data.corpus["text"].str.len_chars().item() == 249_999
    assert csv.field_size_limit() == 131_072
