"""An index of long passages in windows: what is stored, and what a query finds, against windows by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sharpen.embeddings.encoding import encode
from sharpen.index import shards
from sharpen.index.build import index
from sharpen.index.quantization import cut
from sharpen.index.search import OpenIndex
from sharpen.index.settings import IndexSettings
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from tests.sharpen.embeddings.by_hand import window_vectors, words
from tests.sharpen.index.corpora import write_lines

pytestmark = pytest.mark.model

# most fit into a window of 32 tokens, one has sixty
LENGTHS = [*range(3, 28), 45, 70, 1300, 120]
TITLES = ["" if seed % 3 else words(3, seed) for seed in range(len(LENGTHS))]
TEXTS = [words(length, seed) for seed, length in enumerate(LENGTHS)]
QUERIES = [" ".join(text.split()[-12:]) for text in (TEXTS[4], TEXTS[20], *TEXTS[-4:])] + ["river", words(12, 99)]
WINDOWS = {"precision": "fp32", "query_max_len": 32, "passage_max_len": 32, "window_overlap": 8}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long passages")
    rows = zip(TITLES, TEXTS, strict=True)
    write_lines(
        folder / "corpus.jsonl",
        [{"_id": f"p{n:02}", "title": title, "text": text} for n, (title, text) in enumerate(rows)],
    )
    return folder


def settings(windows: str = "max") -> EncoderSettings:
    return EncoderSettings.checked({**WINDOWS, "passage_windows": windows})


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"index": "IVF1,Flat"},
        {"truncate_dim": 16, "vector_precision": "fp16"},
        {"vector_precision": "int8"},
        {"vector_precision": "binary"},
    ],
    ids=str,
)
def test_a_query_finds_the_passages_whose_best_windows_score_highest(
    given: dict[str, Any], corpus: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_MOST_ROWS", 37)  # the windows of a passage are in several files
    index(str(corpus), str(tiny_model), str(tmp_path / "out"), IndexSettings.checked(given), settings())
    opened = OpenIndex(str(tmp_path / "out"))
    made, encoder = opened.manifest, Encoder.load(str(tiny_model), settings(), device="cpu")
    by_hand = [window_vectors(encoder, title, text) for title, text in zip(TITLES, TEXTS, strict=True)]
    assert (made.passages, made.vectors, len(made.embeddings.files)) == (29, sum(map(len, by_hand)), 3)
    dimension = given.get("truncate_dim", 32)
    vectors = cut(np.concatenate(by_hand), dimension, normalize=True)
    stored = made.codec.decode(made.codec.encode(vectors))
    step = 2 * made.codec.scale + 1e-3 if made.codec.precision in ("int8", "fp16") else 1e-5
    if made.codec.precision != "binary":
        np.testing.assert_allclose(opened.found.vectors[:], stored, atol=step)
    passages = np.repeat(np.arange(29), list(map(len, by_hand)))
    for text, query in zip(QUERIES, cut(encode(encoder, QUERIES, "query"), dimension, normalize=True), strict=True):
        scores = opened.found.vectors[:] @ query
        best = [scores[passages == row].max() for row in range(29)]
        hits = opened.ask(text, 29).hits
        assert len({hit.passage_id for hit in hits}) == len(hits) == 29
        np.testing.assert_allclose(
            [hit.score for hit in hits], [best[int(hit.passage_id[1:])] for hit in hits], atol=1e-5
        )
        np.testing.assert_allclose([hit.score for hit in hits], sorted(best, reverse=True), atol=1e-5)
        assert len(opened.ask(text, 5).hits) == 5


def test_rows_hold_the_text_of_their_window_and_a_hit_shows_it(corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    index(str(corpus), str(tiny_model), str(tmp_path / "out"), IndexSettings.checked({}), settings())
    table = pl.read_parquet(tmp_path / "out" / "embeddings")
    long = table.filter(pl.col("passage_id") == "p27")
    assert long["window"].to_list() == list(range(1, len(long) + 1)) and len(long) > 55
    assert long["title"].unique().to_list() == [TITLES[27]] != [""]
    room = 30 - 3
    assert long["text"][0].split() == TEXTS[27].split()[: 30 - 3] and len(long["text"][3].split()) == room
    assert all(text in TEXTS[27] for text in long["text"])
    assert long["text"].str.len_chars().sum() < 1.6 * len(TEXTS[27])
    short = table.filter(pl.col("passage_id") == "p04")
    assert short.rows(named=True)[0] | {"vector": None} == {
        "passage_id": "p04",
        "vector": None,
        "window": 1,
        "title": TITLES[4],
        "text": TEXTS[4],
    }
    hit = OpenIndex(str(tmp_path / "out")).ask(long["text"][30], 4).hits[0]
    assert (hit.passage_id, hit.title, hit.text, hit.window) == ("p27", TITLES[27], long["text"][30], 31)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "max of windows of 32 tokens that share 8" in page and f"{len(table):,}" in page


def test_a_mean_is_one_vector_and_windows_of_short_passages_change_nothing(
    corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    index(str(corpus), str(tiny_model), str(tmp_path / "mean"), IndexSettings.checked({}), settings("mean"))
    opened = OpenIndex(str(tmp_path / "mean"))
    assert opened.manifest.vectors is None and len(opened.found) == 29
    assert opened.ask(QUERIES[0], 3).hits[0].window is None
    whole = opened.encoder
    means = [window_vectors(whole, title, text).mean(axis=0) for title, text in zip(TITLES, TEXTS, strict=True)]
    np.testing.assert_allclose(opened.found.vectors[:], [one / np.linalg.norm(one) for one in means], atol=1e-6)
    write_lines(tmp_path / "short" / "corpus.jsonl", [{"_id": "a", "text": "a road"}, {"_id": "b", "text": "the sea"}])
    for kind in ("none", "max"):
        index(str(tmp_path / "short"), str(tiny_model), str(tmp_path / kind), IndexSettings.checked({}), settings(kind))
    first, second = (pl.read_parquet(tmp_path / kind / "embeddings") for kind in ("none", "max"))
    assert first.equals(second)
