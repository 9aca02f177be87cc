"""Examples are counted by content: against sets of texts, over every kind of input, and in little memory."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpen.data.readers import read_dataset
from sharpen.errors import InputError
from sharpen.retraining.examples import as_bytes, difference, from_bytes, hashes_of
from sharpen.store import storage
from tests.sharpen.data.input_files import pair, passage, question, write_beir, write_rows


def count(*addresses: object, evaluation: str = "") -> int:
    return hashes_of([str(address) for address in addresses], [evaluation] if evaluation else []).size


def test_an_example_is_a_query_with_a_positive(tmp_path: Path) -> None:
    rows = [pair(1), pair(1), {"query": "two", "pos": ["a", "b"], "neg": ["c"]}, {"query": "two", "pos": ["b"]}]
    path = write_rows(tmp_path / "a.jsonl", rows)
    # question 1, two with a, two with b
    assert count(path) == 3
    # what it is for and its instruction are part of an example
    assert count(path, evaluation=str(path)) == 6
    assert count(path, write_rows(tmp_path / "b.jsonl", [pair(1, prompt="find: ")])) == 4


def test_order_spacing_compression_format_and_negatives_make_nothing_new(tmp_path: Path) -> None:
    rows = [pair(number) for number in range(50)]
    known = hashes_of([str(write_rows(tmp_path / "a.jsonl", rows))], [])
    shuffled = [{"query": f" {row['query'].upper()}", "pos": row["pos"], "neg": ["x"]} for row in rows]
    random.Random(3).shuffle(shuffled)
    again = hashes_of([str(write_rows(tmp_path / "b.jsonl.gz", shuffled))], [])
    assert np.array_equal(known, again)
    (tmp_path / "c.json").write_text(json.dumps(shuffled))
    assert np.array_equal(known, hashes_of([str(tmp_path / "c.json")], []))
    qrels = {"train": [f"q{n}\tp{n}\t1" for n in range(50)] + ["q1\tp2\t0"]}
    beir = write_beir(tmp_path / "set", map(passage, range(60)), map(question, range(60)), qrels)
    assert np.array_equal(known, hashes_of([str(beir)], []))
    with storage.publish(str(tmp_path / "own"), producer="test") as folder:
        read_dataset(str(tmp_path / "a.jsonl")).save(folder)
    assert np.array_equal(known, hashes_of([str(tmp_path / "own")], []))


def test_a_folder_of_several_splits_and_broken_rows(tmp_path: Path) -> None:
    corpus = [passage(1), b"{broken", passage(2, title="Title"), {"_id": "p3"}]
    queries = [question(1), question(2), b"[]"]
    qrels = {
        "train": ["q1\tp1\t1", "q9\tp1\t1", "q1\tp3\t1", "not three columns"],
        "test": ["q1\tp1\t1", "q2\tp2\t2", "q2\tp1\tx"],
    }
    # q1 with p1 in train; q1 with p1 and q2 with p2 in test
    assert count(write_beir(tmp_path / "set", corpus, queries, qrels)) == 3
    assert count(write_beir(tmp_path / "plain", [passage(1)], [question(1)], {"dev": ["q1\tp1\t1"]}, header=False)) == 1
    assert count(write_rows(tmp_path / "a.jsonl", [b"{", {"query": "", "pos": ["x"]}, pair(1)])) == 1


def test_python_code(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    lines = [
        f'def f{n}(a):\n    """Add the number {n} to what is given."""\n    b = a + {n}\n    return b\n'
        for n in range(4)
    ]
    (code / "a.py").write_text("\n".join(lines))
    address = f"python-source:{code}"
    before = hashes_of([address], [])
    assert before.size == 4
    (code / "a.py").write_text("\n".join([*lines[1:], lines[0].replace("number 0", "number seven")]))
    assert difference(hashes_of([address], []), before) == (1, 1)


texts = st.sets(st.tuples(st.sampled_from("abcd"), st.sampled_from("wxyz")), min_size=1)


@given(now=texts, before=texts)
def test_new_and_gone_are_those_of_sets(tmp_path_factory: pytest.TempPathFactory, now: set, before: set) -> None:
    folder = tmp_path_factory.mktemp("sets")

    def hashes(name: str, rows: set) -> np.ndarray:
        return hashes_of([str(write_rows(folder / name, [{"query": q, "pos": [f"p {p}"]} for q, p in rows]))], [])

    found = difference(hashes("now.jsonl", now), from_bytes(as_bytes(hashes("before.jsonl", before))))
    assert found == (len(now - before), len(before - now))


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    long = "word " * 400
    corpus = ({"_id": f"p{n}", "title": "", "text": f"{n} {long}"} for n in range(30_000))
    folder.mkdir()
    with (folder / "corpus.jsonl").open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in corpus)
    write_rows(folder / "queries.jsonl", map(question, range(10)))
    (folder / "qrels").mkdir()
    (folder / "qrels" / "train.tsv").write_text("".join(f"q{n}\tp{n}\t1\n" for n in range(10)))
    assert (folder / "corpus.jsonl").stat().st_size > 50e6
    process = psutil.Process()
    before = process.memory_info().rss
    assert count(folder) == 10
    assert process.memory_info().rss - before < 25e6


def test_a_data_set_of_ours_that_another_program_changed_is_one_line(tmp_path: Path) -> None:
    data = read_dataset(str(write_rows(tmp_path / "a.jsonl", [pair(n) for n in range(3)])))
    faulty = {
        "qrels: passage_id .* is not in corpus": replace(data, corpus=data.corpus.head(2)),
        "queries: column text has empty cells": replace(data, queries=data.queries.with_columns(text=None)),
        "qrels: 'other' is no split": replace(data, qrels=data.qrels.with_columns(split=pl.lit("other"))),
        "corpus: a passage_id stands twice": replace(data, corpus=pl.concat([data.corpus, data.corpus])),
    }
    for number, (fault, made) in enumerate(faulty.items()):
        address = str(tmp_path / f"own{number}")
        with storage.publish(address, producer="test") as folder:
            made.save(folder)
        for reader in (read_dataset, lambda address: hashes_of([address], [])):
            with pytest.raises(InputError, match=f"^{address}: {fault}.*run it again$"):
                reader(address)
