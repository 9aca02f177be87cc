"""Mining with an approximate index: what it finds is judged as ever, and what it misses is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from transformers import BertConfig, BertModel

from sharpen.errors import InputError
from sharpen.index import ann
from sharpen.index.ann import Effort
from sharpen.index.exact import Neighbours, top_k
from sharpen.mining.mine import mine
from sharpen.mining.rankings import Approximate, MinerEmbeddings, approximated, best_positive_ranks, search_facts
from sharpen.mining.report.summary import summary
from sharpen.mining.settings import MiningSettings
from sharpen.settings import EncoderSettings
from tests.sharpen.mining import corpora
from tests.sharpen.mining.corpora import world

ENCODER = EncoderSettings.checked({"query_max_len": 32, "passage_max_len": 32, "precision": "fp32"})
WORDS = "river tree moon milk winter train doctor yellow number sugar stone light paper road summer horse".split()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Forty queries whose positive is among 440 passages of different words."""
    draw = np.random.default_rng(3)
    texts = list(dict.fromkeys(" ".join(draw.choice(WORDS, 6)) for _ in range(500)))[:440]
    rows = [
        {"query": f"{texts[n]} at home", "pos": [texts[n]], "neg": texts[40 + 10 * n : 50 + 10 * n]} for n in range(40)
    ]
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def settings(**values: object) -> MiningSettings:
    return MiningSettings.checked({"range_for_sampling": "3-60", "negative_number": 5, **values})


def mined(data: str, model: Path, output: Path, **values: object) -> tuple[pl.DataFrame, dict]:
    mine(data, str(model), str(output), settings(**values), ENCODER)
    return pl.read_parquet(output / "negatives"), json.loads((output / "report.json").read_text())


@pytest.mark.model
def test_an_index_that_finds_everything_changes_nothing(data: str, tiny_model: Path, tmp_path: Path) -> None:
    exact, report = mined(data, tiny_model, tmp_path / "exact")
    assert report["search"] == {"model": {"index": "exact"}}
    assert not any("approximate" in line for line in summary(report))
    # four bits a dimension: coarse candidates, all of which are scored anew
    all_found, report = mined(data, tiny_model, tmp_path / "all", index="SQ4")
    assert report["search"]["model"]["recall"] == 1.0
    assert all_found.equals(exact)


@pytest.mark.model
def test_what_an_approximate_index_finds_is_told(data: str, tiny_model: Path, tmp_path: Path) -> None:
    exact, _ = mined(data, tiny_model, tmp_path / "exact", sampling="top", relative_margin=None)
    options = {
        "sampling": "top",
        "relative_margin": None,
        "index": "IVF16,Flat",
        "candidate_sources": f"model,model:{tiny_model}",
    }
    near, report = mined(data, tiny_model, tmp_path / "near", **options)
    for name in ("model", f"model:{tiny_model}"):
        facts = report["search"][name]
        assert facts["index"] == "IVF16,Flat" and 0.95 <= facts["recall"] <= 1
        assert (facts["ranks"] >= 60, facts["queries"]) == (True, 40)
    page = (tmp_path / "near" / "report.html").read_text()
    assert "Approximate search (IVF16,Flat): it finds" in page and f"Approximate search with {tiny_model}" in page
    assert sum("approximate search IVF16,Flat: finds" in line for line in summary(report)) == 2
    both = near.join(exact, on=["query_id", "passage_id"], suffix="_exact")
    assert len(both) >= 0.9 * len(exact)
    assert (both["score"] == both["score_exact"]).all() and (
        both["positive_score"] == both["positive_score_exact"]
    ).all()


@pytest.mark.model
@pytest.mark.parametrize("index", ["nonsense", "IVF5000,Flat", "IVF4,PQ7"])
def test_an_index_that_cannot_be_made_is_told_before_any_work(
    index: str, data: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=f"index '{index}'"):
        mine(data, str(tiny_model), str(tmp_path / "out"), settings(index=index), ENCODER)
    assert not list(tmp_path.iterdir())
    assert "Encoding" not in capsys.readouterr().out


@pytest.mark.model
def test_an_index_that_another_models_vectors_do_not_fit_is_told_before_any_work(
    data: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """PQ16 cuts 32 dimensions into 16 parts, but not the 24 of the other model; bm25 before it is not begun."""
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    BertModel(BertConfig(vocab_size=400, hidden_size=24, num_attention_heads=2, num_hidden_layers=1)).save_pretrained(
        other
    )
    options = {"index": "IVF4,PQ16", "candidate_sources": f"model,bm25,model:{other}"}
    with pytest.raises(InputError, match=f"^model:{other}, 24 dimensions: index 'IVF4,PQ16'"):
        mine(data, str(tiny_model), str(tmp_path / "out"), settings(**options), ENCODER)
    assert not (tmp_path / "out").exists()
    said = capsys.readouterr().out
    assert "Searching with BM25" not in said and "Encoding" not in said


def test_auto_is_exact_up_to_a_size() -> None:
    from sharpen.index.ann import chosen_factory

    assert chosen_factory("auto", 1000, 1000, 32) == "exact"
    assert chosen_factory("auto", 1000, 1001, 32) == "IVF128,SQ8"
    assert chosen_factory("exact", 10, 10**9, 32) == "exact"
    assert chosen_factory("HNSW8", 10**9, 10, 32) == "HNSW8"


def test_lists_that_hold_too_little_leave_empty_places_at_the_end() -> None:
    draw = np.random.default_rng(0)
    queries, passages = (draw.standard_normal((rows, 8)).astype(np.float32) for rows in (20, 300))
    found = approximated(queries, passages, 250, "IVF64,Flat", seed=0)
    assert found is not None
    vectors = MinerEmbeddings(queries, passages, found)
    indices = np.concatenate([block.indices for block in vectors.nearest(250)])
    empty = indices < 0
    assert (np.diff(empty.astype(int), axis=1) >= 0).all()
    assert search_facts(found)["recall"] == pytest.approx(
        np.mean(
            [np.isin(row, hits).mean() for row, hits in zip(top_k(queries, passages, 250)[1], indices, strict=True)]
        )
    )


def test_a_positive_that_the_index_missed_does_not_make_its_query_inconsistent(tmp_path: Path) -> None:
    """One of 32 lists is read: most positives are missed, though the exact search ranks half of them in the top 10."""
    draw = np.random.default_rng(5)
    passages = draw.standard_normal((600, 12)).astype(np.float32)
    queries = draw.standard_normal((80, 12)).astype(np.float32)
    exact = top_k(queries, passages, 600)[1]
    # the best of two positives has the rank 1, 2, ..., 20 and 1 again
    ranks = [query % 20 for query in range(80)]
    positives = [(query, int(exact[query, rank])) for query, best in enumerate(ranks) for rank in (best, 300)]
    made = world(
        [(f"q{number:02}", f"query {number}", row.tolist()) for number, row in enumerate(queries)],
        [(f"p{number:03}", f"text {number}", row.tolist()) for number, row in enumerate(passages)],
        [(f"q{query:02}", f"p{passage:03}") for query, passage in positives],
    )

    def poor(vectors: np.ndarray) -> Approximate:
        index = ann.build_index(vectors, "IVF32,Flat", seed=0)
        return Approximate(index, "IVF32,Flat", Effort(looked_at=1, candidates_per_hit=1, recall=0, k=1, queries=1))

    indices = np.concatenate([block.indices for block in poor(passages).blocks(queries, passages, 100)])
    missed = sum(exact[query, rank] not in indices[query] for query, rank in enumerate(ranks))
    assert missed > 40
    rules = settings(consistency_top=10, on_inconsistent="drop", relative_margin=None)
    _, figures = corpora.mined(made, rules, tmp_path, index=poor)
    listed = pl.read_parquet(tmp_path / "inconsistent")
    good = {f"q{query:02}" for query, rank in enumerate(ranks) if rank < 10}
    assert not good & set(listed["query_id"])
    # never ranked lower than the exact search ranks them, and below what was found where they are
    assert all(0 < best <= rank + 1 for best, rank in zip(np.concatenate(figures.best_ranks), ranks, strict=True))

    _, figures = corpora.mined(made, rules, tmp_path / "exact")
    assert np.concatenate(figures.best_ranks).tolist() == [rank + 1 for rank in ranks]
    assert figures.dropped_queries == 40


def test_a_tied_positive_has_the_rank_that_the_search_gives_it() -> None:
    found = Neighbours(
        0, np.array([[3.0, 2.0, 2.0], [3.0, 2.0, -np.inf]], np.float32), np.array([[7, 4, 6], [7, 4, -1]])
    )
    for passage, expected in ((3, [2, 2]), (4, [2, 2]), (5, [3, 3]), (6, [3, 3]), (8, [0, 3])):
        ranks = best_positive_ranks(found, np.array([passage] * 2), np.array([2.0, 2.0], np.float32))
        assert ranks.tolist() == expected
    assert best_positive_ranks(found, np.array([1, 1]), np.array([4.0, 1.0], np.float32)).tolist() == [1, 3]
