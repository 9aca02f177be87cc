"""Input with which nothing can be mined, and a store that fails: one clear line each, and nothing half-written."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from components import command_line
from components.hard_negatives.__main__ import command as step
from pipeline.store.server import EmbeddedStore
from sharpen.data.dataset import NEGATIVES, read_table
from sharpen.errors import StepFailed
from sharpen.mining.mine import mine
from sharpen.mining.settings import MiningSettings
from sharpen.settings import EncoderSettings
from sharpen.store import object_store, storage
from tests.sharpen.data.input_files import passage, question, write_beir
from tests.sharpen.mining.test_mine import ENCODER, make_rows, write

pytestmark = pytest.mark.model

JUDGED = {"train": ["q1\tp1\t1"]}


def faults(arguments: dict[str, str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the command line says on stderr when it ends with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        command_line.main(step, [part for pair in arguments.items() for part in pair])
    assert ended.value.code == 2
    return capsys.readouterr().err.strip().splitlines()


@pytest.mark.parametrize(
    ("passages", "questions", "qrels", "told"),
    [
        (0, 1, JUDGED, "corpus.jsonl: the file is empty"),
        (2, 0, JUDGED, "queries.jsonl: the file is empty"),
        (2, 1, {"train": []}, "no query is in the split train"),
        (2, 1, {"test": ["q1\tp1\t1"]}, "no query is in the split train"),
        (2, 1, {"train": ["q1\tp1\t0"]}, "no query of the split train has a relevant passage"),
        (2, 1, {"train": ["q1\tp1\t1", "q1\tp9\t1"]}, "train.tsv, line 3, corpus-id: the judgement names an id"),
        (1, 1, JUDGED, "nothing can be a negative"),
    ],
)
def test_data_without_which_nothing_can_be_mined(
    passages: int,
    questions: int,
    qrels: dict[str, list[str]],
    told: str,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = write_beir(
        tmp_path / "data",
        [passage(number) for number in range(1, passages + 1)],
        [question(number) for number in range(1, questions + 1)],
        qrels,
    )
    out = tmp_path / "out"
    lines = faults({"--data": str(data), "--model": str(tiny_model), "--output": str(out)}, capsys)
    assert told in lines[0]
    assert all(line.startswith("error: ") for line in lines)
    assert not list(tmp_path.glob("*out*"))


def test_queries_without_a_positive_are_counted_and_told(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passages, questions = [passage(n) for n in range(1, 9)], [question(n) for n in range(1, 4)]
    data = write_beir(tmp_path / "data", passages, questions, {"train": ["q1\tp1\t1", "q2\tp2\t0", "q3\tp3\t1"]})
    values = {"--data": str(data), "--model": str(tiny_model), "--output": str(tmp_path / "out")}
    command_line.main(step, [part for pair in (values | {"--relative_margin": "none"}).items() for part in pair])
    assert "1 queries have no positive and were left out" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "report.json").read_text())["queries_without_positive"] == 1
    assert set(read_table(tmp_path / "out" / "negatives", NEGATIVES)["query_id"]) == {"q1", "q3"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"--candidate_sources": "model,bm52"}, "--candidate_sources: 'bm52' is no source; known: model, bm25"),
        ({"--candidate_sources": "bm25,bm25"}, "--candidate_sources: bm25 is named twice"),
        ({"--candidate_sources": ","}, "--candidate_sources: List should have at least 1 item"),
        ({"--rescoring_model": "."}, ".: no config.json there"),
        ({"--rescoring_max_len": "1"}, "--rescoring_max_len: Input should be greater than or equal to 8"),
    ],
)
def test_wrong_sources_and_models_end_with_one_line(
    options: dict[str, str],
    told: str,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"--data": write(tmp_path, make_rows()), "--model": str(tiny_model), "--output": str(tmp_path / "out")}
    (line,) = faults(given | options, capsys)
    assert told in line
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.store
def test_a_store_that_fails_half_way_leaves_nothing_that_counts(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store goes down between two files of the upload; what stood there before must not be taken for new."""
    settings = MiningSettings.checked({"range_for_sampling": "0-30", "negative_number": 4})
    encoder = EncoderSettings.checked({**ENCODER.model_dump(), "vector_cache": "off"})
    data = write(tmp_path, make_rows())
    with EmbeddedStore(tmp_path / "a store") as store, ExitStack() as after:
        after.callback(store.down, force=True)
        for name, value in store.env().items():
            monkeypatch.setenv(name, value)
        output = storage.join(store.root, "negatives")
        real, sent = object_store.upload, []

        def until_it_is_down(remote, path, done=None) -> None:
            if sent:
                store.down(force=True)
            sent.append(path)
            real(remote, path, done)

        monkeypatch.setattr(object_store, "upload", until_it_is_down)
        monkeypatch.setenv("SHARPEN_STORE_TIMEOUT", "1")
        with pytest.raises(StepFailed, match="cannot reach the object store"):
            mine(data, str(tiny_model), output, settings, encoder)
        assert len(sent) >= 2

        monkeypatch.setattr(object_store, "upload", real)
        store.up()
        assert not storage.is_complete(output)
        mine(data, str(tiny_model), output, settings, encoder)
        assert storage.open_artifact(output).is_dir()
