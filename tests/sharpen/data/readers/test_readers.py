"""Any input that a user may name becomes the same kind of data set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from sharpen.data.dataset import CORPUS, QUERIES, DataSet
from sharpen.data.readers import (
    ReadReport,
    beir,
    combine,
    detect_inputs,
    distinct_names,
    input_name,
    read_corpus,
    read_dataset,
    split_addresses,
)
from sharpen.data.readers.columns import delimited, jsonl
from sharpen.data.readers.detect import format_of_folder
from sharpen.data.text import key_id, text_key
from sharpen.errors import InputError
from sharpen.store import storage
from tests.sharpen.data.input_files import pair, passage, question, write_beir, write_rows


def test_flagembedding_rows_become_tables(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "web.jsonl",
        [
            {"query": "Q1", "pos": ["P1", "P2"], "neg": ["N1", "P1"], "pos_scores": [2, 1.5], "neg_scores": [0.5, 3]},
            {"query": "q1", "pos": ["P3"], "neg": []},
            {"query": "Q1", "pos": ["P1"], "prompt": "Find: "},
            {"query": "Q2", "pos": ["p 1"], "neg": None, "pos_scores": None, "prompt": " "},
        ],
    )
    data = read_dataset(str(path))
    q1, q2, prompted = (key_id(text_key(text)) for text in ("q1", "q2", "Find: \nQ1"))
    ids = {text: key_id(text_key(text)) for text in ("P1", "P2", "P3", "N1", "p 1")}
    assert set(data.queries.select(list(QUERIES)).rows()) == {
        (q1, "Q1", "train", "web", "", None),
        (q2, "Q2", "train", "web", "", None),
        (prompted, "Q1", "train", "web", "Find: ", None),
    }
    assert {(row[0], row[2]) for row in data.corpus.rows()} == {(key, text) for text, key in ids.items()}
    assert set(data.qrels.select("query_id", "passage_id").rows()) == {
        (q1, ids["P1"]),
        (q1, ids["P2"]),
        (q1, ids["P3"]),
        (prompted, ids["P1"]),
        (q2, ids["p 1"]),
    }
    assert data.given_negatives.rows() == [(q1, ids["N1"])]  # P1 is a positive of this query
    assert set(data.teacher_scores.rows()) == {(q1, ids["P1"], 3.0), (q1, ids["P2"], 1.5), (q1, ids["N1"], 0.5)}


def test_a_query_keeps_the_group_that_its_rows_name(tmp_path: Path) -> None:
    rows = [
        {"query": "Q1", "pos": ["P1"], "group": "manual B"},
        {"query": "q1", "pos": ["P2"], "group": "manual A"},
        {"query": "Q2", "pos": ["P3"], "group": 7},
        {"query": "Q3", "pos": ["P4"], "group": " "},
        {"query": "Q4", "pos": ["P5"], "group": None},
    ]
    data = read_dataset(str(write_rows(tmp_path / "web.jsonl", rows)))
    found = dict(data.queries.select("text", "group").iter_rows())
    assert found == {"Q1": "manual A", "Q2": "7", "Q3": None, "Q4": None}
    path = write_rows(tmp_path / "bad.jsonl", [{"query": "Q", "pos": ["P"], "group": ["a"]}])
    with pytest.raises(InputError, match=r"bad\.jsonl, line 1, group: .*expected a text, found a list"):
        read_dataset(str(path))
    path = tmp_path / "huge.jsonl"
    path.write_text('{"query": "Q", "pos": ["P"], "group": ' + "9" * 300 + "}\n")
    assert read_dataset(str(path)).queries["group"].to_list() == ["9" * 300]


def test_a_beir_query_keeps_the_group_of_its_row_or_of_its_metadata(tmp_path: Path) -> None:
    queries = [
        {"_id": "q1", "text": "one", "group": "a", "metadata": {"group": "b"}},
        {"_id": "q2", "text": "two", "metadata": {"group": "b"}},
        {"_id": "q3", "text": "three", "metadata": {"url": "x"}},
    ]
    folder = write_beir(tmp_path / "set", [passage(1)], queries, {"test": [f"q{n}\tp1\t1" for n in (1, 2, 3)]})
    assert read_dataset(str(folder)).queries["group"].to_list() == ["a", "b", None]
    queries[1]["metadata"] = {"group": 1.5}
    write_beir(tmp_path / "bad", [passage(1)], queries, {"test": ["q1\tp1\t1"]})
    with pytest.raises(InputError, match=r"line 2, metadata\.group: .*found a number"):
        read_dataset(str(tmp_path / "bad"))


def test_fields_that_are_not_used_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_rows(tmp_path / "a.jsonl", [pair(1, kind="normal"), pair(2, kind="normal", extra=1)])
    read_dataset(str(path))
    told = capsys.readouterr().out
    assert f"{path}: field 'kind' is not used (2x)" in told and f"{path}: field 'extra' is not used (1x)" in told


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    rows = [pair(1), {"query": "QUESTION number 1?", "pos": ["Passage  number 1", "other"]}, pair(2, neg=["other"])]
    first = read_dataset(str(write_rows(tmp_path / "1" / "a.jsonl", rows)))
    second = read_dataset(str(write_rows(tmp_path / "2" / "a.jsonl", rows[::-1])))
    assert first.fingerprint() == second.fingerprint()


@pytest.mark.parametrize("header", [True, False])
def test_a_beir_folder(tmp_path: Path, header: bool) -> None:
    folder = write_beir(
        tmp_path / "fiqa",
        [passage(1, "Title"), {"_id": 2, "text": "no title"}, {"_id": "p3", "title": "only a title", "text": ""}],
        [question(1), question(2), question(3), question(4)],
        {"train": ["q1\tp1\t1", "q1\t2\t0"], "validation": ["q2\tp3\t2"], "test": ["q3\tp1\t1", "q3\tp1\t2"]},
        header,
    )
    data = read_dataset(str(folder))
    assert data.corpus.select(list(CORPUS)).rows() == [
        ("2", "", "no title"),
        ("p1", "Title", "passage number 1"),
        ("p3", "only a title", ""),
    ]
    assert [(row[0], row[2], row[3]) for row in data.queries.rows()] == [
        ("q1", "train", "fiqa"),
        ("q2", "dev", "fiqa"),
        ("q3", "test", "fiqa"),
    ]
    assert data.qrels_of("train") == {"q1": {"p1": 1, "2": 0}}
    assert data.qrels_of("dev") == {"q2": {"p3": 2}}
    assert data.qrels_of("test") == {"q3": {"p1": 2}}
    assert data.passage_texts()[1] == "Title passage number 1"


def test_a_query_judged_in_two_splits_is_held_out_and_keeps_its_judgements(tmp_path: Path) -> None:
    folder = write_beir(
        tmp_path / "set", [passage(1), passage(2)], [question(1)], {"train": ["q1\tp1\t1"], "test": ["q1\tp2\t1"]}
    )
    data = read_dataset(str(folder))
    assert data.queries["split"].to_list() == ["test"]
    assert data.qrels_of("train") == {"q1": {"p1": 1}} and data.qrels_of("test") == {"q1": {"p2": 1}}


def test_a_test_judgement_of_an_equal_text_is_a_benchmarks_own_business(tmp_path: Path) -> None:
    folder = write_beir(
        tmp_path / "quora",
        [{"_id": "d", "text": "what is x?"}],
        [{"_id": "q", "text": "What is X?"}],
        {"test": ["q\td\t1"]},
    )
    assert read_dataset(str(folder)).qrels_of("test") == {"q": {"d": 1}}


def test_a_finished_data_set_comes_back_as_it_was(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [pair(1, neg=["n"], neg_scores=[0.25]), pair(2)])
    data = read_dataset(str(source))
    with storage.publish(str(tmp_path / "done"), producer="test") as folder:
        data.save(folder)
    assert read_dataset(str(tmp_path / "done")).fingerprint() == data.fingerprint()
    assert isinstance(read_dataset(str(tmp_path / "done")), DataSet)


def test_a_finished_data_set_that_another_program_changed_is_one_line(tmp_path: Path) -> None:
    data = read_dataset(str(write_rows(tmp_path / "a.jsonl", [pair(n) for n in range(3)])))
    faulty = {
        "qrels: passage_id .* is not in corpus": replace(data, corpus=data.corpus.head(2)),
        "queries: column text has empty cells": replace(data, queries=data.queries.with_columns(text=None)),
        "corpus: column text_key has empty cells": replace(data, corpus=data.corpus.with_columns(text_key=None)),
        "qrels: 'other' is no split": replace(data, qrels=data.qrels.with_columns(split=pl.lit("other"))),
        "corpus: a passage_id stands twice": replace(data, corpus=pl.concat([data.corpus, data.corpus])),
    }
    for number, (fault, made) in enumerate(faulty.items()):
        address = str(tmp_path / f"own{number}")
        with storage.publish(address, producer="test") as folder:
            made.save(folder)
        with pytest.raises(InputError, match=f"^{address}: {fault}.*run it again$"):
            read_dataset(address)


def test_python_code_is_read_like_any_other_input(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('def f(a):\n    """Add one to a number."""\n    b = a + 1\n    return b\n')
    rows = write_rows(tmp_path / "rows.jsonl", [pair(1)])
    data = read_dataset(f"python-source:{tmp_path},{rows}")
    assert set(data.queries["source"]) == {tmp_path.name, "rows"} and data.corpus.height == 2
    assert read_corpus(f"python-source:{tmp_path}").corpus.height == 1


def test_an_unfinished_data_set_is_refused(tmp_path: Path) -> None:
    read_dataset(str(write_rows(tmp_path / "a.jsonl", [pair(1)]))).save(tmp_path / "half")
    with pytest.raises(InputError, match=r"unfinished data set \(no _SUCCESS\.json\)"):
        read_dataset(str(tmp_path / "half"))


def test_several_addresses_are_several_sources(tmp_path: Path) -> None:
    one = write_rows(tmp_path / "one.jsonl", [pair(1), pair(2)])
    folder = write_rows(tmp_path / "more" / "two.jsonl", [pair(1), pair(3)]).parent
    write_rows(folder / "one.jsonl.gz", [pair(4)])
    write_rows(folder / ".hidden.jsonl", [b"not read"])
    data = read_dataset(f"{one}, {folder}")
    sources = set(data.queries["source"])
    hashed = {name for name in sources if name.startswith("one-")}
    assert len(hashed) == 2 and sources - hashed == {"two"}
    assert data.corpus.height == 4
    # question 1 stands in two files: two queries, each with the file's name in its id
    assert data.queries.height == 5
    shared = data.queries.filter(data.queries["text"] == "question number 1?")["query_id"].to_list()
    assert sorted(name.endswith(key_id(text_key("question number 1?"))) for name in shared) == [True, True]
    assert {name.partition(":")[0] for name in shared} == {
        "two",
        next(iter(hashed & {n.partition(":")[0] for n in shared})),
    }


def test_one_id_never_means_two_passages(tmp_path: Path) -> None:
    a = write_beir(tmp_path / "a", [passage(1), passage(2)], [question(1)], {"test": ["q1\tp1\t1"]})
    b = write_beir(
        tmp_path / "b",
        [{"_id": "p1", "text": "another"}, passage(2)],
        [{"_id": "q1", "text": "b?"}],
        {"test": ["q1\tp1\t1"]},
    )
    data = read_dataset(json.dumps([str(a), str(b)]))
    assert data.corpus["passage_id"].to_list() == ["a:p1", "b:p1", "p2"]
    assert data.qrels_of("test") == {"a:q1": {"a:p1": 1}, "b:q1": {"b:p1": 1}}
    backwards = read_dataset(json.dumps([str(b), str(a)]))
    assert backwards.fingerprint() == data.fingerprint()


def test_strict_reading_names_the_first_faults_and_counts_all(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [pair(1), *[b"{"] * 7, {"query": "a", "pos": []}])
    with pytest.raises(InputError) as caught:
        read_dataset(str(path))
    *faults, last = caught.value.faults
    assert [fault.split(":")[0] for fault in faults] == [f"{path}, line {line}" for line in range(2, 7)]
    assert last.startswith("8 bad rows of 9 (7 broken_json, 1 no_positive). Repair the rows")


UNUSABLE = {
    "missing": "no such file or folder",
    "empty.jsonl": "the file is empty",
    "blank.jsonl": "holds no row",
    "table.txt": "not a file that can be read",
    "folder": "no file that can be read",
    "half_beir": "lacks queries.jsonl, qrels",
    "no_splits": "lacks qrels/\\*.tsv; the files in qrels/ are train.tsv, dev.tsv, test.tsv",
    "empty_beir": "corpus.jsonl: the file is empty",
    "blank_beir": "holds no passage",
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_input_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "blank.jsonl").write_text("\n \n")
    (tmp_path / "table.txt").write_text("query,pos\n")
    write_rows(tmp_path / "folder" / "inner" / "a.txt", [pair(1)])
    write_rows(tmp_path / "half_beir" / "corpus.jsonl", [passage(1)])
    write_beir(tmp_path / "no_splits", [passage(1)], [question(1)], {"all": ["q1\tp1\t1"]})
    write_beir(tmp_path / "empty_beir", [], [question(1)], {"test": ["q1\tp1\t1"]})
    blank = write_beir(tmp_path / "blank_beir", [], [], {"test": []})
    (blank / "corpus.jsonl").write_text("\n")
    (blank / "queries.jsonl").write_text("\n")
    with pytest.raises(InputError, match=UNUSABLE[name]) as caught:
        read_dataset(str(tmp_path / name))
    assert len(caught.value.faults) == 1 and str(tmp_path / name) in caught.value.faults[0]


def test_no_address() -> None:
    with pytest.raises(InputError, match="no address"):
        read_dataset(" , ")


def test_addresses(tmp_path: Path) -> None:
    assert split_addresses("a, s3://b/c ,,a") == ["a", "s3://b/c"]
    assert split_addresses('["a,b", "c"]') == ["a,b", "c"]
    assert split_addresses("") == []
    odd = tmp_path / "a,b.jsonl"
    odd.touch()
    assert split_addresses(str(odd)) == [str(odd)]
    for wrong in ("[1]", "[", '["a", null]'):
        with pytest.raises(InputError, match="addresses"):
            split_addresses(wrong)


def test_kinds_are_told_from_the_names_of_the_files() -> None:
    names = ["corpus.jsonl.gz", "queries.jsonl", "qrels/test.tsv", "qrels/notes.tsv", "train.jsonl", ".git/x"]
    assert format_of_folder("d", names) == (beir.FORMAT, ["corpus.jsonl.gz", "queries.jsonl", "qrels/test.tsv"])
    names = ["b.jsonl", "a.json.gz", "c.txt", "sub/d.jsonl", "e.csv"]
    assert format_of_folder("d", names) == (jsonl.FORMAT, ["a.json.gz", "b.jsonl"])
    assert format_of_folder("d", ["e.csv", "c.txt", "f.tsv.gz"]) == (delimited.FORMAT, ["e.csv", "f.tsv.gz"])


def test_names_of_sources() -> None:
    assert [input_name(a) for a in ("/x/a.b.jsonl.gz", "s3://b/set/?endpoint=http://h", "rows.json")] == [
        "a.b",
        "set",
        "rows",
    ]
    names = distinct_names([("a", "/1/a"), ("b", "/1/b"), ("a", "/2/a")])
    assert names[1] == "b" and names[0] != names[2] and all(name.startswith("a-") for name in (names[0], names[2]))
    assert distinct_names([("a", "/2/a"), ("a", "/1/a")])[::-1] == [names[0], names[2]]


def test_combining_one_data_set_changes_nothing(tmp_path: Path) -> None:
    data = read_dataset(str(write_rows(tmp_path / "a.jsonl", [pair(1)])))
    assert combine({"x": data}) is data


@pytest.mark.store
def test_remote_input_reads_as_local_input(tmp_path: Path, s3: str) -> None:
    folder = write_beir(tmp_path / "set", [passage(1)], [question(1), b"{"], {"test": ["q1\tp1\t1"]})
    root = storage.join(s3, "readers", "set")
    for path in folder.rglob("*.*"):
        storage.write_bytes(storage.join(root, path.relative_to(folder).as_posix()), path.read_bytes())
    rows = storage.join(s3, "readers", "rows.jsonl")
    storage.write_bytes(rows, json.dumps(pair(2)).encode())
    with pytest.raises(InputError) as caught:
        read_dataset(root)
    assert caught.value.faults[0].startswith(f"{root}/queries.jsonl, line 2: not valid JSON")
    storage.write_bytes(storage.join(root, "queries.jsonl"), json.dumps(question(1)).encode())
    data = read_dataset(f"{root},{rows}")
    assert set(data.queries["source"]) == {"set", "rows"} and data.corpus.height == 2
    with pytest.raises(InputError, match="no such file or folder"):
        read_dataset(storage.join(s3, "readers", "nothing"))
    assert ReadReport().bad == 0 and detect_inputs(rows)[0].address == rows
