"""The data set's tables: saved, read, fingerprinted."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sharpen.data.dataset import CORPUS, QRELS, QUERIES, DataSet, read_table, with_groups
from sharpen.data.text import normalize, passage_text, text_id
from sharpen.errors import InputError


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


def test_a_data_set_without_groups_is_read_and_each_query_is_a_group(tmp_path: Path) -> None:
    small().save(tmp_path)
    part = tmp_path / "queries" / "part-00000.parquet"
    pl.read_parquet(part).drop("group").write_parquet(part)
    old = DataSet.load(tmp_path)
    assert old.queries.columns == list(QUERIES)
    assert with_groups(old.queries)["group"].to_list() == ["q1", "q2"]


def test_a_missing_table_or_column_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="parquet"):
        read_table(tmp_path, CORPUS)
    pl.DataFrame({"passage_id": ["a"]}).write_parquet(tmp_path / "part-00000.parquet")
    with pytest.raises(InputError, match="column title, text is missing"):
        read_table(tmp_path, CORPUS)


def test_texts_are_the_same_when_only_case_space_and_unicode_form_differ() -> None:
    assert normalize("  Ｆull\twidth\n") == normalize("full WIDTH")
    assert text_id("Straße ") == text_id("STRASSE")
    assert text_id("a b") != text_id("ab")
    assert (passage_text("", "x"), passage_text("T", "x")) == ("x", "T x")
