"""Every metric against pytrec_eval (trec_eval's own C code) and against figures worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpen.data.trec import read_qrels, read_run
from sharpen.evaluation.settings import MEASURES, metric_names
from sharpen.metrics import QUERIES_AT_ONCE, means, measure, ranked, ranked_run
from tests.sharpen.evaluation.trec_data import ROOT, needs_trec_data

TREC_NAMES = {"ndcg": "ndcg_cut", "recall": "recall", "map": "map_cut", "precision": "P", "hit_rate": "success"}
CUTOFFS = (1, 3, 5, 10, 100)


def all_names(cutoffs):
    """Every metric at these cutoffs, and those over the whole ranking."""
    return [*metric_names(tuple(cutoffs)), "map", "mrr"]


def trec_scores(qrels, run, cutoffs=CUTOFFS, level=1):
    """query -> our metric name -> trec_eval's value. It has no cut reciprocal rank: that comes from a cut run."""
    cuts = ",".join(map(str, cutoffs))
    wanted = {f"{name}.{cuts}" for name in TREC_NAMES.values()} | {"map", "recip_rank"}
    full = pytrec_eval.RelevanceEvaluator(qrels, wanted, relevance_level=level).evaluate(run)
    scores = {}
    for query_id, found in full.items():
        scores[query_id] = {
            f"{ours}_at_{k}": found[f"{theirs}_{k}"] for ours, theirs in TREC_NAMES.items() for k in cutoffs
        }
        scores[query_id] |= {"map": found["map"], "mrr": found["recip_rank"]}
        for k in cutoffs:
            scores[query_id][f"mrr_at_{k}"] = found["recip_rank"] if found["recip_rank"] >= 1 / k - 1e-12 else 0.0
    return scores


def assert_equals_trec_eval(qrels, run, level=1):
    expected = trec_scores(qrels, run, level=level)
    query_ids = sorted(expected)
    found = measure(qrels, ranked_run(run, np.float32), query_ids, all_names(CUTOFFS), relevance_level=level)
    assert set(found) == {*metric_names(CUTOFFS), "map", "mrr"}
    for name, column in found.items():
        assert column == pytest.approx([expected[q][name] for q in query_ids], abs=1e-12), name


@st.composite
def judged_runs(draw):
    """A few queries over a few passages, scores with many ties, graded and negative judgements, odd ids."""
    passages = draw(st.lists(st.text("aZ0é-�", min_size=1, max_size=3), min_size=1, max_size=25, unique=True))
    score = st.sampled_from([0.0, 1.0, -2.5, 1.0 + 1e-9, 0.3, 7e8])
    qrels, run = {}, {}
    for number in range(draw(st.integers(1, 5))):
        judged = draw(st.dictionaries(st.sampled_from(passages), st.integers(-1, 4), min_size=1))
        qrels[f"q{number}"] = judged
        run[f"q{number}"] = draw(st.dictionaries(st.sampled_from(passages), score, min_size=1))
    return qrels, run


@settings(max_examples=150)
@given(judged_runs(), st.integers(1, 3))
def test_equal_to_trec_eval_on_random_runs_with_ties(judged_run, level):
    qrels, run = judged_run
    assert_equals_trec_eval(qrels, run, level)


def test_equal_to_trec_eval_on_a_large_run_over_several_blocks():
    rng = np.random.default_rng(7)
    queries = QUERIES_AT_ONCE + 37
    qrels = {f"q{i}": {f"d{d}": int(rng.integers(0, 3)) for d in rng.integers(0, 300, 12)} for i in range(queries)}
    run = {q: {f"d{d}": float(np.round(rng.normal(), 1)) for d in rng.permutation(300)[:150]} for q in qrels}
    assert_equals_trec_eval(qrels, run)


def test_figures_worked_out_by_hand():
    qrels = {"q": {"a": 1, "b": 3, "c": 0, "z": 2}}
    found = means(measure(qrels, {"q": ["a", "x", "b"]}, ["q"], all_names((1, 2, 10))))
    dcg, ideal = 1 + 3 / math.log2(4), 3 + 2 / math.log2(3) + 1 / math.log2(4)
    assert found["ndcg_at_10"] == pytest.approx(dcg / ideal)
    assert found["ndcg_at_1"] == pytest.approx(1 / 3)
    assert found["recall_at_10"] == pytest.approx(2 / 3)
    assert found["precision_at_10"] == pytest.approx(0.2)
    assert found["precision_at_2"] == pytest.approx(0.5)
    assert found["map_at_10"] == found["map"] == pytest.approx((1 + 2 / 3) / 3)
    assert found["mrr_at_1"] == found["hit_rate_at_1"] == 1.0


def test_ties_go_to_the_larger_id():
    assert ranked({"d0": 1.0, "d9": 1.0, "d10": 1.0, "a": 2.0}) == ["a", "d9", "d10", "d0"]


def test_scores_closer_than_float32_tie_only_in_float32():
    scores = {"a": 1.0 + 1e-9, "b": 1.0}
    assert ranked(scores) == ["a", "b"]
    assert ranked(scores, np.float32) == ["b", "a"]


def test_constant_scores_cannot_win_by_the_order_of_the_file():
    passages = [f"d{i}" for i in range(10)]
    for order in (passages, passages[::-1]):
        run = ranked_run({"q": dict.fromkeys(order, 1.0)})
        assert measure({"q": {"d9": 1}}, run, ["q"], ["mrr_at_10"])["mrr_at_10"][0] == 1.0
        assert measure({"q": {"d0": 1}}, run, ["q"], ["mrr_at_10"])["mrr_at_10"][0] == pytest.approx(0.1)


def test_a_query_without_a_ranking_or_without_a_relevant_passage_scores_zero():
    qrels = {"found": {"a": 1}, "missing": {"a": 1}, "nothing": {"a": 0}}
    found = measure(qrels, {"found": ["a"], "nothing": ["a"]}, sorted(qrels), all_names((10,)))
    for name, column in found.items():
        assert column[0] > 0, name
        assert column[1] == column[2] == 0.0, name


def fixture_values(name):
    values = {}
    for line in (ROOT / "trec_eval" / name).read_text().splitlines():
        metric, query_id, value = line.split()
        values.setdefault(query_id, {})[metric] = value
    return values


@needs_trec_data
@pytest.mark.parametrize(
    ("official", "qrels_file", "run_file", "level", "missing"),
    [
        ("out.test.aq", "qrels.test", "results.test", 1, False),
        ("out.test.aqc", "qrels.test", "results.trunc", 1, True),
        ("out.test.aql", "qrels.rel_level", "results.test", 2, False),
    ],
)
def test_the_official_figures_of_trec_eval(official, qrels_file, run_file, level, missing):
    qrels = read_qrels(ROOT / "trec_eval" / qrels_file)
    run = read_run(ROOT / "trec_eval" / run_file)
    expected = fixture_values(official)
    cutoffs = (5, 10, 20, 30, 100, 200, 1000)
    query_ids = sorted(qrels if missing else set(qrels) & set(run))
    found = measure(qrels, ranked_run(run, np.float32), query_ids, all_names(cutoffs), relevance_level=level)
    names = {f"{ours}_at_{k}": f"{theirs}_{k}" for ours, theirs in TREC_NAMES.items() for k in cutoffs}
    names |= {"map": "map", "mrr": "recip_rank"}
    compared = 0
    for ours, theirs in names.items():
        for query_id, value in {**dict(zip(query_ids, found[ours], strict=True)), "all": found[ours].mean()}.items():
            if theirs in expected[query_id]:
                assert f"{value:.4f}" == expected[query_id][theirs], (query_id, theirs)
                compared += 1
    assert compared >= 4 * 25
    assert_equals_trec_eval(qrels, run, level)


@needs_trec_data
def test_bm25_on_cacm():
    qrels = read_qrels(ROOT / "cacm" / "qrels.cacm.txt")
    run = read_run(ROOT / "cacm" / "cacm-bm25.txt")
    found = measure(qrels, ranked_run(run, np.float32), sorted(qrels), metric_names((30,)))
    assert len(qrels) == 52
    assert f"{found['precision_at_30'].mean():.4f}" == "0.1942"
    assert_equals_trec_eval(qrels, run)


def test_metric_names():
    assert metric_names((10, 1))[:2] == ["ndcg_at_1", "ndcg_at_10"]
    assert len(metric_names(CUTOFFS)) == len(MEASURES) * len(CUTOFFS)
