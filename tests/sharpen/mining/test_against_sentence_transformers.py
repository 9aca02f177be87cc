"""The chosen negatives beside those of sentence-transformers' `mine_hard_negatives`: equal, but for named reasons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sharpen.data.dataset import CORPUS, QRELS, QUERIES, DataSet
from tests.peers.same_negatives import (
    COPY,
    OWN_TEXT,
    POSITIVE,
    REASONS,
    SLOT,
    TIE,
    Choices,
    Scorer,
    compare,
    sentence_transformers,
    sharpen,
    survivors,
)

pytestmark = pytest.mark.model

WORDS = (
    "apple bread cat door earth fish garden house ice jar king lamp moon nest oven paper queen river stone tree".split()
)
QUERIES_MADE, PASSAGES_MADE = 24, 150


def data_set(seed: int, *, quirks: bool) -> DataSet:
    """Random words; with quirks: positives and passages in another spelling, a query's own text, equal queries."""
    draw = np.random.default_rng(seed)

    def text(length: int) -> str:
        return " ".join(WORDS[number] for number in draw.integers(len(WORDS), size=length))

    passages = list(dict.fromkeys(text(int(draw.integers(4, 12))) for _ in range(PASSAGES_MADE)))
    queries = list(dict.fromkeys(text(3) for _ in range(QUERIES_MADE)))
    relevant = [
        (row, int(number)) for row in range(len(queries)) for number in draw.choice(60, 1 + row % 2, replace=False)
    ]
    if quirks:
        spellings = [passages[number].upper() for _, number in relevant[:8]]
        spellings += [passages[number].title() for number in range(100, 130)]
        passages += [*spellings, *queries[:6]]
        queries.append(queries[-1].title())
        relevant.append((len(queries) - 1, 3))
    query_ids = [f"q{row:03}" for row in range(len(queries))]
    passage_ids = [f"p{row:03}" for row in range(len(passages))]
    return DataSet(
        corpus=pl.DataFrame(
            [(name, "", passage) for name, passage in zip(passage_ids, passages, strict=True)], CORPUS, orient="row"
        ),
        queries=pl.DataFrame(
            [(name, query, "train", "s", "", None) for name, query in zip(query_ids, queries, strict=True)],
            QUERIES,
            orient="row",
        ),
        qrels=pl.DataFrame([(query_ids[q], passage_ids[p], 1, "train") for q, p in relevant], QRELS, orient="row"),
    )


def test_equal_where_no_text_stands_twice(tiny_model: Path) -> None:
    data = data_set(1, quirks=False)
    choices = Choices(number=6, margin=0.05, start=0, depth=data.corpus.height, max_len=32)
    ours, theirs = sharpen(data, str(tiny_model), choices), sentence_transformers(data, str(tiny_model), choices)
    scorer = Scorer(data, str(tiny_model), 32)
    found = compare(data, ours, theirs, scorer, choices)
    assert found.queries == data.queries.height and found.ours > 3 * found.queries
    assert set(found.only_ours) | set(found.only_theirs) <= {TIE}
    assert found.equal >= found.queries - 1 and abs(found.ours - found.theirs) <= 1
    # the comparison sees a wrong choice
    query = next(query for query, chosen in ours.items() if len(chosen) == choices.number)
    lowest = scorer.ranking(query, data.corpus.height)[-1][0]
    wrong = compare(data, ours | {query: [lowest, *ours[query][1:]]}, theirs, scorer, choices)
    assert {(asked, whose) for asked, _, whose in wrong.unexplained} == {(query, "ours"), (query, "theirs")}
    # the margin decided something, and left some queries short
    assert 0 < sum(len(chosen) < choices.number for chosen in ours.values()) < found.queries


def test_every_difference_has_a_reason(tiny_model: Path) -> None:
    data = data_set(2, quirks=True)
    choices = Choices(number=12, margin=None, start=0, depth=data.corpus.height, max_len=32)
    ours = sharpen(data, str(tiny_model), choices)
    theirs = sentence_transformers(data, str(tiny_model), choices)
    found = compare(data, ours, theirs, Scorer(data, str(tiny_model), 32), choices)
    assert found.unexplained == [] and found.equal < found.queries
    # theirs does choose the query itself, positives in another spelling and the same text twice
    assert all(found.only_theirs[reason] for reason in (OWN_TEXT, POSITIVE, COPY))
    assert found.only_ours[SLOT] and set(found.only_ours) <= {SLOT, TIE} and set(found.only_theirs) <= set(REASONS)


def test_their_range_starts_after_survivors_and_ours_after_ranks(tiny_model: Path) -> None:
    data = data_set(3, quirks=False)
    choices = Choices(number=4, margin=0.02, start=5, depth=data.corpus.height, max_len=32)
    ours = sharpen(data, str(tiny_model), choices)
    theirs = sentence_transformers(data, str(tiny_model), choices)
    different = 0
    for query, left in survivors(data, Scorer(data, str(tiny_model), 32), choices):
        assert theirs[query] == [text for _, text in left[choices.start :][: choices.number]]
        assert ours[query] == [text for rank, text in left if rank > choices.start][: choices.number]
        different += ours[query] != theirs[query]
    assert different > data.queries.height // 2
