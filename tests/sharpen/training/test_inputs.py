"""What the first process of a machine reads and makes, the others open; and it is made once."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sharpen.data.readers import read_dataset
from sharpen.distributed import ProcessGroup
from sharpen.errors import InputError
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.store.download_cache import cache_folder
from sharpen.store.manifest import CACHE_MARKER
from sharpen.training.dev_score import DevSet
from sharpen.training.inputs import Inputs, read_inputs
from sharpen.training.settings import TrainingSettings
from tests.sharpen.training.small_data import ENCODER, small_data, with_teacher

pytestmark = pytest.mark.model


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "cache"))
    return cache_folder() / "entries"


def write(folder: Path, seed: int = 0) -> str:
    with storage.publish(str(folder), producer="test", run_id="") as place:
        with_teacher(small_data(seed=seed, sources=("a", "b"))).save(place)
    return str(folder)


def read(data: str, model: Path, encoder: EncoderSettings = ENCODER, **values: Any) -> Inputs:
    settings = TrainingSettings.checked({"train_batch_size": 8, "train_group_size": 4, **values})
    return read_inputs(data, None, str(model), settings, encoder, ProcessGroup())


def entries(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir() if path.is_dir()}


def test_made_once_for_equal_content(tiny_model: Path, tmp_path: Path, cache: Path) -> None:
    first = read(write(tmp_path / "one"), tiny_model)
    made = entries(cache)
    assert len(made) == 2  # examples, token ids
    times = {path: path.stat().st_mtime_ns for path in cache.rglob("*.arrow")}
    again = read(write(tmp_path / "same rows elsewhere"), tiny_model, train_batch_size=4, temperature=0.1)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.arrow")} == times
    assert list(again.examples.texts) == list(first.examples.texts)

    shorter = EncoderSettings.checked({**ENCODER.model_dump(), "passage_max_len": 6})
    assert max(map(len, read(str(tmp_path / "one"), tiny_model, shorter).tokens.passages(range(20)))) == 6
    assert len(entries(cache)) == 3  # other token ids of the same examples
    read(str(tmp_path / "one"), tiny_model, knowledge_distillation=True)
    assert len(entries(cache)) == 5  # other examples
    read(write(tmp_path / "other", seed=3), tiny_model)
    assert len(entries(cache)) == 7
    read(str(tmp_path / "one"), tiny_model, eval_steps=2)
    assert len(entries(cache)) == 8  # the dev set


def test_a_damaged_file_is_made_again(tiny_model: Path, tmp_path: Path, cache: Path) -> None:
    data = write(tmp_path / "data")
    expected = [ids.tolist() for ids in read(data, tiny_model).tokens.passages(range(56))]
    for name in ("passage-ids.arrow", "data-00000-of-00001.arrow", CACHE_MARKER):
        path = next(cache.rglob(name))
        path.write_bytes(path.read_bytes()[:-10])
        assert [ids.tolist() for ids in read(data, tiny_model).tokens.passages(range(56))] == expected
    for path in cache.rglob(CACHE_MARKER):
        path.unlink()
    assert [ids.tolist() for ids in read(data, tiny_model).tokens.passages(range(56))] == expected


def test_what_could_not_be_made_leaves_nothing(tiny_model: Path, tmp_path: Path, cache: Path) -> None:
    data = write(tmp_path / "data")
    with pytest.raises(InputError, match="train_group_size: 90 needs 89 negatives"):
        read(data, tiny_model, train_group_size=90)
    assert entries(cache) == set()
    read(data, tiny_model)
    with pytest.raises(InputError, match="train_group_size: 90 needs 89 negatives"):
        read(data, tiny_model, train_group_size=90)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"no_inbatch_sources": ["b", "reviews", ""]},
            r"no_inbatch_sources: reviews is no source of the training queries; they are: a, b\n.*\(unnamed\) is no",
        ),
        ({"no_inbatch_sources": ["b", "a"], "symmetric": True}, "symmetric: no source has in-batch negatives"),
        ({"source_weights": {"c": 2}}, "source_weights: c is no source of the training queries; they are: a, b"),
    ],
)
def test_source_names_are_checked(
    tiny_model: Path, tmp_path: Path, cache: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(write(tmp_path / "data"), tiny_model, **values)


def test_data_say_how_their_sources_are_trained_and_settings_come_first(
    tiny_model: Path, tmp_path: Path, cache: Path
) -> None:
    table = pl.DataFrame(
        {"source": ["a", "b", "gone"], "weight": [3.0, 0.5, 2.0], "in_batch": ["own_group", "all", "all"]}
    )
    with storage.publish(str(tmp_path / "data"), producer="test", run_id="") as place:
        replace(small_data(sources=("a", "b")), sources=table).save(place)
    found = read(str(tmp_path / "data"), tiny_model, source_weights={"b": 2.0}).settings
    assert found.source_weights == {"a": 3.0, "b": 2.0} and found.no_inbatch_sources == ["a"]
    assert read(str(tmp_path / "data"), tiny_model, use_inbatch_neg=False).settings.no_inbatch_sources == []
    with pytest.raises(InputError, match="no_inbatch_sources have only the negatives of their groups"):
        read(str(tmp_path / "data"), tiny_model, train_group_size=1)


@pytest.mark.processes
def test_one_process_of_a_machine_reads_and_the_others_map_its_files(
    tiny_model: Path, tmp_path: Path, cache: Path
) -> None:
    """Two machines with two processes each, and a third machine that was given other data."""
    data, other, folder = write(tmp_path / "data"), write(tmp_path / "other", seed=1), tmp_path / "found"
    folder.mkdir()
    places = [data, "0", data, "1", data, "0", data, "1", other, "0"]
    command = [sys.executable, "-W", "ignore", "-m", "tests.sharpen.training.reading", str(tiny_model)]
    root = Path(__file__).parents[3]
    subprocess.run([*command, str(folder), str(folder / "meeting"), *places], check=True, timeout=600, cwd=root)
    found = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(5)]

    assert found.pop() == {
        "fault": "data, negatives, model or code: this machine reads other ones than the first; make them equal"
    }
    assert [one.pop("read") for one in found] == [[data], [], [data], []]
    assert found[0] == found[1] == found[2] == found[3]
    assert len(found[0]["mapped"]) == 4  # queries, texts, and the token ids of each
    assert all(Path(path).is_relative_to(cache) for path in found[0]["mapped"])
    dev = DevSet.cut(read_dataset(data), 20, 42)
    assert found[0]["dev"] == [dev.query_ids, dev.passages, dev.note]
    assert "searches 20 of 60 passages" in dev.note
