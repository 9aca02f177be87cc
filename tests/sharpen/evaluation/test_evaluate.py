"""The step on a small BEIR folder with a tiny model: its files, its figures against pytrec_eval, its faults."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import pytrec_eval
import torch
from safetensors.torch import load_file, save_file

from sharpen.data.trec import read_run
from sharpen.embeddings.encoding import encode
from sharpen.errors import InputError, StepFailed
from sharpen.evaluation.evaluate import evaluate
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.index.build import index
from sharpen.index.settings import IndexSettings
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from tests.sharpen.test_metrics import trec_scores

pytestmark = pytest.mark.model

WORDS = "able bank cell data early find good hand idea join keep land make name open page quick rain save table".split()
FAST = EvaluationSettings(resamples=200)
SHORT = EncoderSettings(query_max_len=16, passage_max_len=24, precision="fp32")


def write_beir(folder, queries=30, passages=150, seed=0, own_ids=False):
    """Queries made of the words of their passages; grades 1 and 2; some passages have equal texts (ties)."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, 8)) for _ in range(passages)]
    texts[-20:] = [texts[0]] * 20
    (folder / "qrels").mkdir(parents=True)
    ids = [f"d{i:03}" for i in range(passages)]
    query_ids = ids[:queries] if own_ids else [f"q{i}" for i in range(queries)]
    rows = [{"_id": i, "title": "", "text": t} for i, t in zip(ids, texts, strict=True)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [{"_id": q, "text": " ".join(rng.permutation(texts[i].split())[:5])} for i, q in enumerate(query_ids)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    lines = ["query-id\tcorpus-id\tscore"]
    for i, q in enumerate(query_ids):
        lines += [f"{q}\t{ids[i]}\t2", f"{q}\t{ids[(i + 40) % passages]}\t1"]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return folder


def read_beir_qrels(folder):
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query_id, passage_id, grade = line.split("\t")
        qrels.setdefault(query_id, {})[passage_id] = int(grade)
    return qrels


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_beir(tmp_path_factory.mktemp("beir") / "small set")


@pytest.fixture(scope="module")
def other_model(tiny_model, tmp_path_factory):
    """The tiny model with other weights."""
    folder = tmp_path_factory.mktemp("other") / "model"
    subprocess.run(["cp", "-r", tiny_model, folder], check=True)
    weights = load_file(folder / "model.safetensors")
    torch.manual_seed(1)
    weights = {name: w + 0.02 * torch.randn_like(w) if w.is_floating_point() else w for name, w in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def base(tiny_model, data, tmp_path_factory):
    """Address of an evaluation of the tiny model."""
    address = str(tmp_path_factory.mktemp("evaluations") / "base")
    evaluate(str(tiny_model), str(data), "test", address, FAST, SHORT)
    return address


def test_the_command_gives_what_pytrec_eval_gives(tiny_model, data, tmp_path):
    arguments = ["--model", tiny_model, "--data", data, "--output", tmp_path / "out", "--query_max_len", "16"]
    done = subprocess.run(
        [sys.executable, "-m", "components.evaluation", *arguments, "--passage-max-len", "24", "--resamples", "200"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "30 queries of test, 150 passages" in done.stdout
    assert str(tmp_path / "out" / "report.html") in done.stdout
    assert "--base" in done.stdout
    qrels, run = read_beir_qrels(data), read_run(tmp_path / "out" / "run.trec")
    expected = trec_scores(qrels, run)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    per_query = pl.read_parquet(tmp_path / "out" / "per_query.parquet")
    assert per_query["query_id"].to_list() == per_query["group"].to_list() == sorted(qrels)
    assert len(metrics) == 30
    for name, value in metrics.items():
        values = [expected[query_id][name] for query_id in sorted(qrels)]
        assert per_query[name].to_list() == pytest.approx(values, abs=1e-6), name
        assert value == pytest.approx(np.mean(values), abs=1e-6), name


def test_the_folder_is_whole(base, data, tiny_model):
    marker = storage.read_manifest(base)
    assert marker.producer == "evaluation"
    assert marker.rows == {"queries": 30, "passages": 150}
    assert marker.facts["model"] == str(tiny_model)
    names = {file["name"] for file in marker.files}
    files = "metrics.json facts.json per_query.parquet run.trec report.html dev.json map.json separation.json"
    assert names == {*files.split(), "measured_queries.u64", "trained_queries.u64"}
    facts = json.loads((Path(base) / "facts.json").read_text())
    assert facts["tie_rule"].startswith("score descending, then passage id descending")
    assert facts["data"] == str(data)
    assert facts["judgements"] == 60
    assert (facts["queries_without_relevant"], facts["ignore_identical_ids"]) == (0, False)
    assert len(facts["model_hash"]) == len(facts["data_fingerprint"]) == 64


def test_the_run_holds_the_exact_top_hundred_in_the_stated_order(base, data, tiny_model):

    rows = [json.loads(line) for line in (data / "corpus.jsonl").read_text().splitlines()]
    queries = {r["_id"]: r["text"] for r in map(json.loads, (data / "queries.jsonl").read_text().splitlines())}
    encoder = Encoder.load(str(tiny_model), SHORT)
    passages = encode(encoder, [row["text"] for row in rows], "passage").astype(np.float64)
    written: dict[str, list[str]] = {}
    for line in (Path(base) / "run.trec").read_text().splitlines():
        written.setdefault(line.split()[0], []).append(line.split()[2])
    run = read_run(Path(base) / "run.trec")
    for query_id, text in queries.items():
        scores = passages @ encode(encoder, [text], "query")[0].astype(np.float64)
        assert len(written[query_id]) == 100
        # the worst hit is no worse than what was left out, and every score is the inner product
        out = [s for s, row in zip(scores, rows, strict=True) if row["_id"] not in run[query_id]]
        assert min(run[query_id].values()) >= max(out) - 1e-6
        exact = dict(zip((row["_id"] for row in rows), scores, strict=True))
        assert all(score == pytest.approx(exact[p], abs=1e-6) for p, score in run[query_id].items())
        expected = sorted(run[query_id], key=lambda p: (run[query_id][p], p), reverse=True)
        assert written[query_id] == expected


def test_a_comparison_with_base_and_champion(base, data, other_model, tmp_path):
    address = str(tmp_path / "tuned")
    references = {"base": base, "champion": base}
    evaluate(str(other_model), str(data), "test", address, FAST, SHORT, references=references)
    comparison = json.loads((tmp_path / "tuned" / "comparison.json").read_text())
    assert list(comparison["against"]) == ["base", "champion"]
    metrics = json.loads((tmp_path / "tuned" / "metrics.json").read_text())
    before = json.loads((Path(base) / "metrics.json").read_text())
    against = comparison["against"]["base"]
    assert against["reference"] == base
    assert against["metrics"].keys() == metrics.keys()
    keys = "reference candidate difference ci_low ci_high p_value p_holm p_holm_references".split()
    keys += "wins ties losses queries groups".split()
    for name, result in against["metrics"].items():
        assert sorted(result) == sorted(keys)
        assert result["reference"] == pytest.approx(before[name])
        assert result["candidate"] == pytest.approx(metrics[name])
        assert result["difference"] == pytest.approx(metrics[name] - before[name], abs=1e-9)
        assert result["ci_low"] <= result["difference"] <= result["ci_high"]
        assert result["wins"] + result["ties"] + result["losses"] == result["queries"] == 30
        assert result["p_value"] <= result["p_holm"] <= 1
    assert any(result["wins"] for result in against["metrics"].values())
    assert "Tuned against champion" in (tmp_path / "tuned" / "report.html").read_text()


def test_a_model_against_itself_shows_no_difference(base, data, tiny_model, tmp_path):
    evaluate(str(tiny_model), str(data), "test", str(tmp_path / "same"), FAST, SHORT, references={"base": base})
    comparison = json.loads((tmp_path / "same" / "comparison.json").read_text())
    for result in comparison["against"]["base"]["metrics"].values():
        assert (result["difference"], result["ci_low"], result["ci_high"], result["p_value"]) == (0, 0, 0, 1)
        assert result["ties"] == 30


def test_identical_ids_are_left_out_before_the_top_k(tiny_model, tmp_path):
    folder = write_beir(tmp_path / "own", own_ids=True)
    for ignore in (False, True):
        settings = EvaluationSettings(resamples=100, ignore_identical_ids=ignore)
        evaluate(str(tiny_model), str(folder), "test", str(tmp_path / f"{ignore}"), settings, SHORT)
    kept, dropped = read_run(tmp_path / "False" / "run.trec"), read_run(tmp_path / "True" / "run.trec")
    assert any(query_id in hits for query_id, hits in kept.items())
    assert not any(query_id in hits for query_id, hits in dropped.items())
    assert all(len(hits) == 100 for hits in dropped.values())
    facts = json.loads((tmp_path / "True" / "facts.json").read_text())
    assert facts["ignore_identical_ids"] is True
    qrels = read_beir_qrels(folder)
    without = {q: {p: s for p, s in hits.items() if p != q} for q, hits in kept.items()}
    expected = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}).evaluate(without)
    metrics = json.loads((tmp_path / "True" / "metrics.json").read_text())
    assert metrics["ndcg_at_10"] == pytest.approx(np.mean([v["ndcg_cut_10"] for v in expected.values()]), abs=1e-6)


def test_passages_with_the_query_text_are_left_out_unless_judged_relevant(tiny_model, tmp_path):
    """Copies of two queries in other letters; of the second, one copy is judged relevant and stays."""
    folder = write_beir(tmp_path / "copies")
    asked = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    rows = [
        {"_id": f"copy{number}", "title": "", "text": asked[number // 3]["text"].title() + " " * number}
        for number in range(6)
    ]
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.writelines(json.dumps(row) + "\n" for row in rows)
    with (folder / "qrels" / "test.tsv").open("a") as judged:
        judged.writelines([f"{asked[0]['_id']}\tcopy0\t0\n", f"{asked[1]['_id']}\tcopy3\t1\n"])
    settings = EvaluationSettings(resamples=100, cutoffs=(10, 160), headline_metrics=("ndcg_at_10",))
    evaluate(str(tiny_model), str(folder), "test", str(tmp_path / "out"), settings, SHORT)
    run, facts = read_run(tmp_path / "out" / "run.trec"), json.loads((tmp_path / "out" / "facts.json").read_text())
    out = {asked[0]["_id"]: {"copy0", "copy1", "copy2"}, asked[1]["_id"]: {"copy4", "copy5"}}
    assert facts["passages_with_the_query_text_left_out"] == 5
    # 150 and the six copies, but for what is left out
    assert {q: 156 - len(hits) for q, hits in run.items()} == {q: len(out.get(q, ())) for q in run}
    assert all(not out[q] & set(run[q]) for q in out)
    # the copy that is relevant comes first: the model reads capitals as small letters
    assert max(run[asked[1]["_id"]], key=run[asked[1]["_id"]].__getitem__) == "copy3"


def test_a_reference_measured_otherwise_is_refused_before_any_work(base, data, tmp_path):
    other_data = write_beir(tmp_path / "other", seed=5)
    cases = [
        (data, EvaluationSettings(resamples=100, ignore_identical_ids=True), "another ignore_identical_ids"),
        (data, EvaluationSettings(resamples=100, cutoffs=(10, 100)), "another cutoffs"),
        (other_data, FAST, "another data"),
    ]
    for folder, settings, said in cases:
        with pytest.raises(InputError, match=said):
            # there is no such model: the fault of the reference must come first
            evaluate("no/model", str(folder), "test", str(tmp_path / "x"), settings, SHORT, references={"base": base})
    with pytest.raises(InputError):
        evaluate("no/model", str(data), "test", str(tmp_path / "x"), FAST, SHORT, references={"base": str(data)})
    assert not storage.is_complete(str(tmp_path / "x"))


def test_ties_at_the_last_rank_keep_the_larger_ids(tiny_model, tmp_path):
    folder = write_beir(tmp_path / "equal", queries=2, passages=130)
    rows = [{"_id": f"d{i:03}", "title": "", "text": "the same words"} for i in range(130)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    evaluate(str(tiny_model), str(folder), "test", str(tmp_path / "out"), FAST, SHORT)
    lines = [line.split() for line in (tmp_path / "out" / "run.trec").read_text().splitlines()]
    assert [row[2] for row in lines if row[0] == "q0"] == [f"d{i:03}" for i in range(129, 29, -1)]


@pytest.mark.store
def test_everything_may_lie_in_an_object_store(s3, tiny_model, data):
    root = storage.join(s3, "evaluation")
    for file in sorted(data.rglob("*.*")):
        storage.write_bytes(storage.join(root, "data", str(file.relative_to(data))), file.read_bytes())
    base, tuned = storage.join(root, "base"), storage.join(root, "tuned")
    evaluate(str(tiny_model), storage.join(root, "data"), "test", base, FAST, SHORT)
    marker = evaluate(
        str(tiny_model), storage.join(root, "data"), "test", tuned, FAST, SHORT, references={"base": base}
    )
    assert marker.rows["queries"] == 30
    assert storage.read_json(storage.join(tuned, "comparison.json"))["against"]["base"]["reference"] == base


def test_an_empty_split_names_the_splits_there_are(data, tiny_model, tmp_path):
    with pytest.raises(InputError, match=r"split 'dev' has no judged query; .* test \(30 queries\)"):
        evaluate(str(tiny_model), str(data), "dev", str(tmp_path / "x"), FAST, SHORT)


def test_negatives_that_are_not_there_are_told_before_any_work(data, tmp_path):
    with pytest.raises(InputError, match="negatives"):
        evaluate("no/model", str(data), "test", str(tmp_path / "x"), FAST, SHORT, context={"negatives": "no/negatives"})


def test_embeddings_that_are_not_numbers_end_in_one_line(tiny_model, data, tmp_path):
    folder = tmp_path / "broken"
    subprocess.run(["cp", "-r", tiny_model, folder], check=True)
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.weight"][:] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(StepFailed, match=r"embedding of query q0 is not a number \(30 of 30 such\)"):
        evaluate(str(folder), str(data), "test", str(tmp_path / "x"), FAST, SHORT)
    assert not storage.is_complete(str(tmp_path / "x"))


def test_the_report_shows_what_earlier_steps_left(tiny_model, data, tmp_path):
    model = tmp_path / "model"
    subprocess.run(["cp", "-r", tiny_model, model], check=True)
    log = [{"step": step, "loss": 1 / step} for step in range(1, 30)]
    (model / "training.json").write_text(json.dumps({"settings": {"temperature": 0.02}, "log": log}))
    with storage.publish(str(tmp_path / "negatives"), producer="hard_negatives") as folder:
        (folder / "report.json").write_text(json.dumps({"dropped_by_rule": {"margin": 12345, "same_text": 3}}))
    context = {"negatives": str(tmp_path / "negatives")}
    evaluate(str(model), str(data), "test", str(tmp_path / "out"), FAST, SHORT, context=context)
    page = (tmp_path / "out" / "report.html").read_text()
    for said in ("Training loss", "temperature", "Hard negatives", "12,345"):
        assert said in page


def test_a_second_evaluation_and_index_of_the_same_load_no_model(tiny_model, tmp_path, monkeypatch):
    """All vectors are cached, and what else is shown of the model is known."""
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "cache"))
    data, model = str(write_beir(tmp_path / "data", queries=40)), str(tiny_model)
    loads = []
    load = Encoder.load.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(Encoder, "load", classmethod(lambda *given, **more: loads.append(1) or load(*given, **more)))
    found = []
    for number in range(2):
        evaluate(model, data, "test", str(tmp_path / f"evaluation-{number}"), FAST, SHORT)
        index(data, model, str(tmp_path / f"index-{number}"), IndexSettings(quality_queries=0), SHORT)
        facts = json.loads((tmp_path / f"evaluation-{number}" / "facts.json").read_text())
        manifest = json.loads((tmp_path / f"index-{number}" / "manifest.json").read_text())
        run = (tmp_path / f"evaluation-{number}" / "run.trec").read_bytes()
        found.append((facts["encoding"], facts["model_hash"], manifest, run))
        assert bool(loads) == (number == 0)
        loads.clear()
    assert found[0] == found[1]
