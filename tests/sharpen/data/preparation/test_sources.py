"""Several sources, each with what its user says of it, and a pool of passages beside them, in one data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from sharpen.data.dataset import DataSet
from sharpen.data.preparation.prepare import STATISTICS, prepare
from sharpen.data.preparation.settings import DataSettings
from sharpen.data.readers import read_corpus
from sharpen.errors import InputError
from tests.sharpen.data.input_files import pair, passage, question, write_beir, write_rows


def prepared(output: Path, train_data: list[Any], eval_data: list[Any] = [], **settings: Any) -> DataSet:  # noqa: B006
    prepare(train_data, eval_data, str(output), DataSettings.checked({"test_share": 0.2, "dev_share": 0, **settings}))
    return DataSet.open(str(output))


def test_a_source_with_settings_is_one_source_with_its_own_rules(tmp_path: Path) -> None:
    for day in range(3):
        write_rows(tmp_path / "logs" / f"day={day}" / "rows.jsonl", [pair(10 * day + n) for n in range(10)])
    labels = [{"query": f"review {n}", "pos": [f"good {n}"], "prompt": "Own: " if n else None} for n in range(10)]
    reviews = {
        "address": str(write_rows(tmp_path / "reviews.jsonl", labels)),
        "in_batch": "own_group",
        "prompt": "Rate: ",
        "task_type": "reranking",
    }
    logs = {"address": f"{tmp_path}/logs/**/*.jsonl", "weight": 2.5, "name": "web", "licence": "CC0-1.0"}
    plain = str(write_rows(tmp_path / "plain.jsonl", [pair(n) for n in range(100, 110)]))
    data = prepared(tmp_path / "out", [logs, reviews, plain])
    assert dict(data.queries.group_by("source").len().rows()) == {"web": 30, "reviews": 10, "plain": 10}
    assert data.sources.rows() == [("reviews", 1.0, "own_group"), ("web", 2.5, "all")]
    rated = data.queries.filter(pl.col("source") == "reviews")
    assert set(rated["task_type"]) == {"reranking"}
    assert dict(rated.group_by("instruction").len().rows()) == {"Rate: ": 1, "Own: ": 9}
    assert set(data.queries.filter(pl.col("source") != "reviews")["instruction"]) == {""}
    facts = {fact["name"]: fact for fact in json.loads((tmp_path / "out" / STATISTICS).read_text())["inputs"]}
    assert facts["web"]["rows"] == 30 and facts["web"]["settings"]["weight"] == 2.5
    assert facts["web"]["licence"] == "CC0-1.0" and "settings" not in facts["plain"]


def test_the_data_are_the_same_however_plain_sources_are_named(tmp_path: Path) -> None:
    path = str(write_rows(tmp_path / "a.jsonl", [pair(n) for n in range(20)]))
    as_text, as_object = prepared(tmp_path / "1", [path]), prepared(tmp_path / "2", [{"address": path}])
    assert as_text.fingerprint() == as_object.fingerprint() and as_text.sources.is_empty()
    weighted = prepared(tmp_path / "3", [{"address": path, "weight": 2}])
    assert weighted.fingerprint() != as_text.fingerprint()


@pytest.mark.parametrize("form", ["beir", "jsonl", "csv", "parquet", "data set", "zst"])
def test_passages_beside_rows_are_part_of_the_corpus(tmp_path: Path, form: str) -> None:
    rows = str(write_rows(tmp_path / "rows.jsonl", [pair(n) for n in range(20)]))
    pool = [{"_id": f"p{n}", "title": "", "text": f"passage number {n}"} for n in range(10, 40)]
    if form == "beir":
        address = write_rows(tmp_path / "pool" / "corpus.jsonl", pool).parent
    elif form == "data set":
        address = tmp_path / "pool"
        prepared(address, [str(write_rows(tmp_path / "more.jsonl", [pair(n) for n in range(10, 40)]))])
    else:
        address = tmp_path / ("pool.csv.zst" if form == "zst" else f"pool.{form}")
        table = pl.DataFrame(pool).rename({"_id": "docid", "text": "contents"})
        writers = {"parquet": table.write_parquet, "jsonl": table.write_ndjson, "csv": table.write_csv}
        if form == "zst":
            with pa.CompressedOutputStream(str(address), "zstd") as stream:
                stream.write(table.write_csv().encode())
        else:
            writers[form](address)
    data = prepared(tmp_path / "out", [rows], corpus=str(address))
    # 10 to 19 are positives and in the pool, under one id
    assert data.corpus.height == 40 and data.queries.height == 20 and set(data.queries["source"]) == {"rows"}
    ids = dict(data.corpus.select("text", "passage_id").rows())
    if form != "data set":
        assert (ids["passage number 15"], ids["passage number 39"]) == ("p15", "p39")
    assert set(data.qrels["passage_id"]) <= set(ids.values())
    assert read_corpus(str(address)).corpus.height == 30
    facts = json.loads((tmp_path / "out" / STATISTICS).read_text())["inputs"]
    assert {fact["role"]: fact["passages"] for fact in facts} == {"train": 20, "corpus": 30}


def test_what_is_wrong_with_a_pool_is_one_line(tmp_path: Path) -> None:
    rows = str(write_rows(tmp_path / "rows.jsonl", [pair(n) for n in range(20)]))
    wrong = {
        "no column text": write_rows(tmp_path / "a.jsonl", [{"_id": "1", "words": "x"}]),
        "no such file": tmp_path / "none",
        "holds no passage": write_rows(tmp_path / "b.jsonl", [{"_id": "1", "text": "x"}]),
    }
    wrong["holds no passage"].write_text("\n")
    for message, address in wrong.items():
        with pytest.raises(InputError, match=message):
            prepared(tmp_path / "out", [rows], corpus=str(address))
    pool = [{"_id": "1", "text": "x"}, {"_id": "1", "text": "y"}, {"_id": "2", "text": " "}]
    with pytest.raises(InputError, match="1 empty_text, 1 repeated_id"):
        prepared(tmp_path / "out", [rows], corpus=str(write_rows(tmp_path / "c.jsonl", pool)), max_bad_share=0)


def test_settings_that_contradict_each_other_are_told_together(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [pair(n) for n in range(20)])
    twice = [{"address": str(path), "weight": 2}, {"address": f"{tmp_path}/*.jsonl", "name": "a"}]
    with pytest.raises(InputError) as caught:
        prepared(tmp_path / "out", twice, [{"address": str(path), "weight": 3}])
    assert [line.split(";")[0] for line in caught.value.faults] == [
        f"eval_data: {path}: weight, in_batch and since have no effect where nothing is trained",
        "train_data: several sources are called a and have another weight or in_batch",
    ]
    with pytest.raises(InputError, match=r"train_data: task type 'sorting' is not known; use retrieval, sts"):
        prepared(tmp_path / "out", [{"address": str(path), "task_type": "sorting"}])


def test_fields_and_times_of_a_beir_folder_reach_the_data_set(tmp_path: Path) -> None:
    queries = [
        {**question(n), "metadata": {"group": f"g{n}", "lang": "en", "time": f"2026-01-0{n + 1}"}} for n in range(6)
    ]
    qrels = {"train": [f"q{n}\tp{n}\t1" for n in range(5)] + ["q0\tp1\t0"], "test": ["q5\tp5\t1"]}
    folder = write_beir(tmp_path / "set", [passage(n) for n in range(6)], queries, qrels)
    data = prepared(tmp_path / "out", [str(folder)])
    assert [json.loads(text) for text in data.queries["fields"]] == [
        {"lang": "en", "time": f"2026-01-0{n + 1}"} for n in range(6)
    ]
    assert data.queries["time"].dt.day().to_list() == [1, 2, 3, 4, 5, 6]
    assert data.qrels.filter(pl.col("grade") == 0).select("query_id", "passage_id").rows() == [("q0", "p1")]
