"""One evaluation with everything to compare with, each of its files against figures made another way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import pytrec_eval

import sharpen
from components.evaluation.__main__ import command
from sharpen.data.trec import read_run
from sharpen.embeddings import encoding
from sharpen.embeddings.encoding import encode
from sharpen.errors import InputError
from sharpen.evaluation.evaluate import evaluate, evaluate_systems
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.evaluation.systems.fusion import reciprocal_rank, weighted_minmax
from sharpen.index.lexical import Bm25
from sharpen.metrics import ranked
from sharpen.models.encoder import Encoder
from sharpen.reranking.cross_encoder import CrossEncoder
from sharpen.store import storage
from tests.sharpen.evaluation.test_evaluate import FAST, SHORT, other_model, read_beir_qrels, write_beir

__all__ = ["other_model"]  # a fixture

pytestmark = pytest.mark.model

SYSTEMS = ("bm25", "fusion", "fusion-minmax", "reranked", "bm25-reranked", "peer")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model, other_model, cross_encoder) -> Path:
    """``data``, ``general``, and the evaluation ``out`` of the tiny model against all `SYSTEMS`."""
    root = tmp_path_factory.mktemp("systems")
    write_beir(root / "data")
    write_beir(root / "general", queries=20, passages=60, seed=4)
    settings = EvaluationSettings.checked(
        {
            "resamples": 200,
            "systems": f"bm25,fusion,fusion-minmax,peer={other_model}",
            "bm25_language": "none",
            "fusion_weight": 0.7,
            "reranking_model": str(cross_encoder),
            "reranking_depth": 20,
            "reranking_max_len": 64,
            "guard_data": str(root / "general"),
            "slices": "query_tokens",
            "slice_min_queries": 2,
            "variants": "dim:16,int8,dim:16+binary",
            "cost_per_hour": 3.6,
            "judge_pairs": 25,
        }
    )
    evaluate(str(tiny_model), str(root / "data"), "test", str(root / "out"), settings, SHORT)
    return root


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def texts(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Queries and passages of a BEIR folder, by id."""
    read = [
        {row["_id"]: row["text"] for row in map(json.loads, (folder / f"{name}.jsonl").read_text().splitlines())}
        for name in ("queries", "corpus")
    ]
    return read[0], read[1]


def of_run(folder: Path, name: str = "") -> dict[str, list[tuple[str, float]]]:
    run = read_run(folder / "out-systems" / name / "run.trec" if name else folder / "out" / "run.trec")
    return {query_id: [(p, scores[p]) for p in ranked(scores)] for query_id, scores in run.items()}


def ndcg(folder: Path, run: dict[str, dict[str, float]]) -> float:
    found = pytrec_eval.RelevanceEvaluator(read_beir_qrels(folder), {"ndcg_cut.10"}).evaluate(run)
    return float(np.mean([value["ndcg_cut_10"] for value in found.values()]))


def test_every_system_is_an_evaluation_that_pytrec_eval_agrees_with(folder):
    comparison = read_json(folder / "out" / "comparison.json")["against"]
    assert sorted(comparison) == sorted(SYSTEMS)
    for name in SYSTEMS:
        address = folder / "out-systems" / name
        assert storage.read_manifest(str(address)).rows == {"queries": 30, "passages": 150}
        metrics = read_json(address / "metrics.json")
        assert metrics["ndcg_at_10"] == pytest.approx(ndcg(folder / "data", read_run(address / "run.trec")), abs=1e-9)
        assert comparison[name]["reference"] == str(address)
        assert comparison[name]["metrics"]["ndcg_at_10"]["reference"] == pytest.approx(metrics["ndcg_at_10"])
        facts = read_json(address / "facts.json")
        qrels, run = read_beir_qrels(folder / "data"), of_run(folder, name)
        unjudged = [p for q, hits in run.items() for p, _ in hits[:10] if p not in qrels[q]]
        assert facts["unjudged_in_top_10"] == len(unjudged) > 0
    hashes = {read_json(folder / "out-systems" / name / "facts.json")["model_hash"] for name in SYSTEMS}
    assert len(hashes) == len(SYSTEMS)


def test_bm25_ranks_by_its_scores_and_id(folder):
    queries, passages = texts(folder / "data")
    index = Bm25(list(passages.values()), "none")
    for query_id, hits in of_run(folder, "bm25").items():
        scores = dict(zip(passages, index.scores(queries[query_id]).tolist(), strict=True))
        expected = [p for p in ranked(scores) if scores[p] > 0][:100]
        assert [p for p, _ in hits] == expected


def test_fusions_are_made_of_the_two_runs(folder):
    dense, lexical = of_run(folder), of_run(folder, "bm25")
    for name, fuse in (
        ("fusion", lambda q: reciprocal_rank((dense[q], lexical[q]), 100)),
        ("fusion-minmax", lambda q: weighted_minmax(dense[q], lexical[q], 0.7, 100)),
    ):
        for query_id, hits in of_run(folder, name).items():
            expected = dict(fuse(query_id))
            assert dict(hits) == pytest.approx(expected, abs=1e-6)
            assert [p for p, _ in hits[:10]] == [p for p, _ in fuse(query_id)[:10]]


def test_a_cross_encoder_orders_the_first_hits_and_the_rest_stays(folder, cross_encoder):
    queries, passages = texts(folder / "data")
    model = CrossEncoder.load(str(cross_encoder), 64, SHORT, "evaluation.reranking_model")
    for name, before in (("reranked", of_run(folder)), ("bm25-reranked", of_run(folder, "bm25"))):
        for query_id, hits in of_run(folder, name).items():
            head = [p for p, _ in before[query_id][:20]]
            scores = model.scores([queries[query_id]] * len(head), [passages[p] for p in head])
            expected = ranked(dict(zip(head, scores.tolist(), strict=True)))
            assert dict(hits[: len(head)]) == pytest.approx(dict(zip(head, scores.tolist(), strict=True)), abs=1e-4)
            assert [p for p, _ in hits[len(head) :]] == [p for p, _ in before[query_id][20:]]
            assert sum(a == b for a, b in zip(expected, [p for p, _ in hits], strict=False)) >= len(head) - 2


def test_the_guard_set_is_measured_of_every_model(folder, tiny_model, tmp_path):
    evaluate(str(tiny_model), str(folder / "general"), "test", str(tmp_path / "alone"), FAST, SHORT)
    alone = read_json(tmp_path / "alone" / "metrics.json")
    guard = read_json(folder / "out" / "guard.json")
    assert guard["metrics"] == pytest.approx(alone)
    assert (guard["name"], guard["queries"], guard["passages"]) == (str(folder / "general"), 20, 60)
    # bm25 and what is made of rankings has none; the other model has
    assert list(guard["against"]) == ["peer"]
    peer = read_json(folder / "out-systems" / "peer" / "guard.json")
    found = guard["against"]["peer"]["ndcg_at_10"]
    assert found["reference"] == pytest.approx(peer["metrics"]["ndcg_at_10"])
    assert found["difference"] == pytest.approx(alone["ndcg_at_10"] - peer["metrics"]["ndcg_at_10"])


def stored(vectors: np.ndarray, dimension: int, precision: str) -> np.ndarray:
    """Vectors as the variant keeps them, by definition."""
    short = vectors[:, :dimension] / np.linalg.norm(vectors[:, :dimension], axis=1, keepdims=True)
    if precision == "int8":
        step = np.abs(short).max() / 127
        return np.rint(short / step) * step
    return np.where(short > 0, 1.0, -1.0) if precision == "binary" else short


def test_variants_against_vectors_made_by_definition(folder, tiny_model):
    queries, passages = texts(folder / "data")
    encoder = Encoder.load(str(tiny_model), SHORT)
    asked, known = (encode(encoder, list(t.values()), kind) for t, kind in ((queries, "query"), (passages, "passage")))
    written = read_json(folder / "out" / "variants.json")
    rows = {row["name"]: row for row in written["variants"]}
    assert list(rows) == ["full", "dim:16", "int8", "dim:16+binary"]
    sizes = {"full": (32, "fp32", 128), "dim:16": (16, "fp32", 64), "int8": (32, "int8", 32)}
    sizes["dim:16+binary"] = (16, "binary", 2)
    full = read_json(folder / "out" / "metrics.json")
    for name, (dimension, precision, size) in sizes.items():
        row = rows[name]
        assert (row["dimension"], row["precision"], row["bytes_per_passage"]) == (dimension, precision, size)
        assert 150 * size < row["index_bytes"] < 150 * size + 200
        assert 0 < row["latency_ms_p50"] <= row["latency_ms_p95"]
        scores = stored(asked, dimension, "fp32") @ stored(known, dimension, precision).T
        run = {
            q: dict(zip(passages, np.round(line, 6).tolist(), strict=True))
            for q, line in zip(queries, scores, strict=True)
        }
        assert row["metrics"]["ndcg_at_10"] == pytest.approx(ndcg(folder / "data", run), abs=0.02), name
        if name != "full":
            against = row["against_full"]["ndcg_at_10"]
            assert against["reference"] == pytest.approx(full["ndcg_at_10"])
            assert against["candidate"] == pytest.approx(row["metrics"]["ndcg_at_10"])
            assert against["p_value"] <= against["p_holm"] <= 1
    assert rows["full"]["metrics"] == pytest.approx(full) and rows["full"]["against_full"] == {}
    speed = written["encoding"]
    hours = 1e6 / speed["passages_per_second"] / 3600
    assert speed["hours_per_million_passages"] == pytest.approx(hours, rel=0.05, abs=1e-4)
    assert speed["cost_per_million_passages"] == pytest.approx(3.6 * hours, rel=0.05, abs=1e-3)
    assert written["measured_on"]["threads"] >= 1 and written["measured_on"]["machine"]


def test_slices_by_tokens_and_the_list_to_judge_are_written(folder, tiny_model):
    queries, _ = texts(folder / "data")
    encoder = Encoder.load(str(tiny_model), SHORT)
    lengths = [len(ids) for ids in encoder.tokenize(list(queries.values()), "query", None)]
    slices = read_json(folder / "out" / "slices.json")
    rows = slices["slices"] + slices["too_small"]
    assert sum(row["queries"] for row in rows) == 30
    for row in rows:
        low, _, high = row["value"].partition("-")
        assert row["queries"] == sum(int(low) <= n <= int(high or low) for n in lengths)
    assert all(sorted(row["against"]) == sorted(SYSTEMS) for row in slices["slices"])
    judge = pl.read_csv(folder / "out" / "judge.csv")
    assert judge.height == 25
    against = read_json(folder / "out" / "comparison.json")["against"]
    assert judge.columns[5:] == ["rank_model", *(f"rank_{name}" for name in against)]


def test_what_is_there_is_not_measured_again_and_the_comparison_can_be_made_anew(folder, tmp_path):
    settings = EvaluationSettings.checked({"resamples": 200, "systems": "bm25,fusion", "bm25_language": "none"})
    known = {"bm25": str(folder / "out-systems" / "bm25")}
    data = str(folder / "data")
    assert evaluate_systems(data, "test", str(tmp_path / "systems"), settings, SHORT, known) == {}
    references = {name: str(folder / "out-systems" / name) for name in SYSTEMS}
    again = sharpen.compare(str(folder / "out"), references, resamples=200)
    written = read_json(folder / "out" / "comparison.json")["against"]
    assert list(again["against"]) == list(references)
    for name, one in again["against"].items():
        assert one["metrics"] == written[name]["metrics"]


def test_a_known_evaluation_that_was_measured_otherwise_is_refused_first(folder, tmp_path):
    settings = EvaluationSettings.checked({"cutoffs": "10,100", "systems": "peer=no/model"})
    with pytest.raises(InputError, match=r"bm25: .* another cutoffs"):
        evaluate_systems(
            *(str(folder / "data"), "test", str(tmp_path / "systems"), settings, SHORT),
            {"bm25": str(folder / "out-systems" / "bm25")},
        )


def test_variants_that_do_not_fit_the_model_are_named_before_anything_is_encoded(folder, tiny_model, tmp_path):
    settings = EvaluationSettings.checked({"variants": "dim:64,dim:12+binary"})
    with pytest.raises(InputError) as caught:
        evaluate(str(tiny_model), str(folder / "data"), "test", str(tmp_path / "x"), settings, SHORT)
    assert caught.value.faults == [
        "evaluation.variants: dim:64: the model's embeddings have 32 dimensions",
        "evaluation.variants: dim:12+binary: bits fill bytes, so write a multiple of 8 dimensions",
    ]


def test_a_model_among_the_systems_is_encoded_once_in_a_run(folder, tiny_model, tmp_path, monkeypatch):
    """The same weights as peer and as candidate: the second measurement finds every vector in the cache."""
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "cache"))
    data = write_beir(tmp_path / "data", queries=40)
    encoded: list[str] = []
    encode_rows = encoding.encode_rows

    def counted(encoder, texts, kind, instructions, rows, *others):
        encoded.extend(f"{kind} {texts[row]}" for row in rows)
        return encode_rows(encoder, texts, kind, instructions, rows, *others)

    monkeypatch.setattr(encoding, "encode_rows", counted)
    settings = EvaluationSettings.checked({"resamples": 100, "systems": f"peer={tiny_model}"})
    evaluate(str(tiny_model), str(data), "test", str(tmp_path / "out"), settings, SHORT)
    assert len(encoded) == len(set(encoded)) > 150
    against = read_json(tmp_path / "out" / "comparison.json")["against"]["peer"]["metrics"]
    assert all(result["difference"] == 0 for result in against.values())


def test_the_commands_show_every_system_in_one_table(folder, tiny_model, tmp_path, capsys):
    references = ",".join(f"{name}={folder / 'out-systems' / name}" for name in ("bm25", "peer"))
    shared = ["--references", references, "--resamples", "100"]
    given = ["--model", str(tiny_model), "--data", str(folder / "data"), "--output", str(tmp_path / "out")]
    short = ["--query_max_len", "16", "--passage_max_len", "24", "--precision", "fp32"]
    for arguments in (
        [*given, *short, *shared],
        ["compare", "--candidate", str(tmp_path / "out"), *shared, "--output", str(tmp_path / "comparison.json")],
    ):
        made, rest = command(arguments)
        made.main(args=rest, standalone_mode=False)
        rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.strip()}
        assert {"this", "bm25", "peer"} <= rows.keys()
        found = read_json(tmp_path / "out" / "comparison.json")["against"]["bm25"]["metrics"]["ndcg_at_10"]
        assert rows["bm25"][-1] == f"{found['wins']}/{found['ties']}/{found['losses']}"
    written = read_json(tmp_path / "comparison.json")["against"]
    assert written["bm25"]["metrics"] == read_json(tmp_path / "out" / "comparison.json")["against"]["bm25"]["metrics"]
    with pytest.raises(InputError, match="not a finished folder"):
        made, rest = command(["compare", "--candidate", str(tmp_path / "nothing"), *shared])
        made.main(args=rest, standalone_mode=False)
