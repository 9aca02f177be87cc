"""What is wrong with a row is found, with its file, line, field and reason, and the other rows go on."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from sharpen.data.readers import REASONS, ReadReport, RowError, detect_inputs, read_corpus, read_dataset, read_input
from sharpen.data.readers.rows import MAX_STORED_ROWS, RAW_CHARACTERS
from sharpen.errors import InputError
from tests.sharpen.data.input_files import pair, passage, question, write_beir, write_rows

BAD_ROWS = [
    (b'{"query": "a", "pos": ["b"]', "broken_json", ""),
    (b'{"query": "a", "pos": ["b"]} {}', "broken_json", ""),
    (b'{"query": "a", "pos": ["b"], "pos_scores": [' + b"9" * 5000 + b"]}", "bad_score", "pos_scores[0]"),
    (b'{"query": "a", "pos": ["b"], "pos_scores": [' + b"9" * 400 + b"]}", "bad_score", "pos_scores[0]"),
    (b'{"query": "a", "pos": ["b"], "neg": ["c"], "neg_scores": [-' + b"9" * 400 + b"]}", "bad_score", "neg_scores[0]"),
    (b'{"query": "a", "pos": ["b"], "query": "c"}', "repeated_field", "query"),
    (b'{"query": {"a": 1, "a": 2}, "pos": ["b"]}', "wrong_type", "query"),
    ({"query": "\u200b\ufeff \u2060", "pos": ["b"]}, "empty_text", "query"),
    ({"query": "a", "pos": ["b", "\u3164\u200d\ufe0f"]}, "empty_text", "pos[1]"),
    (b"[" * 100_000, "broken_json", ""),
    (b'{"query": "caf\xe9", "pos": ["b"]}', "not_utf8", ""),
    (b'{"query": "half \\ud83d", "pos": ["b"]}', "not_utf8", ""),
    (b'["query", "pos"]', "not_an_object", ""),
    (b'"query"', "not_an_object", ""),
    ({"pos": ["b"]}, "missing_field", "query"),
    ({"query": "a"}, "missing_field", "pos"),
    ({"query": None, "pos": ["b"]}, "wrong_type", "query"),
    ({"query": ["a"], "pos": ["b"]}, "wrong_type", "query"),
    ({"query": "a", "pos": "a text, not a list"}, "wrong_type", "pos"),
    ({"query": "a", "pos": ["b", 3]}, "wrong_type", "pos[1]"),
    ({"query": "a", "pos": ["b"], "neg": "c"}, "wrong_type", "neg"),
    ({"query": "a", "pos": ["b"], "neg": ""}, "wrong_type", "neg"),
    ({"query": "a", "pos": ["b"], "neg": ["c", None]}, "wrong_type", "neg[1]"),
    ({"query": "a", "pos": ["b"], "prompt": 1}, "wrong_type", "prompt"),
    ({"query": "a", "pos": ["b"], "pos_scores": 0.5}, "wrong_type", "pos_scores"),
    ({"query": " \t", "pos": ["b"]}, "empty_text", "query"),
    ({"query": "a", "pos": ["b", ""]}, "empty_text", "pos[1]"),
    ({"query": "a", "pos": ["b"], "neg": [" "]}, "empty_text", "neg[0]"),
    ({"query": "a", "pos": []}, "no_positive", "pos"),
    ({"query": "Same  Text", "pos": ["b", "ｓame text "]}, "positive_equals_query", "pos[1]"),
    ({"query": "a", "pos": ["b"], "pos_scores": ["1"]}, "bad_score", "pos_scores[0]"),
    ({"query": "a", "pos": ["b"], "pos_scores": [True]}, "bad_score", "pos_scores[0]"),
    (b'{"query": "a", "pos": ["b"], "pos_scores": [NaN]}', "bad_score", "pos_scores[0]"),
    (b'{"query": "a", "pos": ["b"], "neg": ["c"], "neg_scores": [1e999]}', "bad_score", "neg_scores[0]"),
    ({"query": "a", "pos": ["b"], "pos_scores": [1, 2]}, "score_length", "pos_scores"),
    ({"query": "a", "pos": ["b"], "neg": ["c"], "neg_scores": []}, "score_length", "neg_scores"),
    ({"query": "a", "pos": ["b"], "neg_scores": [1]}, "score_length", "neg_scores"),
]


def read(path: Path) -> tuple[ReadReport, list]:
    findings = ReadReport()
    return findings, [read_input(item, "source", "train", findings) for item in detect_inputs(str(path))]


@pytest.mark.parametrize(("row", "reason", "field"), BAD_ROWS)
def test_a_bad_row_is_set_aside_with_its_place_and_reason(tmp_path: Path, row, reason: str, field: str) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [pair(1), b"", row, pair(2)])
    findings, [data] = read(path)
    [bad] = findings.bad_rows
    assert (bad.file, bad.line, bad.reason, bad.field) == (str(path), 3, reason, field)
    raw = row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode()
    assert bad.raw == raw.decode("utf-8", "backslashreplace")[:RAW_CHARACTERS]
    assert str(bad).startswith(f"{path}, line 3") and REASONS[reason] in str(bad)
    assert findings.counts == {reason: 1} and findings.bad == 1 and findings.rows == 3
    assert data.queries.height == 2 and data.corpus.height == 2


BEIR_FAULTS = [
    ("corpus.jsonl", {"title": "t", "text": "x"}, "missing_field", "_id"),
    ("corpus.jsonl", {"_id": "x", "title": "t"}, "missing_field", "text"),
    ("corpus.jsonl", {"_id": "x", "text": 5}, "wrong_type", "text"),
    ("corpus.jsonl", {"_id": "x", "text": None}, "wrong_type", "text"),
    ("corpus.jsonl", {"_id": "x", "title": [], "text": "x"}, "wrong_type", "title"),
    ("corpus.jsonl", {"_id": True, "text": "x"}, "wrong_type", "_id"),
    ("corpus.jsonl", {"_id": "x", "title": " ", "text": ""}, "empty_text", "text"),
    ("corpus.jsonl", {"_id": "p1", "text": "another"}, "repeated_id", "_id"),
    ("corpus.jsonl", {"_id": "x", "title": "\u200b", "text": "\u00ad"}, "empty_text", "text"),
    ("corpus.jsonl", b'{"_id": "x", "text": "one", "text": "two"}', "repeated_field", "text"),
    ("corpus.jsonl", b'{"_id": ' + b"1" * 400 + b', "text": "one"}', "wrong_type", "_id"),
    ("corpus.jsonl", b"{", "broken_json", ""),
    ("queries.jsonl", {"_id": "x"}, "missing_field", "text"),
    ("queries.jsonl", {"_id": "", "text": "x"}, "empty_text", "_id"),
    ("queries.jsonl", {"_id": "q1", "text": "another"}, "repeated_id", "_id"),
    ("qrels/train.tsv", "q1\tp1", "wrong_columns", ""),
    ("qrels/train.tsv", "q1 0 p1 1", "wrong_columns", ""),
    ("qrels/train.tsv", "q1\t0\tp1\t1", "wrong_columns", ""),
    ("qrels/train.tsv", "nobody\tp1\t1", "unknown_id", "query-id"),
    ("qrels/train.tsv", "q1\tnothing\t1", "unknown_id", "corpus-id"),
    ("qrels/train.tsv", "q1\tp1\t0.5", "bad_grade", "score"),
    ("qrels/train.tsv", "q1\tp1\t\u00b2", "bad_grade", "score"),
    ("qrels/train.tsv", "q1\tp1\t1_0", "bad_grade", "score"),
    ("qrels/train.tsv", "q1\tp1\t" + "1" * 5000, "bad_grade", "score"),
    ("qrels/train.tsv", "q1\tp1\t", "wrong_columns", ""),
    ("qrels/train.tsv", "q1\tp1\t99999999999", "bad_grade", "score"),
    ("qrels/train.tsv", b"q\xff\tp1\t1", "not_utf8", ""),
    ("qrels/train.tsv", "same\tSAME\t1", "positive_equals_query", "corpus-id"),
]


@pytest.mark.parametrize(("name", "row", "reason", "field"), BEIR_FAULTS)
def test_a_bad_row_of_a_beir_folder_is_set_aside(tmp_path: Path, name: str, row, reason: str, field: str) -> None:
    corpus = [passage(1), {"_id": "SAME", "title": "The  same", "text": "question"}]
    queries = [question(1), {"_id": "same", "text": "the same QUESTION"}]
    folder = write_beir(tmp_path / "set", corpus, queries, {"train": ["q1\tp1\t1"]})
    with (folder / name).open("ab") as file:
        raw = row if isinstance(row, bytes) else row.encode() if isinstance(row, str) else json.dumps(row).encode()
        file.write(raw + b"\n")
    findings, [data] = read(folder)
    [bad] = findings.bad_rows
    line = len((folder / name).read_bytes().splitlines())
    assert (bad.file, bad.line, bad.reason, bad.field) == (f"{folder}/{name}", line, reason, field)
    assert data.qrels.rows() == [("q1", "p1", 1, "train")]


def test_judgements_of_a_row_in_quarantine_do_not_count_as_further_faults(tmp_path: Path) -> None:
    broken = b'{"_id": "p2", "text": "no end'
    folder = write_beir(
        tmp_path / "set",
        [passage(1), broken, {"_id": "p3", "text": ""}],
        [question(1)],
        {"test": ["q1\tp1\t1", "q1\tp2\t1", "q1\tp3\t1"]},
    )
    findings, _ = read(folder)
    assert findings.counts == {"broken_json": 1, "empty_text": 1, "lost_id": 2}
    assert findings.bad == 2


def test_raw_rows_are_cut_and_the_list_of_bad_rows_is_bounded() -> None:
    findings = ReadReport()
    for line in range(MAX_STORED_ROWS + 5):
        findings.add("f", line, RowError("broken_json"), b"x" * 5000 if line == 0 else b"x")
    assert len(findings.bad_rows[0].raw) == RAW_CHARACTERS
    assert len(findings.bad_rows) == MAX_STORED_ROWS and findings.bad == MAX_STORED_ROWS + 5


def test_reasons_are_closed() -> None:
    with pytest.raises(ValueError, match="no_such_reason"):
        ReadReport().add("f", 1, RowError("no_such_reason"), b"")


def test_windows_line_ends_byte_order_mark_and_gzip(tmp_path: Path) -> None:
    rows = [json.dumps(pair(n)).encode() for n in (1, 2)]
    data = b"\xef\xbb\xbf" + b"\r\n".join(rows) + b"\r\n\r\n"
    (tmp_path / "a.jsonl").write_bytes(data)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(data))
    plain, [first] = read(tmp_path / "a.jsonl")
    packed, [second] = read(tmp_path / "b.jsonl.gz")
    assert plain.counts == packed.counts == {}
    assert first.queries.equals(second.queries) and first.queries.height == 2


def test_a_damaged_gzip_file_is_one_line(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl.gz", [pair(n) for n in range(100)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="damaged gzip"):
        read(path)


def test_an_array_of_objects(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("\n[" + json.dumps(pair(1)) + ",\n\n5,\n" + json.dumps(pair(2), indent=1) + "\n]\n", "utf-8")
    findings, [data] = read(path)
    assert [(bad.line, bad.reason, bad.raw) for bad in findings.bad_rows] == [(4, "not_an_object", "5")]
    assert data.queries.height == 2 and findings.rows == 3


ROW = '{"query": "a", "pos": ["b"]}'


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        (f'[{ROW}\n{{"query"', "line 2, column 1", "no comma or bracket"),
        (f'[{ROW},\n{{"query": }}]', "line 2, column 11", "Expecting value"),
        (f"[{ROW},\n {ROW}", "line 2, column 30", "ends inside the array"),
        (f"[{ROW},\n" + ROW[:9], "line 2", "ends inside the array"),
        ("[", "line 1, column 2", "ends inside the array"),
        (f"[{ROW},\n{'[' * 100_000}", "line 2, column 1", "recursion"),
        (f"[{ROW}]\n\n[]", "line 3, column 1", "something follows the array"),
    ],
)
def test_a_broken_array_is_refused_with_its_place(tmp_path: Path, text: str, where: str, what: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=what) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, {where}") and len(caught.value.faults) == 1


@pytest.mark.parametrize("cut", ["comma", "end"])
def test_an_array_with_a_fault_in_its_middle_is_not_used_up_to_there(tmp_path: Path, cut: str) -> None:
    rows = [json.dumps(pair(number)) for number in range(2000)]
    text = "[" + ",\n".join(rows) + "]"
    text = text.replace(rows[999] + ",", rows[999]) if cut == "comma" else text[: text.index(rows[1000]) + 20]
    path = tmp_path / "rows.json"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=r"line 1001, column (1: no comma|\d+: Unterminated string)"):
        read(path)


def test_a_whole_array_on_the_first_line_of_json_lines_is_not_one_bad_row(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [json.dumps([pair(1), pair(2)]).encode()])
    with pytest.raises(InputError, match=r"line 1: a JSON array of 2 elements; name the file \*\.json"):
        read(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_a_file_of_another_encoding_is_one_line(tmp_path: Path, name: str, encoding: str) -> None:
    path = tmp_path / name
    path.write_text(f"[{ROW}]", encoding)
    with pytest.raises(InputError, match="is UTF-16 or UTF-32 text; save it as UTF-8"):
        read(path)


def test_line_ends_of_old_macs(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\r".join([ROW.encode(), b"{", b"", ROW.replace('"a"', '"c"').encode(), b""]))
    findings, [data] = read(path)
    assert [(bad.line, bad.reason) for bad in findings.bad_rows] == [(2, "broken_json")]
    assert data.queries.height == 2 and findings.rows == 3


def test_many_unknown_fields_are_told_in_few_lines(tmp_path: Path) -> None:
    rows = [
        pair(n, common=1, **{f"field_{n}_{m}": 0 for m in range(50)}, **{"x" * 9_000 + str(n): 1}) for n in range(80)
    ]
    findings, _ = read(write_rows(tmp_path / "rows.jsonl", rows))
    notices = dict(findings.notices)
    assert notices[f"{tmp_path}/rows.jsonl: field 'common' is not used"] == 80
    assert len(notices) <= 11 and notices[f"{tmp_path}/rows.jsonl: 4,071 more fields are not used"] == 4071
    assert max(map(len, notices)) < 300


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.jsonl.gz"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="pipe"):
        read(tmp_path / name)
    for reader in (read_corpus, read_dataset):
        with pytest.raises(InputError, match="pipe"):
            reader(str(tmp_path / name))


def test_json_lines_under_the_suffix_json_are_read_as_lines(tmp_path: Path) -> None:
    findings, [data] = read(write_rows(tmp_path / "rows.json", [pair(1), pair(2)]))
    assert not findings.counts and data.queries.height == 2


def test_bytes_read_add_up_to_the_sizes_of_the_files(tmp_path: Path) -> None:
    for path in (
        write_rows(tmp_path / "a" / "rows.jsonl", [pair(n) for n in range(2500)]),
        write_rows(tmp_path / "b" / "rows.jsonl.gz", [pair(n) for n in range(2500)]),
    ):
        seen: list[int] = []
        findings = ReadReport(on_bytes=seen.append)
        read_input(detect_inputs(str(path))[0], "source", "train", findings)
        assert sum(seen) == path.stat().st_size
