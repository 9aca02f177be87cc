"""The whole of it: negatives in, negatives with scores out, which training learns from."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import sharpen
from sharpen.data.dataset import NEGATIVES, TEACHER_SCORES, read_table
from sharpen.data.readers import read_dataset
from sharpen.errors import InputError
from sharpen.reranking.cross_encoder import CrossEncoder
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.teachers.score import score_by_teachers
from sharpen.teachers.settings import TeacherSettings
from sharpen.training.data.build_dataset import make_examples
from sharpen.training.inputs import with_teacher
from sharpen.training.settings import TrainingSettings
from tests.sharpen.teachers.small import MINED, small_data, written

pytestmark = pytest.mark.model
ENCODER = EncoderSettings.checked({"precision": "fp32", "vector_cache": "off"})


def _table(folder: Path) -> pl.DataFrame:
    return read_table(folder / "negatives", NEGATIVES)


def test_training_reads_the_scores_of_a_folder_of_negatives(
    cross_encoder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, mined = written(tmp_path)
    out, settings = tmp_path / "out", TeacherSettings.checked({"cross_encoder": str(cross_encoder)})
    with caplog.at_level(logging.INFO):
        marker = score_by_teachers(data, mined, str(out), settings, ENCODER)
    model, found = CrossEncoder.load(str(cross_encoder), 512, ENCODER, "teachers.cross_encoder"), small_data()
    texts = dict(zip(found.corpus["passage_id"], found.passage_texts(), strict=True))
    queries = dict(zip(found.queries["query_id"], found.queries["text"], strict=True))

    def expected(query: str, passage: str) -> float:
        return float(model.scores([queries[query]], [texts[passage]])[0])

    table = _table(out)
    assert list(zip(table["query_id"], table["passage_id"], strict=True)) == MINED
    assert set(table["rank"]) == {3} and set(table["picked_by"]) == {"search"}
    for query, passage, score in table.select("query_id", "passage_id", "teacher_score").iter_rows():
        assert score == pytest.approx(expected(query, passage), abs=1e-5)
    # positives, and the passage that is judged irrelevant, which training takes as a negative
    others = read_table(out / "teacher_scores", TEACHER_SCORES)
    assert sorted(others["passage_id"]) == ["p0", "p2", "p4"]
    # mining's report and facts go on with the negatives
    report = json.loads((out / "report.json").read_text())
    assert (report["model"], report["negatives"]) == ("miner", len(MINED))
    assert marker.facts["model_hash"] == "abc" and marker.facts["teachers"] == ["cross_encoder"]
    assert report["teachers"]["pairs"]["positives"] == 2 and "2 positives and 4 negatives of 2 queries" in caplog.text

    training = TrainingSettings.checked({"knowledge_distillation": True, "train_group_size": 3})
    dataset = with_teacher(read_dataset(data), out)
    examples = make_examples(dataset, table, training)
    rows = {name: row for row, name in enumerate(examples.query_ids)}
    text = {name: row for row, name in enumerate(examples.text_ids)}
    for query, passage in [*MINED, ("q0", "p0"), ("q0", "p4"), ("q1", "p2")]:
        (score,) = examples.teacher(rows[query], [text[passage]])
        assert score == pytest.approx(expected(query, passage), abs=1e-5)


def test_margin_leaves_out_what_the_teacher_takes_for_relevant(cross_encoder: Path, tmp_path: Path) -> None:
    data, mined = written(tmp_path)
    values = {"cross_encoder": str(cross_encoder)}
    score_by_teachers(data, mined, str(tmp_path / "all"), TeacherSettings.checked(values), ENCODER)
    every, positives = _table(tmp_path / "all"), read_table(tmp_path / "all" / "teacher_scores", TEACHER_SCORES)
    lowest = {"q0": "p0", "q1": "p2"}
    above = {
        (query, passage): score - positives.filter(passage_id=lowest[query])["score"].item()
        for query, passage, score in every.select("query_id", "passage_id", "teacher_score").iter_rows()
    }
    # half of the negatives are within this of the positive, or above it
    margin = max(0.0, -float(np.median(list(above.values()))))
    given = TeacherSettings.checked({**values, "margin": margin})
    score_by_teachers(data, mined, str(tmp_path / "left"), given, ENCODER)
    left = {(query, passage) for query, passage, *_ in _table(tmp_path / "left").iter_rows()}
    assert left == {pair for pair, difference in above.items() if difference <= -margin} and len(left) < len(above)
    report = json.loads((tmp_path / "left" / "report.json").read_text())["teachers"]
    assert report["pairs"]["dropped"] == len(above) - len(left) >= len(report["examples"]) > 0
    assert all(one["dropped"] and one["negative_score"] > one["positive_score"] - margin for one in report["examples"])
    page = (tmp_path / "left" / "report.html").read_text()
    assert "Some that were left out" in page and report["examples"][0]["query"] in page


def test_api_scores_what_the_data_bring_by_two_teachers(cross_encoder: Path, tiny_model: Path) -> None:
    scored = sharpen.score_by_teachers(
        small_data(), cross_encoder=str(cross_encoder), embedding_model=str(tiny_model), vector_cache="off"
    )
    # of a query without a positive the negative stays, unscored
    assert scored.table.select("query_id", "passage_id").rows() == [("q0", "p3"), ("q1", "p5"), ("q2", "p5")]
    assert scored.table["teacher_score"].is_null().to_list() == [False, False, True]
    # two pairs of q1, so that each teacher gives +1 and -1
    assert round(scored.table["teacher_score"][1], 6) in (-1.0, 0.0, 1.0)
    found = scored.report["teachers"]
    assert list(found["teachers"]) == ["cross_encoder", "embedding_model"]
    assert set(found["above_positive"]) == {"cross_encoder", "embedding_model", "all"}
    assert storage.read_manifest(scored.folder).producer == "teachers"


def test_faults_are_told_before_work_starts(tmp_path: Path) -> None:
    data, _ = written(tmp_path)
    for values, words in (({}, "no teacher is named"), ({"cross_encoder": str(tmp_path / "none")}, "none")):
        with pytest.raises(InputError, match=words):
            score_by_teachers(data, "", str(tmp_path / "out"), TeacherSettings.checked(values), ENCODER)
    assert not (tmp_path / "out" / "_SUCCESS.json").exists()
    with pytest.raises(InputError, match="not a finished folder"):
        settings = TeacherSettings.checked({"cross_encoder": "c"})
        score_by_teachers(data, str(tmp_path / "missing"), str(tmp_path / "out"), settings, ENCODER)
