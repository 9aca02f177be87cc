"""Score the training pairs of a data set by teachers, and write the negatives with their scores. Start reading here."""

from __future__ import annotations

import json
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import polars as pl

from sharpen.data.dataset import NEGATIVES, TEACHER_SCORES, DataSet, read_table, write_table
from sharpen.data.readers import read_dataset
from sharpen.run_context import run_id
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.teachers.combine import Scored
from sharpen.teachers.kinds.teacher import Teacher
from sharpen.teachers.pairs import NEGATIVE, given_negatives, pairs_to_score
from sharpen.teachers.report.page import render_page
from sharpen.teachers.report.statistics import examples, statistics, summary
from sharpen.teachers.settings import TeacherSettings
from sharpen.version import code_version

logger = logging.getLogger(__name__)

PRODUCER = "teachers"
# as mining names them, whose folder this is with better scores
TABLE, SCORES, INCONSISTENT = "negatives", "teacher_scores", "inconsistent"
REPORT, PAGE = "report.json", "report.html"
_WITH_SOURCE = {**NEGATIVES, "source": pl.String}
_PAIR = ["query_id", "passage_id"]


def score_by_teachers(
    data: str, negatives: str, output: str, settings: TeacherSettings, encoder: EncoderSettings
) -> storage.Manifest:
    """Write a folder of negatives in which each negative, and each positive, has a teacher's score.

    The folder is one as mining writes: training and evaluation read it in place of `negatives`. With a margin it lacks
    the negatives that the teacher takes for relevant.

    Args:
        data: data set of ours, BEIR folder or FlagEmbedding JSONL.
        negatives: folder that mining wrote; empty: the negatives that came with the data are scored.
        output: address of the folder to write.
        settings: who scores.
        encoder: how teachers that are models compute: precision, batches, cache.

    Returns:
        The marker of the written folder.

    Raises:
        InputError: no such data, negatives or models, or no teacher is named.
        StepFailed: the judge does not answer for too long, or no positive got a score.
    """
    started = time.monotonic()
    settings.check_teachers()
    storage.check_access(output, write=True)
    dataset = read_dataset(data)
    mined = storage.open_artifact(negatives) if negatives else None
    table = _negatives(dataset, mined)
    pairs = pairs_to_score(dataset, table, settings.relevance_level)
    teachers = open_teachers(settings, encoder)
    parts = {teacher.name: teacher.score(pairs) for teacher in teachers}
    scored = Scored.of(pairs, parts, settings.margin)
    found: dict[str, Any] = {
        **statistics(scored),
        "examples": examples(scored, settings.seed),
        "teachers": {teacher.name: teacher.facts() for teacher in teachers},
        "settings": settings.model_dump(mode="json"),
        "provenance": {
            "data": data,
            "data_fingerprint": dataset.fingerprint(),
            "negatives": negatives,
            "code_version": code_version(),
        },
        "seconds": round(time.monotonic() - started, 2),
    }
    _write(output, scored, table, negatives, mined, found)
    logger.info("\n".join([*summary(found), f"report  {storage.join(output, PAGE)}"]))
    return storage.read_manifest(output)


def open_teachers(settings: TeacherSettings, encoder: EncoderSettings) -> list[Teacher]:
    """The teachers that the settings name, models loaded. Raises InputError where one is not there."""
    found: list[Teacher] = []
    # with them come torch and transformers, which a judge does without
    if settings.cross_encoder:
        from sharpen.teachers.kinds.cross_encoder import CrossEncoderTeacher

        found.append(CrossEncoderTeacher(settings, encoder))
    if settings.embedding_model:
        from sharpen.teachers.kinds.embedding_model import EmbeddingTeacher

        found.append(EmbeddingTeacher(settings, encoder))
    if settings.endpoint:
        from sharpen.teachers.kinds.judge import Judge

        found.append(Judge(settings))
    return found


def _negatives(data: DataSet, mined: Path | None) -> pl.DataFrame:
    if mined is None:
        return given_negatives(data)
    table = read_table(mined / TABLE, _WITH_SOURCE, ["source"])
    return table if "source" in table.columns else table.with_columns(source=pl.lit(None, dtype=pl.String))


def _write(
    output: str, scored: Scored, table: pl.DataFrame, negatives: str, mined: Path | None, found: dict[str, Any]
) -> None:
    """The folder: the negatives of the table with their scores, those of the other pairs, and what mining wrote."""
    written = _with_scores(table, scored)
    rows = {TABLE: written.height, "queries": len(scored.pairs.queries)}
    of_mining = storage.read_manifest(negatives).facts if negatives else {}
    facts = {**of_mining, "teachers": list(scored.parts), "metrics": found["pairs"]}
    report = (json.loads((mined / REPORT).read_text(encoding="utf-8")) if mined else {}) | {"teachers": found}
    with storage.publish(output, producer=PRODUCER, run_id=run_id(), rows=rows, facts=facts) as folder:
        write_table(written, folder / TABLE, _WITH_SOURCE)
        others = scored.table().filter(pl.col("role") != NEGATIVE)
        write_table(others, folder / SCORES, TEACHER_SCORES)
        if mined and (mined / INCONSISTENT).is_dir():
            shutil.copytree(mined / INCONSISTENT, folder / INCONSISTENT)
        (folder / REPORT).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / PAGE).write_text(render_page(found), encoding="utf-8", errors="backslashreplace")


def _with_scores(table: pl.DataFrame, scored: Scored) -> pl.DataFrame:
    """The negatives with their scores, and without those that are dropped."""
    known = scored.table()
    scores = known.select(*_PAIR, teacher_score="score")
    gone = known.filter("dropped").select(_PAIR)
    written = table.drop("teacher_score").join(scores, on=_PAIR, how="left", maintain_order="left")
    return written.join(gone, on=_PAIR, how="anti", maintain_order="left")
