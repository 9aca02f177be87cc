"""The public API: what a notebook does, on a tiny model with random weights."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import sharpen
from tests.conftest import TINY_DIMENSION

SHORT = {"query_max_len": 16, "passage_max_len": 24}
FRESH = """
import json, sys, time
before = set(sys.modules)
start = time.process_time()
import sharpen
seconds = time.process_time() - start
heavy = {"torch", "transformers", "pandas", "polars", "numpy", "pydantic", "boto3", "scipy"} & set(sys.modules)
names = dir(sharpen)
print(json.dumps([seconds, sorted(heavy), sorted(set(sharpen.__all__) - set(names))]))
"""


def test_the_import_is_quick_and_every_name_is_there() -> None:
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True)
    seconds, heavy, missing = json.loads(done.stdout)
    assert seconds < 0.1  # of processor time, of which it takes about 0.01
    assert (heavy, missing) == ([], [])
    assert (
        set(sharpen._MODULE_OF) == set(sharpen.__all__) == {name for name in sharpen.__all__ if getattr(sharpen, name)}
    )


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fine_tune'"):
        _ = sharpen.fine_tune  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FlagEmbedding rows: the first word of a query says what it is about, the others mislead."""
    first = "tree song river moon garden king ship stone bird fire lake road house fish horse book girl door".split()
    rest = "warm early quiet cold green slow long small deep easy young clean clear full good big low old".split()
    path = tmp_path_factory.mktemp("rows") / "train.jsonl"
    lines = [
        {"query": f"{a} {b} {c}", "pos": [f"{a} {d}"], "neg": [f"{e} {b} {c}"]}
        for step in (0, 5, 9)
        for a, b, c, d, e in zip(
            first,
            rest,
            rest[3 + step :] + rest[: 3 + step],
            rest[7 + step :] + rest[: 7 + step],
            first[4:] + first[:4],
            strict=True,
        )
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def data(rows: Path) -> sharpen.DataSet:
    return sharpen.load_dataset(rows, test_share=0.25, dev_share=0.1)


def test_from_rows_to_a_better_model(rows: Path, tiny_model: Path, tmp_path: Path) -> None:
    base = str(tiny_model)
    data = sharpen.load_dataset(rows, test_share=0.25, dev_share=0.1)
    negatives = sharpen.mine_hard_negatives(data, model=base, negative_number=3, **SHORT)
    training = {"train_batch_size": 8, "num_train_epochs": 5, "train_group_size": 3, "learning_rate": 1e-3, **SHORT}
    model = sharpen.finetune(base, data, negatives, temperature=0.05, **training)
    before = sharpen.evaluate(base, data, output=tmp_path / "before", **SHORT)
    after = sharpen.evaluate(model, data, base=before, negatives=negatives)

    assert len(negatives) == negatives.report["negatives"] > 0
    assert set(negatives.table["query_id"]) <= set(data.queries_of("train")["query_id"])
    assert model.training["steps"] == 5 * model.training["counts"]["steps_per_epoch"]
    assert after.metrics["ndcg_at_10"] > before.metrics["ndcg_at_10"]
    assert after.metrics["ndcg_at_10"] == pytest.approx(after.per_query["ndcg_at_10"].mean())
    assert after.comparison
    assert before.folder == str(tmp_path / "before")
    assert "<html" in Path(after.report).read_text()
    # the figure again by brute force, from vectors that the API gives
    queries, corpus = data.queries_of("test"), data.corpus
    scores = (
        sharpen.embed(queries["text"].to_list(), model, kind="query")
        @ sharpen.embed(data.passage_texts(), model.encoder).T
    )
    hits = corpus["passage_id"].to_numpy()[np.argsort(-scores, axis=1, kind="stable")[:, 0]]
    relevant = data.qrels_of("test")
    first = np.mean([relevant[query].get(hit, 0) > 0 for query, hit in zip(queries["query_id"], hits, strict=True)])
    assert after.metrics["precision_at_1"] == pytest.approx(first)

    folders = [Path(result.folder) for result in (negatives, model, after)]
    assert all(folder.is_dir() for folder in folders)
    del negatives, model, after
    gc.collect()
    assert not any(folder.parent.exists() for folder in folders)


def test_weights_and_a_corpus_beside_the_rows_reach_every_step(rows: Path, tiny_model: Path, tmp_path: Path) -> None:
    beside = [{"_id": f"d{n}", "text": f"document {n} of the pool"} for n in range(300)]
    pool, more = tmp_path / "pool.jsonl", tmp_path / "more.jsonl"
    pool.write_text("".join(json.dumps(line) + "\n" for line in beside))
    more.write_text("".join(json.dumps({"anchor": f"q {n}", "positive": f"a {n}"}) + "\n" for n in range(9)))
    sources = [str(rows), {"address": str(more), "weight": 3, "in_batch": "own_group"}]
    data = sharpen.load_dataset(sources, corpus=str(pool), test_share=0.25, dev_share=0)
    assert set(data.corpus["passage_id"]) > {line["_id"] for line in beside}
    negatives = sharpen.mine_hard_negatives(data, str(tiny_model), negative_number=8, **SHORT)
    assert negatives.table["passage_id"].str.starts_with("d").any()
    steps = {"max_steps": 2, "train_batch_size": 16, "train_group_size": 3}
    training = sharpen.finetune(str(tiny_model), data, negatives, **steps, **SHORT).training
    trained = training["sources"]["more"]
    assert trained["queries_per_epoch"] > 1.8 * trained["queries"]
    assert training["settings"]["no_inbatch_sources"] == ["more"]
    measured = sharpen.evaluate(str(tiny_model), data, **SHORT)
    assert measured.facts["passages"] == data.corpus.height
    assert sharpen.build_index(data, str(tiny_model), quality_queries=0, **SHORT).passages == data.corpus.height


def test_a_loaded_model_goes_in_as_it_is_now(data: sharpen.DataSet, tiny_model: Path) -> None:
    encoder = sharpen.load_model(tiny_model, **SHORT)
    trainable = sharpen.BiEncoderModel(str(tiny_model), True, "mean", max_length=24)
    with_zeros = sharpen.load_model(tiny_model, **SHORT)
    with_zeros.model.embeddings.word_embeddings.weight.data.zero_()
    same, other = (sharpen.evaluate(model, data).metrics for model in (encoder, with_zeros))
    assert same == sharpen.evaluate(str(tiny_model), data, **SHORT).metrics
    assert other["ndcg_at_10"] < same["ndcg_at_10"]
    assert sharpen.evaluate(trainable, data).metrics == same  # no query is longer than 16 tokens


def test_an_index_answers(data: sharpen.DataSet, tiny_model: Path, tmp_path: Path) -> None:
    index = sharpen.build_index(data, sharpen.load_model(tiny_model, **SHORT), quality_queries=0)
    assert (index.passages, index.dimension) == (data.corpus.height, TINY_DIMENSION)
    text = data.passage_texts()[5]
    kept = sharpen.build_index(data, str(tiny_model), output=tmp_path / "index", quality_queries=0, **SHORT)
    for hits in (sharpen.search(index, text, top_k=3), sharpen.search(kept.folder, text, top_k=3)):
        assert [hit.rank for hit in hits] == [1, 2, 3]
        assert hits[0].passage_id == data.corpus["passage_id"][5]
    with pytest.raises(sharpen.InputError, match="top_k"):
        sharpen.search(index, text, top_k=0)


def test_an_index_that_stays_has_a_loaded_model_in_itself(
    data: sharpen.DataSet, tiny_model: Path, tmp_path: Path
) -> None:
    encoder = sharpen.load_model(tiny_model, **SHORT)
    encoder.model.embeddings.word_embeddings.weight.data.mul_(1.5)  # a model that is nowhere else
    index = sharpen.build_index(data, encoder, output=tmp_path / "index", quality_queries=0)
    hits = sharpen.search(index, data.passage_texts()[5])
    assert index.model == str(tmp_path / "index" / "model")
    del index, encoder
    gc.collect()
    (tmp_path / "index").rename(tmp_path / "elsewhere")
    assert sharpen.search(tmp_path / "elsewhere", data.passage_texts()[5]) == hits
    named = sharpen.build_index(data, str(tiny_model), output=tmp_path / "named", quality_queries=0, **SHORT)
    assert not (tmp_path / "named" / "model").exists() and named.model == str(tiny_model)


def test_on_several_processes_every_object_is_refused(
    data: sharpen.DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    mined = sharpen.Negatives(str(tmp_path), (), pl.DataFrame(), {})
    for given, negatives in ((data, None), ("d", mined)):
        with pytest.raises(sharpen.InputError, match="on several processes name model, data, negatives and output"):
            sharpen.finetune("m", given, negatives, output=tmp_path / "out")


def test_a_finished_data_set_is_read_as_it_is(rows: Path, tmp_path: Path) -> None:
    made = sharpen.load_dataset([str(rows)], output=tmp_path / "data", test_share=0.5)
    again = sharpen.load_dataset(tmp_path / "data")
    assert again.fingerprint() == made.fingerprint()
    assert 0.3 < made.queries_of("test").height / made.queries.height < 0.7


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (
            lambda: sharpen.load_dataset("none.jsonl", test_shar=0.1),
            "test_shar: unknown setting; did you mean test_share?",
        ),
        (lambda: sharpen.finetune("m", "d", temprature=1), "temprature: unknown setting; did you mean temperature?"),
        (lambda: sharpen.evaluate("m", "d", cutoffs=[0]), "cutoffs"),
        (lambda: sharpen.mine_hard_negatives("d", "m", query_max_len=0), "query_max_len"),
        (lambda: sharpen.generate_queries("docs", endpoint="ftp://x"), "endpoint"),
        (lambda: sharpen.build_index("d", "m", precison="fp32"), "precison: unknown setting; did you mean precision?"),
        (lambda: sharpen.load_model("no such model", query_max_len="x"), "query_max_len"),
        (lambda: sharpen.embed([], "m", kind="text"), "kind: must be query or passage, not 'text'"),
        (lambda: sharpen.load_dataset("no-such-file.jsonl"), "no-such-file.jsonl"),
    ],
)
def test_faults_are_said_before_work_starts(call, fault: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(sharpen.InputError) as caught:
        call()
    assert fault in str(caught.value)


def test_settings_of_a_loaded_model_are_its_own(tiny_model: Path) -> None:
    encoder = sharpen.load_model(tiny_model, passage_max_len=9)
    assert encoder.max_lengths["passage"] == 9
    with pytest.raises(sharpen.InputError, match="a loaded model has its settings"):
        sharpen.embed(["a text"], encoder, query_max_len=8)
