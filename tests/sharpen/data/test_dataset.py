"""The data set's tables: saved, read, fingerprinted."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from sharpen.data.dataset import (
    CORPUS,
    QRELS,
    QUERIES,
    SIMILARITY_LABELS,
    DataSet,
    read_table,
    with_groups,
)
from sharpen.data.text import normalize, passage_text, text_key
from sharpen.errors import InputError
from sharpen.store import storage

KEYS = ([text_key("ONE"), text_key("t two")], [text_key("a"), text_key("b")])


def small() -> DataSet:
    return DataSet(
        corpus=pl.DataFrame([("p1", "", "one"), ("p2", "T", "two")], schema=CORPUS, orient="row"),
        queries=pl.DataFrame(
            [("q1", "a", "train", "s", "", None), ("q2", "b", "test", "s", "", None)], schema=QUERIES, orient="row"
        ),
        qrels=pl.DataFrame(
            [("q1", "p1", 1, "train"), ("q2", "p2", 2, "test"), ("q2", "p1", 0, "test")], schema=QRELS, orient="row"
        ),
    )


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    small().save(tmp_path)
    again = DataSet.load(tmp_path)
    assert again.counts() == {"corpus": 2, "queries": 2, "qrels": 3, "given_negatives": 0, "teacher_scores": 0}
    assert again.fingerprint() == small().fingerprint()
    assert again.passage_texts() == ["one", "T two"]
    assert again.qrels_of("test") == {"q2": {"p2": 2, "p1": 0}}
    assert again.queries_of("train")["query_id"].to_list() == ["q1"]


def test_the_fingerprint_knows_content_and_not_order() -> None:
    reordered, changed = small(), small()
    reordered.corpus = reordered.corpus.reverse()
    changed.corpus = changed.corpus.with_columns(text=pl.lit("other"))
    assert reordered.fingerprint() == small().fingerprint()
    assert changed.fingerprint() != small().fingerprint()


def by_definition(data: DataSet) -> str:
    """The fingerprint, row by row in plain Python."""
    digest = hashlib.sha256()
    for name in data.counts():
        table = getattr(data, name).drop("text_key", "task_type", "label", strict=False)
        ids = [column for column in table.columns if column not in ("title", "text")]
        rows = sorted(table.to_dicts(), key=lambda row: [(row[column] is not None, row[column]) for column in ids])
        digest.update(f"{name} {len(rows)}\n".encode())
        for column in table.columns:
            cells = [row[column] for row in rows]
            texts = [(cell or "").encode() for cell in cells] if table.schema[column] == pl.String else []
            numbers = map(len, texts) if table.schema[column] == pl.String else (cell or 0 for cell in cells)
            kind = "<d" if table.schema[column] == pl.Float64 else "<q"
            parts = [
                bytes(cell is None for cell in cells),
                b"".join(struct.pack(kind, number) for number in numbers),
                b"".join(texts),
            ]
            whole = b"".join(hashlib.sha256(part).digest() for part in parts)
            digest.update(f"{column} {hashlib.sha256(whole).hexdigest()}\n".encode())
    return digest.hexdigest()


def test_the_fingerprint_is_the_one_defined(monkeypatch: pytest.MonkeyPatch) -> None:
    data = small()
    data.queries = pl.concat([data.queries, data.queries.with_columns(query_id=pl.lit("é") + pl.col("query_id"))])
    data.queries = data.queries.with_columns(group=pl.Series([None, "doc 1", "", "ß"]))
    data.qrels = pl.concat([data.qrels, data.qrels.with_columns(split=pl.lit("dev"), grade=pl.lit(-1, pl.Int32))])
    data.teacher_scores = pl.DataFrame({"query_id": ["q1"], "passage_id": ["p1"], "score": [-0.25]})
    expected = by_definition(data)
    assert data.fingerprint() == expected
    monkeypatch.setattr("sharpen.data.fingerprint._SLICE", 2)
    data.corpus, data.queries, data.qrels = data.corpus.reverse(), data.queries.reverse(), data.qrels.reverse()
    assert data.fingerprint() == expected
    seen = {expected}
    for changed in ("q1", "é"):
        data.queries = data.queries.with_columns(group=pl.lit(changed))
        seen.add(data.fingerprint())
    assert len(seen) == 3


def test_a_finished_data_set_has_its_keys_and_its_fingerprint_and_computes_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with storage.publish(str(tmp_path / "data"), producer="data_prep", facts={"fingerprint": "f"}) as folder:
        small().save(folder)

    def refuse(text: str) -> str:
        raise AssertionError(text)

    monkeypatch.setattr("sharpen.data.text.normalize", refuse)
    data = DataSet.open(str(tmp_path / "data"))
    assert data.fingerprint() == "f"
    assert (data.corpus["text_key"].to_list(), data.queries["text_key"].to_list()) == KEYS
    monkeypatch.undo()
    # another table, another fingerprint
    assert replace(data, corpus=data.corpus).fingerprint() == small().fingerprint()


def test_a_data_set_without_keys_gets_them_when_it_is_loaded(tmp_path: Path) -> None:
    small().save(tmp_path)
    for table in ("corpus", "queries"):
        part = tmp_path / table / "part-00000.parquet"
        pl.read_parquet(part).drop("text_key").write_parquet(part)
    data = DataSet.load(tmp_path)
    assert (data.corpus["text_key"].to_list(), data.queries["text_key"].to_list()) == KEYS


def test_a_data_set_without_groups_is_read_and_each_query_is_a_group(tmp_path: Path) -> None:
    small().save(tmp_path)
    part = tmp_path / "queries" / "part-00000.parquet"
    pl.read_parquet(part).drop("group").write_parquet(part)
    old = DataSet.load(tmp_path)
    assert set(old.queries.columns) == {*QUERIES, "text_key", "task_type", "label"}
    assert with_groups(old.queries)["group"].to_list() == ["q1", "q2"]


def test_task_types_are_stored_only_where_there_are_other_ones_than_retrieval(tmp_path: Path) -> None:
    small().save(tmp_path / "retrieval")
    stored = pl.read_parquet(tmp_path / "retrieval" / "queries")
    assert not {"task_type", "label"} & set(stored.columns)
    assert not (tmp_path / "retrieval" / "similarity_labels").exists()
    assert DataSet.load(tmp_path / "retrieval").queries["task_type"].to_list() == ["retrieval"] * 2

    mixed = small()
    mixed.queries = mixed.queries.with_columns(
        task_type=pl.Series(["classification", "sts"]), label=pl.Series(["news", ""])
    )
    mixed.similarity_labels = pl.DataFrame([("q2", "p1", 3.5, "test")], schema=SIMILARITY_LABELS, orient="row")
    mixed.save(tmp_path / "mixed")
    again = DataSet.load(tmp_path / "mixed")
    assert again.queries.select("task_type", "label").rows() == [("classification", "news"), ("sts", "")]
    assert again.similarity_labels.rows() == [("q2", "p1", 3.5, "test")]
    assert again.fingerprint() == mixed.fingerprint()
    others = [replace(mixed, similarity_labels=mixed.similarity_labels.clear()), small()]
    others.append(replace(mixed, queries=mixed.queries.with_columns(label=pl.lit("sport"))))
    assert len({data.fingerprint() for data in (mixed, *others)}) == 4


def test_a_missing_table_or_column_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="parquet"):
        read_table(tmp_path, CORPUS)
    pl.DataFrame({"passage_id": ["a"]}).write_parquet(tmp_path / "part-00000.parquet")
    with pytest.raises(InputError, match="column title, text is missing"):
        read_table(tmp_path, CORPUS)


def test_texts_are_the_same_when_only_case_space_and_unicode_form_differ() -> None:
    assert normalize("  Ｆull\twidth\n") == normalize("full WIDTH")
    assert text_key("Straße ") == text_key("STRASSE")
    assert text_key("a b") != text_key("ab")
    assert (passage_text("", "x"), passage_text("T", "x")) == ("x", "T x")
