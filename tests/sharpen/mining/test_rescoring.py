"""Choosing by a cross-encoder's scores: against the slow choice, lazily, again after a kill, and as a teacher."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpen.data.dataset import NEGATIVES, TEACHER_SCORES, read_table
from sharpen.data.dedup import exact_keys
from sharpen.data.readers import read_dataset
from sharpen.embeddings.shards import ShardFolder
from sharpen.errors import InputError
from sharpen.mining import mine as step
from sharpen.mining.mine import mine
from sharpen.mining.report.false_negative_rate import NO_FILTERS
from sharpen.mining.report.statistics import MiningStats
from sharpen.mining.settings import MiningSettings
from sharpen.reranking.score_cache import ScoreCache
from sharpen.settings import EncoderSettings
from sharpen.training.data.build_dataset import make_examples
from sharpen.training.inputs import with_teacher
from sharpen.training.settings import TrainingSettings
from tests.sharpen.mining.corpora import Judge, World, mined, random_rankings, random_world, world
from tests.sharpen.mining.slow_choice import Slow
from tests.sharpen.mining.test_selection import counts, expected_counts, mining, worlds


def few_scores(seed: int, query: str, passage: str) -> float:
    """One of seven scores, some negative, for a pair of texts."""
    return hashlib.sha256(f"{seed} {query} {passage}".encode()).digest()[0] % 7 - 3.0


@settings(max_examples=80)
@given(worlds, mining, st.integers(0, 10**6))
def test_equals_the_slow_choice_and_emits_nothing_filtered(made: World, rules: MiningSettings, seed: int) -> None:
    others = random_rankings(made, rules.candidate_sources, seed)
    second = partial(few_scores, seed)
    slow, plain = Slow(made, second, rules.relevance_level), Slow(made, level=rules.relevance_level)
    with tempfile.TemporaryDirectory() as folder:
        rows, figures = mined(made, rules, Path(folder), others, Judge(second, f"few {seed}"))
        positives = read_table(Path(folder) / "teacher_scores", TEACHER_SCORES).rows()
    columns = ("query_id", "passage_id", "picked_by", "rank", "source")
    asked = figures.pool.query_ids
    expected = [(q, *row) for q in asked for row in slow.choose(q, rules, others)]
    assert [tuple(row[name] for name in columns) for row in rows] == expected
    for row in rows:
        assert row["teacher_score"] == slow.rescored(row["query_id"], row["passage_id"])
        if row["picked_by"] != "given":
            assert slow.passes(row["query_id"], row["passage_id"], rules)
    assert positives == [(q, p, slow.rescored(q, p)) for q in figures.pool.query_ids for p in sorted(slow.positives[q])]

    assert counts(figures) == expected_counts(slow, asked, rules, others)

    # the estimate judges what each way chooses by the same scores
    top = {"range_for_sampling": f"0-{rules.negative_number}", "sampling": "top", "random_share": 0.0, "top_up": "off"}
    ways = {
        "as_set": (slow, {}),
        "by_the_mining_model": (plain, {}),
        "without_filters": (plain, NO_FILTERS),
        "top_without_filters": (plain, NO_FILTERS | top),
    }
    report = figures.report()["rescoring"]
    for way, (chooser, changes) in ways.items():
        values = rules.model_copy(update=changes)
        chosen = [(q, row[0]) for q in asked for row in chooser.choose(q, values, others) if row[1] != "given"]
        false = sum(slow.rescored(q, p) >= slow.rescored_anchor(q) for q, p in chosen)
        assert report["judged_negatives"][way] == len(chosen)
        assert report[f"rate_{way}"] == (false / len(chosen) if chosen else None)


def test_no_more_pairs_are_scored_than_the_choice_needs(tmp_path: Path) -> None:
    passages = [(f"p{number:03}", f"text {number}", [200.0 - number]) for number in range(200)]
    made = world([("q", "query", [1.0])], passages, [("q", "p000")])
    rules = MiningSettings.checked({"range_for_sampling": "0-200", "negative_number": 5, "sampling": "top"})
    # every second passage is as relevant as the positive
    judge = Judge(lambda query, passage: 10.0 * (int(passage.split()[1]) % 2 == 0), "second")
    rows, _ = mined(made, rules, tmp_path, judge=judge)
    assert [row["passage_id"] for row in rows] == ["p001", "p003", "p005", "p007", "p009"]
    assert len(judge.asked) == len(set(judge.asked)) < 30


def test_a_query_whose_label_is_wrong_does_not_have_the_corpus_scored(tmp_path: Path) -> None:
    passages = [(f"p{number:04}", f"text {number}", [1000.0 - number]) for number in range(1000)]
    made = world([("q", "query", [1.0])], passages, [("q", "p0000")])
    rules = MiningSettings.checked({"range_for_sampling": "0-20", "further_ranks": 10, "negative_number": 5})
    judge = Judge(lambda query, passage: -1.0 if passage == "text 0" else 1.0, "wrong label")
    rows, figures = mined(made, rules, tmp_path, judge=judge)
    assert rows == [] and figures.missing == 5
    assert len(judge.asked) <= 30 + 4 * 5 + 16 + 15


def test_a_killed_run_goes_on_and_a_second_one_scores_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "QUERIES_AT_ONCE", 4)
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "cache"))
    made = random_world(3, queries=20, passages=60)
    rules = MiningSettings.checked({"range_for_sampling": "2-20", "negative_number": 4})
    whole = Judge(partial(few_scores, 1), "whole")
    expected, _ = mined(made, rules, tmp_path / "whole", judge=whole)

    def killed(query: str, passage: str) -> float:
        if len(first.asked) > len(whole.asked) / 2:
            raise KeyboardInterrupt
        return few_scores(1, query, passage)

    first = Judge(killed, "same")
    with pytest.raises(KeyboardInterrupt):
        mined(made, rules, tmp_path / "first", judge=first)
    second = Judge(partial(few_scores, 1), "same")
    assert mined(made, rules, tmp_path / "second", judge=second)[0] == expected
    assert 0 < len(second.asked) < len(whole.asked)
    third = Judge(partial(few_scores, 1), "same")
    assert mined(made, rules, tmp_path / "third", judge=third)[0] == expected
    assert third.asked == []

    for damaged in (tmp_path / "cache" / "vectors").rglob("*.npz"):
        damaged.write_bytes(damaged.read_bytes()[:40])
    assert mined(made, rules, tmp_path / "fourth", judge=third)[0] == expected
    assert len(third.asked) == len(whole.asked)


def test_added_data_has_only_its_own_pairs_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New passages and queries, in other places of the corpus and of other blocks, leave what is unchanged valid."""
    monkeypatch.setattr(step, "QUERIES_AT_ONCE", 4)
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "cache"))
    rules = MiningSettings.checked({"range_for_sampling": "0-40", "negative_number": 30, "sampling": "top"})
    passages = [(f"p{number:02}", f"text {number}", [float(number)]) for number in range(40)]
    queries = [(f"q{number:02}", f"query {number}", [1.0]) for number in range(20)]
    positives = [(query_id, "p00") for query_id, _, _ in queries]
    made = world(queries, passages, positives)
    passages = [("o", "text new", [5.5]), *passages]
    queries = [queries[0], ("q00a", "query new", [1.0]), *queries[1:]]
    more = world(queries, passages, [*positives, ("q00a", "p01")])

    first, second = (Judge(partial(few_scores, 1), "same") for _ in range(2))
    mined(made, rules, tmp_path / "first", judge=first)
    rows, _ = mined(more, rules, tmp_path / "second", judge=second)
    assert not set(first.asked) & set(second.asked)
    assert all("new" in "".join(pair) for pair in second.asked) and second.asked
    whole = Judge(partial(few_scores, 1), "another")
    assert rows == mined(more, rules, tmp_path / "whole", judge=whole)[0]
    assert len(second.asked) < len(whole.asked) / 5


def replaced_by_a_file(cache: Path) -> None:
    """What lies where the vectors are is a file from now on, so that nothing can be written there, root or not."""
    shutil.rmtree(cache / "vectors", ignore_errors=True)
    (cache / "vectors").write_text("")


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_cache_that_cannot_be_written_is_a_note_and_ends_no_run(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(step, "QUERIES_AT_ONCE", 4)
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "cache"))
    made, rules = random_world(3, queries=20, passages=60), MiningSettings.checked({"range_for_sampling": "2-20"})
    expected, _ = mined(made, rules, tmp_path / "whole", judge=Judge(partial(few_scores, 1), "whole"))

    def scored(query: str, passage: str) -> float:
        if len(judge.asked) > 100 and not (tmp_path / "cache" / "vectors").is_file():
            replaced_by_a_file(tmp_path / "cache")
        return few_scores(1, query, passage)

    judge = Judge(scored, "same")
    if when == "before":
        replaced_by_a_file(tmp_path / "cache")
    assert mined(made, rules, tmp_path / "out", judge=judge)[0] == expected
    assert capsys.readouterr().out.count("note: scores of the cross-encoder are not kept (") == 1


def test_a_cache_that_cannot_be_written_hides_no_other_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "cache"))

    def killed(query: str, passage: str) -> float:
        if len(judge.asked) > 300:
            replaced_by_a_file(tmp_path / "cache")
            raise ZeroDivisionError
        return few_scores(1, query, passage)

    judge = Judge(killed, "same")
    rules = MiningSettings.checked({"range_for_sampling": "2-20"})
    with pytest.raises(ZeroDivisionError):
        mined(random_world(3, queries=20, passages=60), rules, tmp_path / "out", judge=judge)


def test_scores_and_vectors_are_kept_below_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path))
    keys, scores = exact_keys([f"text {number}" for number in range(50)]), np.zeros(50, dtype=np.float32)

    def folder(identity: str, ago: float) -> Path:
        cache = ScoreCache(identity, 20)
        cache.add(np.sort(keys), keys, scores)
        os.utime(tmp_path / "vectors" / f"scores-{identity}", (time.time() - ago,) * 2)
        return tmp_path / "vectors" / f"scores-{identity}"

    old, vectors, recent = folder("old", 8000), tmp_path / "vectors" / "0123", folder("recent", 1000)
    ShardFolder(vectors, {}, 2)
    os.utime(vectors / "encoder.json", (time.time() - 7000,) * 2)
    ScoreCache("new", 20)
    assert old.exists() and vectors.exists()
    ScoreCache("new", 0)
    assert (old.exists(), vectors.exists(), recent.exists()) == (False, False, True)


def test_a_hidden_positive_is_judged_by_the_cross_encoder(tmp_path: Path) -> None:
    """The mining model scores A above B; the cross-encoder takes both for equally relevant, and catches either."""
    passages = [("a", "A", [8.0]), ("b", "B", [4.0])]
    passages += [(f"p{number:02}", f"other {number}", [2.0 - number]) for number in range(30)]
    queries = [(f"q{number:03}", f"query {number}", [1.0]) for number in range(40)]
    made = world(queries, passages, [(query_id, letter) for query_id, _, _ in queries for letter in "ab"])
    rules = MiningSettings.checked({"range_for_sampling": "0-20", "sampling": "top", "negative_number": 2})
    judge = Judge(lambda query, passage: 5.0 if passage in "AB" else -5.0, "both")
    hidden = mined(made, rules, tmp_path / "with", judge=judge)[1].false_negatives.report()
    alone = mined(made, rules, tmp_path / "without")[1].false_negatives.report()
    assert hidden and alone and hidden["rate_without_filters"] == alone["rate_without_filters"] == 1.0
    assert hidden["rate_as_set"] == 0.0 < alone["rate_as_set"]
    assert hidden["outcome"] == {"relative_margin": 40}


def test_what_is_surely_relevant_is_no_negative_however_far_below_the_positive(tmp_path: Path) -> None:
    """Logits 7.5 below 8.0 are probabilities of .9994 below .9997; 2.3 stands for .909 and 2.1 for .891."""
    scores = {"positive": 8.0, "a": 7.5, "b": 2.3, "c": 2.1, "d": -1.0}
    passages = [(name, name, [float(-place)]) for place, name in enumerate(scores)]
    made = world([("q", "query", [1.0])], passages, [("q", "positive")])

    def chosen(scores: dict[str, float], **values: object) -> tuple[list[str], MiningStats]:
        rules = {"rescoring_model": "judge", "negative_number": 4, "range_for_sampling": "0-5", **values}
        judge = Judge(lambda query, passage: scores[passage], repr(scores))
        rows, figures = mined(made, MiningSettings.checked(rules), tmp_path / f"{values}{scores}", judge=judge)
        return [row["passage_id"] for row in rows], figures

    found, figures = chosen(scores)
    # the margin takes what is near the positive's probability, the ceiling the rest
    assert found == ["c", "d"]
    dropped = figures.report()["dropped_by_rule"]
    assert (dropped["relative_margin"], dropped["rescoring_max_score"]) == (1, 1)
    assert chosen(scores, rescoring_max_score=None)[0] == ["b", "c", "d"]
    assert chosen(scores, rescoring_max_score=None, relative_margin=None)[0] == ["a", "b", "c", "d"]
    assert chosen(scores, rescoring_max_score=None, relative_margin=None, absolute_margin=0.1)[0] == ["c", "d"]
    # below: a positive of probability .27 keeps negatives that are 5 % less likely
    low = {"positive": -1.0, "a": -1.02, "b": -1.1, "c": -3.0, "d": -9.0}
    assert chosen(low)[0] == ["b", "c", "d"]

    already = {"positive": 0.99, "a": 0.95, "b": 0.92, "c": 0.9, "d": 0.0}
    assert chosen(already, rescoring_activation="identity", relative_margin=0.05)[0] == ["c", "d"]
    with pytest.raises(InputError, match=r"rescoring_activation: identity, but .* such as 7.5, which are no prob"):
        chosen(scores, rescoring_activation="identity")


@pytest.mark.model
def test_the_scores_reach_distillation(tiny_model: Path, cross_encoder: Path, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder as Theirs
    from torch import nn

    from tests.sharpen.mining.test_mine import make_rows, write

    rows = make_rows()
    rows[0] |= {"pos_scores": [1.0] * len(rows[0]["pos"]), "neg_scores": [0.5] * len(rows[0]["neg"])}
    data = write(tmp_path, rows)
    encoder = EncoderSettings.checked({"query_max_len": 32, "passage_max_len": 32, "precision": "fp32"})
    rules = {"range_for_sampling": "2-40", "negative_number": 5, "rescoring_model": str(cross_encoder)}
    mine(data, str(tiny_model), str(tmp_path / "out"), MiningSettings.checked(rules), encoder)

    dataset = read_dataset(data)
    queries = dict(dataset.queries.select("query_id", "text").iter_rows())
    texts = dict(dataset.corpus.select("passage_id", "text").iter_rows())
    table = read_table(tmp_path / "out" / "negatives", NEGATIVES)
    pairs = [(queries[q], texts[p]) for q, p in table.select("query_id", "passage_id").iter_rows()]
    theirs = Theirs(str(cross_encoder), device="cpu")
    expected = theirs.predict(pairs, activation_fn=nn.Identity(), show_progress_bar=False)
    np.testing.assert_allclose(table["teacher_score"].to_numpy(), expected, atol=1e-5)

    scored = with_teacher(dataset, tmp_path / "out")
    examples = make_examples(scored, table, TrainingSettings.checked({"knowledge_distillation": True}))
    assert examples.distilled and examples.counts["positives_without_teacher_score"] == 0
    for query in range(len(examples)):
        own = [*examples.positives[query].tolist(), *examples.negatives[query].tolist()]
        pairs = [(examples.queries[query], examples.texts[number]) for number in own]
        expected = theirs.predict(pairs, activation_fn=nn.Identity(), show_progress_bar=False)
        np.testing.assert_allclose(examples.teacher(query, own), expected, atol=1e-5)

    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["rescoring"]["judged_queries"] == 30 and report["rescoring"]["rate_as_set"] == 0.0
    assert sum(report["rescoring"]["positive_scores"]["counts"]) == report["positives"]
    assert sum(report["rescoring"]["negative_scores"]["counts"]) == report["negatives"] == table.height
    assert report["rescoring"]["pairs_scored"] >= table.height + report["positives"]
    assert any("teacher scores of the data are not used" in notice for notice in report["notices"])
    assert pl.read_parquet(tmp_path / "out" / "negatives")["source"].unique().sort().to_list() == ["model"]
