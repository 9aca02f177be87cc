"""The step from input to written folder."""

from __future__ import annotations

import json
import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sharpen.data.dataset import SPLITS, DataSet
from sharpen.data.preparation.page import read_page
from sharpen.data.preparation.prepare import QUARANTINE, STATISTICS, prepare
from sharpen.data.preparation.settings import DataSettings
from sharpen.data.readers import read_dataset
from sharpen.data.text import normalize
from sharpen.errors import InputError
from sharpen.store import storage
from tests.sharpen.data.input_files import pair, passage, question, write_beir, write_rows
from tests.sharpen.reports.html_pages import check_page

HALF = DataSettings(test_share=0.3, dev_share=0.2)


def stats_of(folder: Path) -> dict:
    return json.loads((folder / STATISTICS).read_text(encoding="utf-8"))


def test_rows_in_a_finished_data_set_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [pair(n, neg=[f"passage number {n + 1}", f"negative {n}"], neg_scores=[0.5, n]) for n in range(100)]
    rows[6:6] = [{"query": "no positive", "pos": []}]
    path, output = write_rows(tmp_path / "a.jsonl", rows), tmp_path / "out"
    marker = prepare([str(path)], [], str(output), DataSettings())
    data = DataSet.open(str(output))
    assert marker.producer == "data_prep" and marker.rows == data.counts()
    assert marker.facts["fingerprint"] == data.fingerprint() == stats_of(output)["fingerprint"]
    # negative number 99 + 1 is nobody's positive, all others are
    assert data.corpus.height == 201 and data.queries.height == 100
    assert data.given_negatives.height == 200 and data.teacher_scores.height == 200
    [bad] = [json.loads(line) for line in (output / QUARANTINE).read_text(encoding="utf-8").splitlines()]
    assert bad == {
        "file": str(path),
        "line": 7,
        "reason": "no_positive",
        "field": "pos",
        "detail": "",
        "raw": '{"query": "no positive", "pos": []}',
        "why": "the query has no positive passage",
    }
    told = capsys.readouterr().out
    assert "QUARANTINED: 1 of 101 rows (1 no_positive)" in told and f"written to {output}" in told


def test_the_numbers_in_stats_are_those_of_the_tables(tmp_path: Path) -> None:
    one = write_rows(tmp_path / "one.jsonl", [pair(n % 40, pos=[f"p {n}", f"p {n % 55}"]) for n in range(60)])
    two = write_rows(tmp_path / "two.jsonl", [pair(n) for n in range(30, 90)])
    output = tmp_path / "out"
    prepare([str(one), str(two)], [], str(output), HALF)
    data, stats = DataSet.open(str(output)), stats_of(output)
    assert stats["passages"] == data.corpus.height
    for split in SPLITS:
        qrels = data.qrels_of(split)
        assert stats["splits"][split] == {
            "queries": data.queries_of(split).height,
            "pairs": sum(map(len, qrels.values())),
            "positive_pairs": sum(map(len, qrels.values())),
            "queries_with_several_positives": sum(len(judged) > 1 for judged in qrels.values()),
        }
        for source in ("one", "two"):
            of_source = data.queries_of(split).filter(pl.col("source") == source)
            assert stats["queries_by_source"][source][split] == of_source.height
    lengths = sorted(len(text.split()) for text in data.corpus["text"])
    assert stats["words"]["passage"]["max"] == lengths[-1]
    assert stats["words"]["passage"]["p50"] == lengths[(len(lengths) + 1) // 2 - 1]
    assert [fact["name"] for fact in stats["inputs"]] == ["one", "two"]
    assert [fact["rows"] for fact in stats["inputs"]] == [60, 60]
    assert stats["dropped"]["queries_merged"] == 10
    assert stats["settings"] == HALF.model_dump()


TEXT = st.sampled_from([f"{word} {number}" for word in ("alpha", "Alpha", "beta", "gamma  x") for number in range(5)])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "query": TEXT.map("why {}".format),
            "pos": st.lists(TEXT, min_size=1, max_size=3),
            "neg": st.lists(TEXT, max_size=2),
        }
    ),
    min_size=2,
    max_size=25,
)


@given(rows=ROWS, files=st.integers(1, 3), order=st.randoms(use_true_random=False), seed=st.integers(0, 3))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_split_shares_anything_and_order_does_not_matter(
    tmp_path: Path, rows: list[dict], files: int, order: random.Random, seed: int
) -> None:
    base = tmp_path / str(random.getrandbits(64))
    chosen = DataSettings(seed=seed, test_share=0.3, dev_share=0.2)
    names = [f"file{number}.jsonl" for number in range(files)]
    found = []
    for attempt in ("first", "second"):
        paths = []
        for number, name in enumerate(names):
            part = rows[number::files]
            if attempt == "second":
                order.shuffle(part)
            if part:
                paths.append(str(write_rows(base / attempt / name, part)))
        if attempt == "second":
            order.shuffle(paths)
        try:
            prepare(paths, [], str(base / attempt / "out"), chosen)
        except InputError as error:
            assert "no test query" in str(error)
            found.append(str(error))
            continue
        found.append(DataSet.open(str(base / attempt / "out")))
    first, second = found
    if isinstance(first, str):
        assert first == second
        return
    assert first.fingerprint() == second.fingerprint()
    text_of = dict(first.queries.select("query_id", "text").rows())
    split_of = dict(first.queries.select("query_id", "split").rows())
    assert set(split_of.values()) >= {"train", "test"}
    texts = {split: {normalize(text_of[q]) for q in text_of if split_of[q] == split} for split in SPLITS}
    passages = dict(zip(first.corpus["passage_id"], first.passage_texts(), strict=True))
    positives = {
        split: {normalize(passages[p]) for judged in first.qrels_of(split).values() for p in judged} for split in SPLITS
    }
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        assert not texts[one] & texts[other]
        assert not positives[one] & positives[other]
    # nothing is lost: every pair of the input is a pair of the output
    pairs = {(normalize(row["query"]), normalize(text)) for row in rows for text in row["pos"]}
    kept = {
        (normalize(text_of[query]), normalize(passages[passage_id]))
        for query, passage_id in first.qrels.select("query_id", "passage_id").rows()
    }
    assert kept == pairs
    assert len({normalize(text) for text in passages.values()}) == len(passages)


def test_a_beir_folder_keeps_its_splits_and_ids(tmp_path: Path) -> None:
    folder = write_beir(
        tmp_path / "set",
        [passage(n, "Title") for n in range(8)],
        [question(n) for n in range(6)],
        {"train": ["q0\tp0\t1", "q1\tp1\t2"], "dev": ["q2\tp2\t1"], "test": ["q3\tp3\t1", "q3\tp4\t0"]},
    )
    prepare([str(folder)], [], str(tmp_path / "out"), DataSettings())
    data = DataSet.open(str(tmp_path / "out"))
    assert data.corpus["passage_id"].to_list() == [f"p{n}" for n in range(8)]
    assert data.qrels_of("train") == {"q0": {"p0": 1}, "q1": {"p1": 2}}
    assert data.qrels_of("dev") == {"q2": {"p2": 1}}
    assert data.qrels_of("test") == {"q3": {"p3": 1, "p4": 0}}
    again = prepare([str(tmp_path / "out")], [], str(tmp_path / "again"), DataSettings())
    assert again.facts["fingerprint"] == data.fingerprint()


def beir(tmp_path: Path, name: str = "bench") -> Path:
    return write_beir(
        tmp_path / name,
        [passage(n) for n in range(1000, 1004)],
        [question(n) for n in range(1000, 1004)],
        {"train": ["q1000\tp1000\t1"], "test": ["q1001\tp1001\t1", "q1002\tp1002\t1"]},
    )


def test_evaluation_data_are_the_test_and_train_nothing(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "a.jsonl", [pair(n) for n in range(200)])
    prepare([str(rows)], [str(beir(tmp_path))], str(tmp_path / "out"), DataSettings())
    data, stats = DataSet.open(str(tmp_path / "out")), stats_of(tmp_path / "out")
    assert data.qrels_of("test") == {"q1001": {"p1001": 1}, "q1002": {"p1002": 1}}
    assert set(data.queries_of("train")["source"]) == {"a"}
    assert data.queries_of("dev").height + data.queries_of("train").height == 200
    assert 8 <= data.queries_of("dev").height <= 12
    assert stats["dropped"]["training_queries_of_eval_data"] == 1
    assert data.corpus.height == 204


def test_rows_named_as_evaluation_data_are_test_queries(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "a.jsonl", [pair(n) for n in range(50)])
    held_out = write_rows(tmp_path / "b.jsonl", [pair(n) for n in range(40, 60)])
    prepare([str(rows)], [str(held_out)], str(tmp_path / "out"), DataSettings(dev_share=0))
    data, stats = DataSet.open(str(tmp_path / "out")), stats_of(tmp_path / "out")
    assert data.queries_of("test").height == 20 and data.queries_of("train").height == 40
    assert stats["leaks"]["train"]["same_text"] == 10 and stats["dropped"]["leaking_queries"] == 10


def test_every_query_and_judgement_of_splits_and_rows_is_kept_or_counted(tmp_path: Path) -> None:
    """A benchmark with splits of its own beside rows without any, in both roles, some queries judged in two splits."""
    qrels = {
        "train": [f"q{n}\tp{n}\t1" for n in range(20)],
        "dev": [f"q{n}\tp{n}\t1" for n in range(15, 30)],
        "test": [f"q{n}\tp{n}\t{n % 2 + 1}" for n in range(25, 40)] + ["q0\tp1\t1"],
    }
    sets = [
        write_beir(tmp_path / name, [passage(n, name) for n in range(40)], [question(n) for n in range(40)], qrels)
        for name in ("a", "b")
    ]
    rows = write_rows(tmp_path / "rows.jsonl", [pair(n) for n in range(30, 90)])
    prepare([str(sets[0]), str(rows)], [str(sets[1])], str(tmp_path / "out"), DataSettings())
    data, stats = DataSet.open(str(tmp_path / "out")), stats_of(tmp_path / "out")
    dropped = stats["dropped"]
    queries = ("training_queries_of_eval_data", "held_out_queries_replaced_by_eval_data", "queries_merged")
    queries += ("queries_without_positive", "leaking_queries")
    assert data.queries.height + sum(dropped[name] for name in queries) == 40 + 40 + 60
    # a query that leaks has one judged pair here
    pairs = ("judged_pairs_of_splits_left_out", "judged_pairs_of_other_splits", "leaking_queries")
    assert data.qrels.height + sum(dropped[name] for name in pairs) == 51 + 51 + 60


def test_the_page_for_the_ui_shows_foreign_text_as_text(tmp_path: Path) -> None:
    rows = [pair(n, **{"<script>alert(1)</script>": 1}) for n in range(300)]
    path = write_rows(tmp_path / "<img src=x onerror=alert(1)>|`" / "a.jsonl", [*rows, {"query": "x", "pos": "y"}])
    prepare([str(path)], [], str(tmp_path / "out"), DataSettings())
    text = check_page(read_page(str(tmp_path / "out")))
    assert "<img src=x onerror=alert(1)>|`" in text and "<script>alert(1)</script>" in text


def test_one_benchmark_may_be_both_training_and_evaluation_data(tmp_path: Path) -> None:
    folder = str(beir(tmp_path))
    prepare([folder], [folder], str(tmp_path / "out"), DataSettings())
    data = DataSet.open(str(tmp_path / "out"))
    assert data.qrels_of("train") == {"q1000": {"p1000": 1}}
    assert data.qrels_of("test") == {"q1001": {"p1001": 1}, "q1002": {"p1002": 1}}
    assert stats_of(tmp_path / "out")["dropped"]["held_out_queries_replaced_by_eval_data"] == 2


def test_a_lone_dev_split_of_evaluation_data_is_the_test(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "marco", [passage(900)], [question(900)], {"dev": ["q900\tp900\t1"]})
    rows = write_rows(tmp_path / "a.jsonl", [pair(n) for n in range(50)])
    prepare([str(rows)], [str(folder)], str(tmp_path / "out"), DataSettings())
    assert DataSet.open(str(tmp_path / "out")).qrels_of("test") == {"q900": {"p900": 1}}


def test_evaluation_data_without_a_held_out_query_are_refused(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "set", [passage(1)], [question(1)], {"train": ["q1\tp1\t1"]})
    rows = write_rows(tmp_path / "a.jsonl", [pair(n) for n in range(5)])
    with pytest.raises(InputError, match="eval_data: no dev or test query"):
        prepare([str(rows)], [str(folder)], str(tmp_path / "out"), DataSettings())


def test_python_code_is_split_by_file(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    for file in range(30):
        functions = [
            f'def f{n}():\n    """Do thing {n} of file {file}."""\n    a = {n + 1}{file}\n    return a\n'
            for n in range(4)
        ]
        (code / f"file{file}.py").write_text("\n".join(functions))
    prepare([f"python-source:{code}"], [], str(tmp_path / "out"), HALF)
    data = DataSet.open(str(tmp_path / "out"))
    splits_of_file: dict[str, set[str]] = {}
    for text, split in data.queries.select("text", "split").rows():
        splits_of_file.setdefault(text.split()[-1], set()).add(split)
    assert len(splits_of_file) == 30 and all(len(splits) == 1 for splits in splits_of_file.values())
    assert data.queries.height == 120
    files = {text: f"file{text.split()[-1]}py" for text in data.queries["text"]}
    assert all(group.endswith("/" + files[text]) for text, group in data.queries.select("text", "group").rows())
    [fact] = stats_of(tmp_path / "out")["inputs"]
    assert fact["kind"] == "Python source" and fact["version"].startswith("3.")


def test_rows_of_one_group_stay_in_one_split_and_keep_their_group(tmp_path: Path) -> None:
    rows = [pair(n, group=f"document {n % 30}") for n in range(240)]
    rows += [pair(n) for n in range(240, 300)]
    rows += [{"query": "another question to passage 299", "pos": rows[299]["pos"]}]
    prepare([str(write_rows(tmp_path / "a.jsonl", rows))], [], str(tmp_path / "out"), HALF)
    queries = DataSet.open(str(tmp_path / "out")).queries
    assert set(queries["split"]) == set(SPLITS)
    assert queries["group"].null_count() == 0
    assert queries.group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1
    named = queries.filter(pl.col("group").str.starts_with("document"))
    assert named.height == 240 and named["group"].n_unique() == 30
    # of the others, those that share a passage are a group
    assert queries.height - named.height == 61
    assert queries["group"].n_unique() - 30 == 60


def test_queries_of_splits_that_the_input_brings_are_groups_of_their_own(tmp_path: Path) -> None:
    folder = write_beir(
        tmp_path / "set",
        [passage(n) for n in range(4)],
        [question(n) for n in range(3)] + [{"_id": "q3", "text": "other", "group": "g"}],
        {"train": ["q0\tp0\t1"], "test": ["q1\tp1\t1", "q2\tp1\t1", "q3\tp1\t1"]},
    )
    prepare([str(folder)], [], str(tmp_path / "out"), DataSettings(dev_share=0))
    assert DataSet.open(str(tmp_path / "out")).queries["group"].to_list() == ["q0", "q1", "q2", "g"]


def test_too_many_bad_rows_end_the_step(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [*(pair(n) for n in range(197)), b"{", b"[]", b"\xff"])
    output = tmp_path / "out"
    with pytest.raises(InputError) as caught:
        prepare([str(path)], [], str(output), DataSettings())
    *faults, last = caught.value.faults
    assert [fault.split(":")[0] for fault in faults] == [f"{path}, line {n}" for n in (198, 199, 200)]
    assert "1.5% of the rows is more than max_bad_share (1.0%)" in last
    listed = Path(f"{output}.{QUARANTINE}")
    assert str(listed) in last and len(listed.read_text().splitlines()) == 3
    assert not storage.is_complete(str(output)) and not output.exists()
    prepare([str(path)], [], str(output), DataSettings(max_bad_share=0.015))
    assert storage.is_complete(str(output)) and not listed.exists()
    assert len((output / QUARANTINE).read_text().splitlines()) == 3


def test_one_bad_row_is_always_allowed(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [b"{", *(pair(n) for n in range(4))])
    prepare([str(path)], [], str(tmp_path / "out"), DataSettings(max_bad_share=0))
    path = write_rows(tmp_path / "b.jsonl", [b"{", b"{", *(pair(n) for n in range(4))])
    with pytest.raises(InputError, match="max_bad_share"):
        prepare([str(path)], [], str(tmp_path / "out2"), DataSettings(max_bad_share=0))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", b'{"query": "a", "pos": "b"}', "line 1, pos: a field has the wrong type"),
        ("a.json", b'[{"query": "a", "pos": ["b"], "pos_scores": [' + b"9" * 400 + b"]}]", "a score is not a finite"),
        ("a.jsonl", b'{"query": "a", "pos": ["b"], "query": "c"}', "line 1, query: the row names a field twice"),
        ("a.jsonl", '{"query": "a", "pos": ["b"]}'.encode("utf-16-le"), "line 1: not valid JSON"),
        ("code/a.py", b"# coding: rot13\n", "broken|not Python that this interpreter can parse"),
    ],
)
def test_the_reason_of_the_only_row_is_shown(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    address = f"python-source:{path.parent}" if path.suffix == ".py" else str(path)
    with pytest.raises(InputError, match=reason) as caught:
        prepare([address], [], str(tmp_path / "out"), DataSettings())
    assert len(caught.value.faults) == 3 and "1 bad row of 1" in caught.value.faults[-1]
    [bad] = Path(f"{tmp_path}/out.{QUARANTINE}").read_text(encoding="utf-8").splitlines()
    assert json.loads(bad)["file"] == str(path)
    if path.suffix == ".py":
        with pytest.raises(InputError, match=reason):
            read_dataset(address)


def test_the_first_bad_rows_are_shown_where_the_others_are_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "a.jsonl", [*(pair(n) for n in range(300)), {"query": "x", "pos": ["\u200b"]}])
    prepare([str(path)], [], str(tmp_path / "out"), DataSettings())
    shown = f"{path}, line 301, pos[0]: a text is empty"
    assert shown in capsys.readouterr().out
    assert stats_of(tmp_path / "out")["quarantine"]["first"] == [shown]


def test_all_missing_inputs_are_told_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write_rows(tmp_path / "a.jsonl", [pair(1)])
    with pytest.raises(InputError) as caught:
        prepare([str(rows), f"{tmp_path}/x"], [f"{tmp_path}/y"], str(tmp_path / "out"), DataSettings())
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["train_data", "eval_data"]
    assert "reading" not in capsys.readouterr().out
    with pytest.raises(InputError, match="no address given"):
        prepare([], [], str(tmp_path / "out"), DataSettings())


@pytest.mark.store
def test_from_a_store_to_a_store(tmp_path: Path, s3: str) -> None:
    root = storage.join(s3, "data_prep")
    rows = write_rows(tmp_path / "a.jsonl", [*(pair(n) for n in range(300)), b"{", b"{"])
    address = storage.join(root, "a.jsonl")
    storage.write_bytes(address, rows.read_bytes())
    remote = prepare([address], [], storage.join(root, "out"), DataSettings())
    local = prepare([str(rows)], [], str(tmp_path / "out"), DataSettings())
    assert remote.facts["fingerprint"] == local.facts["fingerprint"]
    assert DataSet.open(storage.join(root, "out")).fingerprint() == local.facts["fingerprint"]
    with pytest.raises(InputError, match=r"bad\.quarantine\.jsonl"):
        prepare([address], [], storage.join(root, "bad"), DataSettings(max_bad_share=0))
    assert len(storage.read_bytes(storage.join(root, "bad.quarantine.jsonl")).splitlines()) == 2
    with pytest.raises(InputError):
        prepare([address], [], "s3://no-such-bucket-here/out", DataSettings())
