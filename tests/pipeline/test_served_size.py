"""The size that embeddings are served in, set once, reaches every step; what contradicts it is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline.parameters import Settings, load
from pipeline.run_form import run_inputs, settings_of
from sharpen.embeddings import LazyEncoder, embed_texts
from sharpen.errors import InputError
from sharpen.evaluation.evaluate import evaluate
from sharpen.index.build import index
from sharpen.index.search import OpenIndex
from sharpen.models.model_config import resolve
from sharpen.registry.gate import decide
from sharpen.registry.gate.evaluation_summary import read_evaluation_summary
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.training.train import train
from tests.sharpen.training.small_data import ENCODER, small_data


def test_every_step_follows() -> None:
    settings = load(None, ["serving.size=dim:128+int8", "evaluation.variants=binary", "training.matryoshka_dims=[64]"])
    assert (settings.training.served_size, settings.training.matryoshka_dims) == ("dim:128+int8", [64])
    assert settings.evaluation.variants == ("binary", "dim:128+int8")
    assert settings.merging.served_size == settings.promotion.variant == "dim:128+int8"
    assert (settings.indexing.truncate_dim, settings.indexing.vector_precision) == (128, "int8")
    # steps are told what they need, and the run form carries it
    assert json.loads(settings.group_json("training"))["served_size"] == "dim:128+int8"
    assert settings_of(json.loads(json.dumps(run_inputs(settings)))) == settings
    assert settings_of({"overrides": {"serving.size": "binary"}}).indexing.vector_precision == "binary"


def test_nothing_follows_from_none(tmp_path: Path) -> None:
    plain = Settings()  # type: ignore[call-arg]
    assert plain.training.served_size == plain.promotion.variant == "" and plain.indexing.truncate_dim is None
    (tmp_path / "a.yaml").write_text("serving: {size: ''}\n")
    assert load(tmp_path / "a.yaml").results_hash(1) == plain.results_hash(1)


def test_who_does_not_want_to_train_for_it_may_say_so() -> None:
    settings = load(None, ["serving.size=int8", "training.served_size="])
    assert settings.training.served_size == "" and settings.promotion.variant == "int8"


def test_contradictions_are_named() -> None:
    with pytest.raises(InputError) as raised:
        load(None, ["serving.size=dim:128+int8", "promotion.variant=int8", "indexing.truncate_dim=64"])
    for line in (
        "promotion.variant: int8, but serving.size dim:128+int8 means dim:128+int8; leave one of the two out",
        "indexing.truncate_dim: 64, but serving.size dim:128+int8 means 128",
    ):
        assert line in str(raised.value)
    with pytest.raises(InputError, match="'small' is no variant"):
        load(None, ["serving.size=small"])
    with pytest.raises(InputError, match="'dim:0' is no variant"):
        load(None, ["training.served_size=dim:0"])


@pytest.mark.model
def test_from_training_to_search(tiny_model: Path, tmp_path: Path) -> None:
    """By the settings that follow from the size alone: what is trained, judged, indexed and found is of that size."""
    size, dimension = "dim:16+int8", 16
    chosen = ["train_batch_size=8", "max_steps=2", "learning_rate=0.001", f"checkpoint_folder={tmp_path}/checkpoints"]
    settings = load(
        None, [f"serving.size={size}", "evaluation.resamples=100", *(f"training.{value}" for value in chosen)]
    )
    data, base, model, made = (str(tmp_path / name) for name in ("data", "base", "model", "index"))
    with storage.publish(data, producer="data_prep") as folder:
        small_data().save(folder)
    train(data, None, str(tiny_model), model, settings.training, ENCODER)
    computed = EncoderSettings.checked({"precision": "fp32"})
    evaluate(str(tiny_model), data, "dev", base, settings.evaluation.of_references(), ENCODER)
    evaluate(model, data, "dev", str(tmp_path / "tuned"), settings.evaluation, computed, references={"base": base})
    index(data, model, made, settings.indexing, computed)

    # the figure of the gate is that of a search by hand in the vectors that the index holds
    opened = OpenIndex(made)
    assert opened.manifest.embeddings.dimension == dimension
    stored = pl.read_parquet(Path(made) / "embeddings" / "*.parquet")
    passages = np.array(stored["vector"].to_list(), dtype=np.float64)
    asked = small_data().queries_of("dev")
    encoder = LazyEncoder.open(model, resolve(model, computed).settings)
    queries = np.asarray(embed_texts(encoder, asked["text"].to_list(), "query"))[:, :dimension]
    hits = [stored["passage_id"][int(row)] for row in np.argmax(queries @ passages.T, axis=1)]
    qrels = small_data().qrels_of("dev")
    by_hand = np.mean([qrels[query].get(hit, 0) > 0 for query, hit in zip(asked["query_id"], hits, strict=True)])
    summary = read_evaluation_summary(str(tmp_path / "tuned"))
    (variant,) = [one for one in summary.variants or [] if one["name"] == size]
    assert variant["metrics"]["precision_at_1"] == pytest.approx(by_hand)
    # and it is compared with the base model in the same size, query by query
    before, after = (
        pl.read_parquet(tmp_path / name / "variants_per_query.parquet").sort("query_id") for name in ("base", "tuned")
    )
    assert before["query_id"].equals(after["query_id"]) and set(after["variant"]) == {size}
    gain = float((after["ndcg_at_10"] - before["ndcg_at_10"]).mean())  # type: ignore[arg-type]
    decision = decide(summary, settings.promotion)
    assert decision.facts["variant"] == decision.facts["reference_size"] == size
    assert decision.figures["gain"] == pytest.approx(gain)
    assert variant["against"]["base"]["ndcg_at_10"]["reference"] == pytest.approx(before["ndcg_at_10"].mean())
    assert [opened.ask(text, 1).hits[0].passage_id for text in asked["text"]] == hits

    # the folder says it too
    card = (Path(model) / "README.md").read_text()
    assert f"trained to be served as `{size}`" in card
    of_theirs = json.loads((Path(model) / "config_sentence_transformers.json").read_text())
    assert of_theirs["truncate_dim"] == dimension
