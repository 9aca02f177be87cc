"""Tables with named columns: the same rows from every kind of file, by the names that users give their columns."""

from __future__ import annotations

import csv
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pyarrow as pa
import pytest

from sharpen.data.dataset import DataSet
from sharpen.data.readers import ReadReport, detect_inputs, read_dataset, read_input
from sharpen.data.source_settings import SourceSettings
from sharpen.data.text import key_id, text_key
from sharpen.errors import InputError
from tests.sharpen.data.input_files import write_rows

TRIPLETS = [
    {"anchor": "how do I undo a commit", "positive": "git revert", "negative_1": "git push", "negative_2": "git tag"},
    {"anchor": "list files", "positive": "ls", "negative_1": "cat", "negative_2": None},
]
AS_FLAGEMBEDDING = [
    {"query": "how do I undo a commit", "pos": ["git revert"], "neg": ["git push", "git tag"]},
    {"query": "list files", "pos": ["ls"], "neg": ["cat"]},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows in the form that the name of the file says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.removesuffix(".zst")
    if name.endswith(".parquet"):
        pl.DataFrame(rows).write_parquet(path)
    elif name.endswith(".csv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif name.endswith(".jsonl"):
        write_rows(path, rows)
    else:
        datasets.Dataset.from_list(rows).save_to_disk(path)
    if path.suffix == ".zst":
        with pa.CompressedOutputStream(str(path.with_suffix(".tmp")), "zstd") as stream:
            stream.write(path.read_bytes())
        path.with_suffix(".tmp").replace(path)
    return path


def read(path: Path, role: str = "train", /, **settings: Any) -> tuple[DataSet, ReadReport]:
    report = ReadReport()
    [item] = detect_inputs(SourceSettings(address=str(path), **settings))
    return read_input(item, "source", role, report), report


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "a", "a.jsonl.zst", "a.csv.zst"])
def test_triplets_of_any_file_are_rows_of_flagembedding(tmp_path: Path, name: str) -> None:
    expected = read_dataset(str(write_rows(tmp_path / "rows" / "a.jsonl", AS_FLAGEMBEDDING)))
    assert read_dataset(str(write(tmp_path / name, TRIPLETS))).fingerprint() == expected.fingerprint()


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a"])
def test_columns_may_be_called_anything_and_hold_lists(tmp_path: Path, name: str) -> None:
    rows = [{"Ask": "list files", "Good": ["ls", "dir"], "s": [2.0, 1.0], "When": "2026-01-31T12:00:00+02:00"}]
    columns = {"query": "Ask", "positive": "Good", "positive_score": "s", "time": "When"}
    data, _ = read(write(tmp_path / name, rows), columns=columns)
    assert data.queries["text"].to_list() == ["list files"]
    assert data.queries["time"].to_list() == [datetime(2026, 1, 31, 10, tzinfo=UTC)]
    assert dict(data.teacher_scores.select("passage_id", "score").rows()) == {
        key_id(text_key("ls")): 2.0,
        key_id(text_key("dir")): 1.0,
    }


def test_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", TRIPLETS)
    with pytest.raises(InputError, match=r"a.parquet: no column 'Ask'; it has anchor, positive, negative_1"):
        read(path, columns={"query": "Ask"})
    path = write(tmp_path / "b.parquet", [{"x": "a", "y": "b"}])
    with pytest.raises(InputError, match=r"b.parquet: no column query and no column positive; .*columns: \{query"):
        read_dataset(str(path))


def test_labelled_pairs_are_judgements_and_scored_pairs_are_similarities(tmp_path: Path) -> None:
    rows = [
        {"sentence1": "list files", "sentence2": "ls", "label": 1},
        {"sentence1": "list files", "sentence2": "cat", "label": 0},
        {"sentence1": "list files", "sentence2": "dir", "label": 2.5},
    ]
    data, report = read(write(tmp_path / "a.jsonl", rows))
    graded = data.qrels.join(data.corpus, on="passage_id").select("text", "grade")
    assert dict(graded.rows()) == {"ls": 1, "cat": 0}
    assert [(row.line, row.reason) for row in report.bad_rows] == [(3, "bad_grade")]
    scored = [{"sentence1": "a cat", "sentence2": "one cat", "score": 4.5}]
    data, _ = read(write(tmp_path / "b.parquet", scored))
    assert data.similarity_labels["label"].to_list() == [4.5] and data.queries["task_type"].to_list() == ["sts"]
    assert data.qrels.is_empty()
    data, _ = read(write(tmp_path / "c.jsonl", rows[:2]), task_type="sts")
    assert sorted(data.similarity_labels["label"]) == [0.0, 1.0]


def test_labelled_texts_have_the_task_that_the_source_says(tmp_path: Path) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    rows = {"text": ["awful", "fine"], "label": [0, 1]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "reviews")
    data, _ = read(tmp_path / "reviews")
    assert set(data.queries.select("text", "label", "task_type").rows()) == {
        ("awful", "bad", "classification"),
        ("fine", "good", "classification"),
    }
    data, _ = read(tmp_path / "reviews", task_type="clustering")
    assert set(data.queries["task_type"]) == {"clustering"}
    with pytest.raises(InputError, match="labelled texts, which are no sts; set task_type to classification"):
        read(tmp_path / "reviews", task_type="sts")


def test_splits_of_a_hugging_face_folder_are_ours(tmp_path: Path) -> None:
    part = {name: datasets.Dataset.from_list([{"query": f"q {name}", "positive": f"p {name}"}]) for name in "abc"}
    named = {"train": part["a"], "validation": part["b"], "extra": part["c"]}
    datasets.DatasetDict(named).save_to_disk(tmp_path / "set")
    data, report = read(tmp_path / "set")
    assert set(data.queries.select("text", "split").rows()) == {("q a", "train"), ("q b", "dev")}
    assert report.notices == {f"{tmp_path}/set: split 'extra' is not used; name it with the setting split": 1}
    data, _ = read(tmp_path / "set", "test", split="extra")
    assert data.queries.select("text", "split").rows() == [("q c", "test")]
    with pytest.raises(InputError, match="no split dev; it has train, validation, extra"):
        read(tmp_path / "set", split="dev")


def test_all_keys_of_flagembedding_are_read(tmp_path: Path) -> None:
    row = {
        "query": "list files",
        "pos": ["ls"],
        "neg": ["cat", "tac"],
        "pos_id": [7],
        "neg_id": ["8", "9"],
        "type": "symmetric_sts",
        "prompt": "Same: ",
        "metadata": {"platform": "linux", "year": 2026, "more": ["x"]},
        "created_at": 1767225600,
    }
    data, report = read(write_rows(tmp_path / "a.jsonl", [row]))
    [query] = data.queries.rows(named=True)
    assert (query["task_type"], query["instruction"]) == ("sts", "Same: ")
    assert json.loads(query["fields"]) == {"platform": "linux", "year": "2026"}
    assert query["time"] == datetime(2026, 1, 1, tzinfo=UTC)
    assert dict(data.corpus.select("passage_id", "text").rows()) == {"7": "ls", "8": "cat", "9": "tac"}
    assert not report.notices
    wrong = {**row, "query": "other", "pos_id": [8], "pos": ["not cat"]}
    _, report = read(write_rows(tmp_path / "b.jsonl", [row, wrong]))
    assert [(bad.line, bad.reason, bad.field) for bad in report.bad_rows] == [(2, "repeated_id", "pos_id[0]")]


def test_a_time_is_bad_only_in_a_column_that_the_user_named(tmp_path: Path) -> None:
    rows = [{"query": "a b", "pos": ["c"], "time": "yesterday"}]
    path = write_rows(tmp_path / "a.jsonl", rows)
    data, report = read(path)
    assert data.queries.height == 1 and report.notices == {f"{path}: time could not be read and was left aside": 1}
    _, report = read(path, columns={"time": "time"})
    assert [(bad.reason, bad.field) for bad in report.bad_rows] == [("bad_time", "time")]


def test_named_columns_become_fields(tmp_path: Path) -> None:
    rows = [{"query": "a b", "positive": "c", "lang": "en", "n": 3, "rest": "x"}]
    data, report = read(write(tmp_path / "a.parquet", rows), fields=["lang", "n"])
    assert json.loads(data.queries["fields"].item()) == {"lang": "en", "n": "3"}
    assert report.notices == {f"{tmp_path}/a.parquet: column 'rest' is not used": 1}


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl.zst", "folder/data-00000-of-00001.arrow"])
def test_a_damaged_file_is_one_line(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name.partition("/")[0], TRIPLETS)
    target = tmp_path / name
    target.write_bytes(target.read_bytes()[:-30] if name != "a.jsonl.zst" else b"not zstd at all")
    with pytest.raises(InputError) as caught:
        read_dataset(str(path))
    [line] = caught.value.faults
    assert str(path) in line and ("again" in line)


def test_the_examples_of_the_guide_are_read(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[5] / "docs" / "data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(json|csv)\n(.*?)```", guide, re.DOTALL)
    assert len(blocks) == 4
    for number, (kind, text) in enumerate(blocks):
        path = tmp_path / f"{number}.{kind}"
        # objects one below the other, of which one may be written on several lines
        array = text.replace("}\n{", "},{")
        path.write_text(f"[{array}]" if kind == "json" else text, encoding="utf-8")
        data, report = read(path)
        assert data.queries.height and not report.counts and not report.notices, text


def test_a_data_set_of_the_hub_is_read_from_the_cache_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `datasets` has in its cache is made by `datasets` itself, by another name, as no test has a network."""
    source = write(tmp_path / "files" / "train.jsonl", TRIPLETS)
    cache = tmp_path / "cache"
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", cache)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    made = datasets.load_dataset("json", data_files={"train": str(source)}, cache_dir=str(cache))
    [folder] = {Path(file["filename"]).parent for file in made["train"].cache_files}
    target = cache / "team___triplets" / "default" / "0.0.0" / "0123456789abcdef0123456789abcdef01234567"
    target.mkdir(parents=True)
    for file in folder.iterdir():
        file.rename(target / file.name.replace("json-", "triplets-"))
    info = json.loads((target / "dataset_info.json").read_text())
    info |= {"builder_name": "triplets", "dataset_name": "triplets", "config_name": "default", "version": "0.0.0"}
    (target / "dataset_info.json").write_text(json.dumps(info))
    [item] = detect_inputs("hf://team/triplets")
    assert item.name == "triplets" and "0123456789abcdef" in item.version
    data = read_dataset("hf://team/triplets")
    expected = read_dataset(str(write_rows(tmp_path / "triplets.jsonl", AS_FLAGEMBEDDING)))
    assert data.fingerprint() == expected.fingerprint()
    with pytest.raises(InputError, match=r"hf://team/other: neither in the cache .* nor a data set that the hub gives"):
        detect_inputs("hf://team/other")
    for wrong in ("hf://", "hf://a/b/c"):
        with pytest.raises(InputError, match="not the id of a data set"):
            detect_inputs(wrong)
