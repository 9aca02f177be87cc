"""Judgements from a spreadsheet: read, merged, and refused where they contradict."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sharpen.data.dataset import DataSet
from sharpen.data.judgements import merge_judgements, read_judgements
from sharpen.data.preparation.prepare import prepare
from sharpen.data.preparation.settings import DataSettings
from sharpen.errors import InputError
from sharpen.store import storage
from tests.sharpen.data.input_files import pair, write_rows


def a_sheet(path: Path, *rows: str, header: str = "query_id,passage_id,grade,query,passage") -> str:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return str(path)


def a_dataset() -> DataSet:
    ids = {"query_id": ["q1", "q2"], "text": ["one", "two"], "split": ["test", "train"]}
    return DataSet(
        corpus=pl.DataFrame({"passage_id": ["a", "b"], "title": ["", ""], "text": ["text a", "text b"]}),
        queries=pl.DataFrame(ids | {"source": ["s", "s"], "instruction": ["", ""]}),
        qrels=pl.DataFrame(
            {"query_id": ["q1"], "passage_id": ["a"], "grade": [2], "split": ["test"]},
            schema_overrides={"grade": pl.Int32},
        ),
    )


def test_grades_are_added_in_the_split_of_their_query(tmp_path: Path) -> None:
    sheet = a_sheet(tmp_path / "j.csv", 'q1,b,0,"one, with\na line",x', "q1,a,2,,", "q2,b,1.0,,", "q2,a,,,", "q9,a,1,,")
    data, counts = merge_judgements(a_dataset(), read_judgements(sheet))
    assert data.qrels.sort("query_id", "passage_id").rows() == [
        ("q1", "a", 2, "test"),
        ("q1", "b", 0, "test"),
        ("q2", "b", 1, "train"),
    ]
    assert counts == {"added": 2, "known": 1, "unknown": 1, "empty": 1}


def test_separators_and_the_mark_of_excel(tmp_path: Path) -> None:
    (tmp_path / "j.csv").write_bytes("\ufeffquery_id;passage_id;grade\nq1;b;1\n".encode())
    assert read_judgements(str(tmp_path / "j.csv")).table.rows() == [("q1", "b", 1, 2)]


@pytest.mark.parametrize(
    ("rows", "faults"),
    [
        (["q1,a,1,,"], ["j.csv:2: grade 1 for query q1 and passage a, but the data have 2; change one of the two"]),
        (
            ["q1,b,1,,", "q1,b,2,,"],
            ["j.csv:3: grade 2 for query q1 and passage b, but line 2 says 1; keep one"],
        ),
        (["q1,b,yes,,", "q1,a,1.5,,"], ["j.csv:2: grade 'yes' is not a whole", "j.csv:3: grade '1.5' is not a whole"]),
        (["q1,,1,,"], ["j.csv:2: query_id or passage_id is empty"]),
        (["x,y,1,,"], ["none of its 1 judgements names a query and a passage of the data set"]),
    ],
)
def test_faults_name_the_line(tmp_path: Path, rows: list[str], faults: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        merge_judgements(a_dataset(), read_judgements(a_sheet(tmp_path / "j.csv", *rows)))
    assert len(caught.value.faults) == len(faults)
    assert all(fault in line for fault, line in zip(faults, caught.value.faults, strict=True))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="column grade is missing"):
        read_judgements(a_sheet(tmp_path / "j.csv", "a,b", header="query_id,passage_id"))


def test_data_preparation_merges_the_file_and_a_second_time_changes_nothing(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "a.jsonl", [pair(n) for n in range(40)])
    prepare([str(rows)], [], str(tmp_path / "before"), DataSettings.checked({"test_share": 0.25}))
    before = DataSet.open(str(tmp_path / "before"))
    query_id = before.queries_of("test")["query_id"][0]
    known = before.qrels.filter(pl.col("query_id") == query_id)["passage_id"].to_list()
    other = next(p for p in before.corpus["passage_id"] if p not in known)
    settings = {"test_share": 0.25, "judgements": a_sheet(tmp_path / "j.csv", f"{query_id},{other},0,,")}
    prepare([str(rows)], [], str(tmp_path / "after"), DataSettings.checked(settings))
    after = DataSet.open(str(tmp_path / "after"))
    assert after.queries_of("test")["query_id"].to_list() == before.queries_of("test")["query_id"].to_list()
    assert after.qrels_of("test")[query_id] == {**before.qrels_of("test")[query_id], other: 0}
    assert after.fingerprint() != before.fingerprint()
    notices = storage.read_json(str(tmp_path / "after" / "stats.json"))["notices"]
    assert notices == {f"judgements added: {settings['judgements']}": 1}
