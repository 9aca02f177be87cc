"""Sources through the whole step: what each finds, other models with their own prompts, faults before any work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from sharpen.data.readers import read_dataset
from sharpen.embeddings.encoding import encode
from sharpen.errors import InputError
from sharpen.index.exact import top_k
from sharpen.mining.candidates.sources import OtherModel, open_sources, rank_all
from sharpen.mining.corpus import MiningCorpus, build_corpus
from sharpen.mining.mine import mine
from sharpen.mining.settings import MiningSettings
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from tests.sharpen.mining.test_mine import make_rows, write

pytestmark = pytest.mark.model

ENCODER = EncoderSettings.checked(
    {"query_max_len": 32, "passage_max_len": 32, "precision": "fp32", "query_instruction_for_retrieval": "moon: "}
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("data"), make_rows())


@pytest.fixture(scope="module")
def pool(data: str) -> MiningCorpus:
    return build_corpus(read_dataset(data), data)


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The tiny model with other weights and a prompt of its own."""
    folder = tmp_path_factory.mktemp("other") / "model"
    shutil.copytree(tiny_model, folder)
    weights = load_file(folder / "model.safetensors")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        changed = {name: tensor + 0.1 * torch.randn_like(tensor) for name, tensor in weights.items()}
    save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
    prompts = {"prompts": {"query": "river: ", "document": ""}, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return folder


def test_another_model_ranks_with_its_own_prompt(pool: MiningCorpus, other_model: Path, tmp_path: Path) -> None:
    settings = MiningSettings.checked({"candidate_sources": f"model,model:{other_model}"})
    sources, notices = open_sources(settings, ENCODER, pool)
    assert notices == [] and isinstance(sources[f"model:{other_model}"], OtherModel)
    (found,) = rank_all(sources, pool, 30, tmp_path).values()
    bare = ENCODER.model_copy(update={"query_instruction_for_retrieval": ""})
    encoder = Encoder.load(str(other_model), bare)
    prompted = encode(encoder, [f"river: {query}" for query in pool.queries], "query")
    passages = encode(encoder, pool.passages, "passage")
    assert found.tolist() == top_k(prompted, passages, 30)[1].tolist()
    assert found.tolist() != top_k(encode(encoder, pool.queries, "query"), passages, 30)[1].tolist()


def test_a_mix_of_all_sources(
    data: str, pool: MiningCorpus, tiny_model: Path, other_model: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run.jsonl"
    mine_own = [{"query_id": q, "passage_id": p} for q in pool.query_ids[:20] for p in pool.passage_ids[::7]]
    run.write_text("".join(json.dumps(row) + "\n" for row in mine_own))
    names = ["model", "bm25", f"model:{other_model}", f"file:{run}"]
    rules = {"candidate_sources": names, "range_for_sampling": "0-6", "negative_number": 12, "further_ranks": 0}
    settings = MiningSettings.checked({**rules, "relative_margin": None, "bm25_language": "none"})
    mine(data, str(tiny_model), str(tmp_path / "one"), settings, ENCODER)
    mine(data, str(tiny_model), str(tmp_path / "two"), settings, ENCODER)
    table = pl.read_parquet(tmp_path / "one" / "negatives")
    assert table.equals(pl.read_parquet(tmp_path / "two" / "negatives"))
    assert set(table["source"].drop_nulls()) == set(names)

    report = json.loads((tmp_path / "one" / "report.json").read_text())
    counted = table.filter(pl.col("picked_by") == "search")["source"].value_counts()
    assert {row["source"]: row["negatives"] for row in report["sources"]} == dict(counted.iter_rows())
    assert all(row["found_by_no_other"] <= row["candidates"] for row in report["sources"])
    assert report["notices"][0] == f"{run}: 10 of the 30 queries have no candidate in it"
    # scores are the mining model's, whatever source found the passage
    encoder = Encoder.load(str(tiny_model), ENCODER)
    queries, passages = encode(encoder, pool.queries, "query"), encode(encoder, pool.passages, "passage")
    for query_id, passage_id, score in table.select("query_id", "passage_id", "score").iter_rows():
        own = queries[pool.query_ids.index(query_id)] @ passages[pool.passage_ids.index(passage_id)]
        assert score == pytest.approx(own, abs=1e-5)
    page = (tmp_path / "one" / "report.html").read_text()
    assert all(name in page for name in names)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("file:/nowhere/run.trec", "/nowhere/run.trec: no such file"),
        ("model:./nowhere", "./nowhere: no such folder"),
        ("model:.", ".: no config.json there"),
    ],
)
def test_a_source_that_is_not_there_is_told_before_any_work(
    source: str, told: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = MiningSettings.checked({"candidate_sources": ["model", source]})
    with pytest.raises(InputError, match=told) as caught:
        mine(data, "/no/model/either", str(tmp_path / "out"), settings, ENCODER)
    assert len(caught.value.faults) == 1
    assert not storage.exists(str(tmp_path / "out"))
