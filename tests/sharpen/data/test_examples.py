"""Examples of prepared data are counted by content: against sets of texts, over every kind of input."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpen.data.dataset import DataSet
from sharpen.data.examples import as_bytes, difference, example_hashes, from_bytes
from sharpen.data.preparation.prepare import prepare
from sharpen.data.preparation.settings import DataSettings
from sharpen.data.readers import read_dataset
from sharpen.store import storage
from tests.sharpen.data.input_files import pair, passage, question, write_beir, write_rows


def hashes(address: object) -> np.ndarray:
    return example_hashes(read_dataset(str(address)), ["train", "dev", "test"])


def test_an_example_is_a_query_with_a_positive(tmp_path: Path) -> None:
    rows = [pair(1), pair(1), {"query": "two", "pos": ["a", "b"], "neg": ["c"]}, {"query": "two", "pos": ["b"]}]
    # question 1, two with a, two with b; an instruction makes another query
    assert hashes(write_rows(tmp_path / "a.jsonl", rows)).size == 3
    prompted = write_rows(tmp_path / "b.jsonl", [*rows, pair(1, prompt="find: "), pair(1, prompt="FIND:")])
    assert hashes(prompted).size == 4
    judged = {"train": ["q1\tp1\t1"], "test": ["q2\tp1\t2", "q2\tp2\t0"]}
    beir = write_beir(tmp_path / "set", map(passage, range(3)), map(question, range(3)), judged)
    assert hashes(beir).size == 2


def test_order_spacing_compression_format_and_negatives_make_nothing_new(tmp_path: Path) -> None:
    rows = [pair(number) for number in range(50)]
    known = hashes(write_rows(tmp_path / "a.jsonl", rows))
    shuffled = [{"query": f" {row['query'].upper()}", "pos": row["pos"], "neg": ["x"]} for row in rows]
    random.Random(3).shuffle(shuffled)
    assert np.array_equal(known, hashes(write_rows(tmp_path / "b.jsonl.gz", shuffled)))
    qrels = {"train": [f"q{n}\tp{n}\t1" for n in range(50)] + ["q1\tp2\t0"]}
    beir = write_beir(tmp_path / "set", map(passage, range(60)), map(question, range(60)), qrels)
    assert np.array_equal(known, hashes(beir))
    with storage.publish(str(tmp_path / "own"), producer="test") as folder:
        read_dataset(str(tmp_path / "a.jsonl")).save(folder)
    assert np.array_equal(known, hashes(tmp_path / "own"))
    (tmp_path / "c.csv").write_text("query,positive\n" + "".join(f"{r['query']},{r['pos'][0]}\n" for r in rows))
    assert np.array_equal(known, hashes(tmp_path / "c.csv"))


def test_a_split_that_the_input_brings_is_part_of_an_example_and_one_that_is_cut_is_not(tmp_path: Path) -> None:
    def prepared(name: str, rows: list[dict], **settings: object) -> np.ndarray:
        write_rows(tmp_path / name / "rows.jsonl", rows)
        output = str(tmp_path / name / "data")
        marker = prepare([str(tmp_path / name / "rows.jsonl")], [], output, DataSettings.checked(settings))
        return example_hashes(DataSet.open(output), marker.facts["brought_splits"])

    rows = [pair(number) for number in range(60)]
    known = prepared("a", rows, test_share=0.25, dev_share=0.1)
    assert known.size == 60
    assert np.array_equal(known, prepared("b", rows, seed=3))
    assert difference(prepared("c", [*rows[5:], pair(100)]), known) == (1, 5)

    folders = []
    for number, split in enumerate(("train", "dev")):
        judged = {"test": ["q3\tp3\t1"], "train": ["q1\tp1\t1"]}
        judged[split] = [*judged.get(split, []), "q2\tp2\t1"]
        folder = write_beir(tmp_path / str(number), map(passage, range(9)), map(question, range(9)), judged)
        output = str(tmp_path / f"{number} out")
        marker = prepare([str(folder)], [], output, DataSettings(dev_share=0))
        folders.append(example_hashes(DataSet.open(output), marker.facts["brought_splits"]))
    assert difference(*folders) == (1, 1)


texts = st.sets(st.tuples(st.sampled_from("abcd"), st.sampled_from("wxyz")), min_size=1)


@given(now=texts, before=texts)
def test_new_and_gone_are_those_of_sets(tmp_path_factory: pytest.TempPathFactory, now: set, before: set) -> None:
    folder = tmp_path_factory.mktemp("sets")

    def of(name: str, rows: set) -> np.ndarray:
        return hashes(write_rows(folder / name, [{"query": q, "pos": [f"p {p}"]} for q, p in rows]))

    found = difference(of("now.jsonl", now), from_bytes(as_bytes(of("before.jsonl", before))))
    assert found == (len(now - before), len(before - now))
