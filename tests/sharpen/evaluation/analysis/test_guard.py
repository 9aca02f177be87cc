"""The guard set that comes with Sharpen: what it holds, and that it is neither broken nor easy."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import pytest

from sharpen.errors import InputError
from sharpen.evaluation.analysis.guard import SAMPLE, SAMPLE_SHA256, open_guard
from sharpen.evaluation.retrieval import score
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.evaluation.systems.lexical import bm25_rankings


def test_the_sample_is_what_the_code_says_it_is() -> None:
    files = sorted(path for path in SAMPLE.rglob("*") if path.is_file())
    assert hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest() == SAMPLE_SHA256


def test_every_query_has_one_passage_among_others_on_the_same_subject() -> None:
    settings = EvaluationSettings.checked({"guard_data": "general"})
    guard = open_guard(settings)
    assert guard is not None and guard.name == "general"
    split = guard.split
    assert len(split.query_ids) >= 150 and len(split.passage_ids) >= 300
    assert all(list(grades.values()) == [1] for grades in split.qrels.values())
    assert split.facts["passages_with_the_query_text_left_out"] == 0
    assert pl.Series(split.passage_texts).str.len_chars().max() < 300
    # words alone do not do: the queries say it otherwise
    values = score(split, bm25_rankings(split, settings), settings)["ndcg_at_10"]
    assert 0.1 < float(np.mean(values)) < 0.4


def test_no_guard_set_and_one_that_is_not_there() -> None:
    assert open_guard(EvaluationSettings.checked({})) is None
    with pytest.raises(InputError, match="nowhere"):
        open_guard(EvaluationSettings.checked({"guard_data": "nowhere"}))
