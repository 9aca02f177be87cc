"""Rankings that the user brings: what is read, in which order, and what is said of faults."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from sharpen.errors import InputError
from sharpen.mining.candidates.files import RankedFile
from sharpen.mining.corpus import MiningCorpus, build_corpus
from sharpen.store import storage
from tests.sharpen.mining.corpora import world

V = [1.0]
ROWS = [("q1", "c", 1.0), ("q1", "b", 3.5), ("q1", "d", 1.0), ("q2", "a b", -2.0), ("test", "a b", 1.0)]


@pytest.fixture
def pool() -> MiningCorpus:
    """Passages "a b", b, c, d in the rows 0 to 3; queries q1, q2."""
    passages = [("a b", "one", V), ("b", "two", V), ("c", "three", V), ("d", "four", V)]
    made = world([("q1", "x", V), ("q2", "y", V)], passages, [("q1", "b"), ("q2", "d")])
    return build_corpus(made.data, "data")


def ranked(address: Path | str, pool: MiningCorpus, depth: int = 4) -> list[list[int]]:
    return [row.tolist() for row in RankedFile(str(address), pool).ranked(pool, depth)]


def jsonl(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" if isinstance(row, dict) else row for row in rows))
    return path


def as_objects(scored: bool = True) -> list[dict]:
    return [dict(zip(("query_id", "passage_id", "score")[: 2 + scored], row, strict=False)) for row in ROWS]


def test_jsonl_parquet_and_trec_give_the_same_ranking(tmp_path: Path, pool: MiningCorpus) -> None:
    expected = [[1, 2, 3, -1], [0, -1, -1, -1]]  # the higher score first, equal ones by id
    assert ranked(jsonl(tmp_path / "a.jsonl", as_objects()), pool) == expected
    pl.DataFrame(as_objects()).write_parquet(tmp_path / "a.parquet")
    assert ranked(tmp_path / "a.parquet", pool) == expected
    run = "".join(f"{q} Q0 {p.replace(' ', '%20')} 9 {s} tag\n" for q, p, s in ROWS)
    (tmp_path / "run.trec").write_text(run)
    (tmp_path / "run.gz").write_bytes(gzip.compress(run.encode()))
    assert ranked(tmp_path / "run.trec", pool) == ranked(tmp_path / "run.gz", pool) == expected
    assert ranked(tmp_path / "run.trec", pool, depth=2) == [[1, 2], [0, -1]]


def test_without_scores_the_order_of_the_rows_counts(tmp_path: Path, pool: MiningCorpus) -> None:
    expected = [[2, 1, 3, -1], [0, -1, -1, -1]]
    assert ranked(jsonl(tmp_path / "a.jsonl", as_objects(scored=False)), pool) == expected
    parts = tmp_path / "parts"
    parts.mkdir()
    for number in range(2):
        pl.DataFrame(as_objects(scored=False)[number::2]).write_parquet(parts / f"{number}.parquet")
    assert ranked(parts, pool) == [[2, 3, 1, -1], [0, -1, -1, -1]]


def test_what_is_not_used_is_told(tmp_path: Path, pool: MiningCorpus) -> None:
    rows = [{"query_id": "q1", "passage_id": name} for name in ("b", "zz", "yy")]
    file = RankedFile(str(jsonl(tmp_path / "a.jsonl", rows)), pool)
    assert [notice.partition(": ")[2] for notice in file.notices] == [
        "2 rows name passages that the corpus lacks, such as zz",
        "1 of the 2 queries have no candidate in it",
    ]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", '{"query_id": "q1"}\n', r"a\.jsonl, line 1, passage_id: a required field is missing"),
        ("a.jsonl", '{"query_id": "q1", "passage_id": 3}\n', r"a\.jsonl, line 1, passage_id: .* wrong type"),
        ("a.jsonl", '\n{"query_id": "q1",\n', r"a\.jsonl, line 2: not valid JSON"),
        ("a.jsonl", '{"query_id": "q1", "passage_id": "b", "score": NaN}\n', "line 1, score: a score is not a finite"),
        ("a.jsonl", '{"query_id": "q1", "passage_id": "b", "score": "1"}\n', "line 1, score: .* expected a number"),
        ("a.jsonl", "", "no row in it"),
        ("run.trec", "q1 Q0 b 1 0.5\n", r"run\.trec:1: 5 fields; expected 6"),
        ("run.trec", "q1 Q0 b 1 x tag\n", r"run\.trec:1: score 'x' is not a finite number"),
        ("run.trec", "q1 Q0 b 1 1 t\nq1 Q0 b 2 1 t\n", r"run\.trec:2: passage b stands twice for query q1"),
        ("run.trec", "q9 Q0 b 1 1 t\n", "query_id values such as q9, where the data set has such as q1, q2"),
        ("run.trec", "q1 Q0 zz 1 1 t\n", "passage_id values such as zz, where the data set has such as a%20b, b"),
        ("a.parquet", "no parquet", r"a\.parquet: not a table file"),
    ],
)
def test_a_faulty_file_is_told_with_its_place(
    name: str, content: str, told: str, tmp_path: Path, pool: MiningCorpus
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=told) as caught:
        RankedFile(str(tmp_path / name), pool)
    assert all(str(tmp_path / name) in fault for fault in caught.value.faults[:1])


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"query_id": ["q1"]}, "column passage_id is missing"),
        ({"query_id": ["q1"], "passage_id": [1]}, "column passage_id holds Int64, expected texts"),
        ({"query_id": ["q1"], "passage_id": ["b"], "score": ["x"]}, "column score holds String, expected numbers"),
        ({"query_id": ["q1", "q1"], "passage_id": ["b", "c"], "score": [1.0, float("nan")]}, "row 2: an id is missing"),
        ({"query_id": ["q1", "q1"], "passage_id": ["b", None]}, "row 2: an id is missing"),
        ({"query_id": ["q1", "q1"], "passage_id": ["b", "c"], "score": [1.0, None]}, "row 2, score: missing"),
        ({"query_id": ["q1", "q1"], "passage_id": ["b", "b"]}, "passage b stands twice for query q1"),
    ],
)
def test_a_faulty_table_is_told(columns: dict, told: str, tmp_path: Path, pool: MiningCorpus) -> None:
    pl.DataFrame(columns).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=told) as caught:
        RankedFile(str(tmp_path / "a.parquet"), pool)
    assert len(caught.value.faults) == 1


def test_no_such_file(tmp_path: Path, pool: MiningCorpus) -> None:
    with pytest.raises(InputError, match="no such file"):
        RankedFile(str(tmp_path / "none.trec"), pool)


@pytest.mark.store
def test_a_file_in_an_object_store_is_named_by_its_address(s3: str, tmp_path: Path, pool: MiningCorpus) -> None:
    address = storage.join(s3, "candidates/run.trec")
    storage.write_bytes(address, b"q1 Q0 b 1 2.5 tag\nq1 Q0 d 1 7 tag\n")
    assert ranked(address, pool, 3) == [[3, 1, -1], [-1, -1, -1]]
    storage.write_bytes(address, b"q1 Q0 b 1 2.5 tag\nq1 Q0\n")
    with pytest.raises(InputError, match="^" + address + ":2: 2 fields"):
        RankedFile(address, pool)


def test_a_mangled_parquet_file_is_one_line(
    tmp_path: Path, pool: MiningCorpus, capfd: pytest.CaptureFixture[str]
) -> None:
    """Some damage makes polars raise, some makes its Rust code panic, which prints lines of its own."""
    path = tmp_path / "a.parquet"
    pl.DataFrame(as_objects() * 50).unique().write_parquet(path, statistics=True)
    whole = path.read_bytes()
    refused = 0
    for place in range(4, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            RankedFile(str(path), pool)
        except InputError as error:
            refused += 1
            assert len(error.faults) == 1 and "\n" not in error.faults[0]
    assert refused > 20
    assert "panicked" not in capfd.readouterr().err


def test_a_whole_number_that_no_float_holds_is_named(tmp_path: Path, pool: MiningCorpus) -> None:
    path = jsonl(tmp_path / "a.jsonl", ['{"query_id": "q1", "passage_id": "b", "score": ' + "9" * 400 + "}\n"])
    with pytest.raises(InputError, match=r"line 1, score: a score is not a finite number"):
        RankedFile(str(path), pool)
