"""Evaluations of mixed data by tiny models: files, figures, comparison, prompts."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from sharpen.data.dataset import DataSet
from sharpen.errors import InputError
from sharpen.evaluation.evaluate import evaluate
from sharpen.evaluation.settings import MEASURES, EvaluationSettings
from sharpen.evaluation.summary import evaluation_lines
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from tests.sharpen.training.mixed_data import mixed_data
from tests.sharpen.training.small_data import ENCODER, small_data

pytestmark = pytest.mark.model

FAST = EvaluationSettings(resamples=100, task_experiments=2)
PROMPTS = ENCODER.model_copy(update={"query_instruction_for_retrieval": "bird fish hill "})


def with_test_split(data: DataSet) -> DataSet:
    """The dev queries of retrieval as test."""
    dev = pl.col("split") == "dev"
    tables = {
        name: getattr(data, name).with_columns(split=pl.when(dev).then(pl.lit("test")).otherwise("split"))
        for name in ("queries", "qrels")
    }
    return DataSet(data.corpus, **tables, similarity_labels=data.similarity_labels)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    address = str(tmp_path_factory.mktemp("mixed") / "data")
    with storage.publish(address, producer="test") as folder:
        with_test_split(mixed_data()).save(folder)
    return address


@pytest.fixture(scope="module")
def trained(cased_model: Path, data: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """A model trained on the mixed data with a query prompt, and the facts of its training."""
    folder = tmp_path_factory.mktemp("trained")
    settings = TrainingSettings.checked(
        {
            "train_batch_size": 6,
            "train_group_size": 3,
            "num_train_epochs": 1,
            "learning_rate": 1e-3,
            "save_steps": 0,
            "checkpoint_folder": str(folder / "local"),
        }
    )
    facts = train(data, None, str(cased_model), str(folder / "model"), settings, PROMPTS)
    return str(folder / "model"), facts


@pytest.fixture(scope="module")
def evaluations(
    cased_model: Path, trained: tuple[str, dict], data: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Of the base model, and of the trained one compared with it."""
    folder = tmp_path_factory.mktemp("evaluations")
    base, tuned = folder / "base", folder / "tuned"
    evaluate(str(cased_model), data, "test", str(base), FAST, PROMPTS)
    evaluate(trained[0], data, "test", str(tuned), FAST, EncoderSettings(), references={"base": str(base)})
    return base, tuned


def test_a_mixed_run_trains_all_tasks(trained: tuple[str, dict[str, Any]]) -> None:
    _, facts = trained
    assert [(task["learns"], task["rows"]) for task in facts["tasks"]] == [
        *(("search", 23), ("labels", 13), ("labels", 13), ("similarity", 10), ("similarity", 10))
    ]
    assert np.isfinite(facts["last_loss"])


def test_figures_of_every_task_are_in_the_files(evaluations: tuple[Path, Path]) -> None:
    _, tuned = evaluations
    metrics = json.loads((tuned / "metrics.json").read_text())
    rows = json.loads((tuned / "tasks.json").read_text())["tasks"]
    expected = {
        *("sts_spearman", "sts_pearson", "clustering_v_measure", "reranking_map", "reranking_mrr"),
        *("reranking_ndcg_at_10", "classification_accuracy", "classification_f1"),
        *("classification_knn_accuracy", "classification_knn_f1"),
    }
    assert {name for name in metrics if name.split("_at_")[0] not in MEASURES} == expected
    assert {f"{row['task_type']}_{metric}" for row in rows for metric in row["metrics"]} == expected
    assert {row["name"] for row in rows} == {"lists", "sts", "other", "topics", "kinds"}
    both = [row["metrics"]["spearman"] for row in rows if row["task_type"] == "sts"]
    assert len(both) == 2
    assert metrics["sts_spearman"] == pytest.approx(np.mean(both))
    for row in rows:
        for metric, value in row["metrics"].items():
            against = row["against"]["base"][metric]
            assert against["candidate"] == value
            assert against["ci_low"] <= against["difference"] <= against["ci_high"]
            assert 0 < against["p_value"] <= against["p_holm"] <= 1
            assert (against["texts"], against["groups"]) == (row["texts"], row["groups"])
    assert storage.read_manifest(str(tuned)).facts["sts_spearman"] == metrics["sts_spearman"]


def test_the_report_shows_them(evaluations: tuple[Path, Path]) -> None:
    page = (evaluations[1] / "report.html").read_text(encoding="utf-8")
    assert '<td class="num">V-measure</td>' in page
    assert page.count('<td class="num">classification</td>') == 4


def test_the_summary_shows_them(evaluations: tuple[Path, Path]) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    for line in evaluation_lines(str(evaluations[1]), FAST):
        console.print(line)
    text = console.export_text()
    lines = text.splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.startswith("classification topics, ")]
    assert re.fullmatch(r"metric +base +score +change +95 % interval +p *", lines[start + 1])
    assert re.match(r"Accuracy +\S+ +\S+ +\S+ +\S+ \S+ \S+ +\S+", lines[start + 2])
    assert re.search(r"^V-measure +", text, re.MULTILINE)


def test_a_reference_that_was_measured_otherwise_is_refused(
    evaluations: tuple[Path, Path], trained: tuple[str, dict], data: str, tmp_path: Path
) -> None:
    other = FAST.model_copy(update={"samples_per_label": 3})
    with pytest.raises(InputError, match="another settings of tasks"):
        evaluate(
            *(trained[0], data, "test", str(tmp_path / "out"), other, EncoderSettings()),
            references={"base": str(evaluations[0])},
        )


def test_retrieval_is_measured_as_without_the_other_tasks(
    evaluations: tuple[Path, Path], cased_model: Path, tmp_path: Path
) -> None:
    with storage.publish(str(tmp_path / "data"), producer="test") as folder:
        with_test_split(small_data()).save(folder)
    evaluate(str(cased_model), str(tmp_path / "data"), "test", str(tmp_path / "alone"), FAST, PROMPTS)
    alone = json.loads((tmp_path / "alone" / "metrics.json").read_text())
    mixed = json.loads((evaluations[0] / "metrics.json").read_text())
    assert {name: mixed[name] for name in alone} == alone
    assert not (tmp_path / "alone" / "tasks.json").exists()


def test_a_model_with_prompts_is_measured_as_sentence_transformers_encodes_by_prompt_name(
    trained: tuple[str, dict], evaluations: tuple[Path, Path], data: str
) -> None:
    address, _ = trained
    model = SentenceTransformer(address)
    prompts = json.loads((Path(address) / "config_sentence_transformers.json").read_text())["prompts"]
    with_prompt = {"retrieval", "reranking", "query"}
    assert {name: bool(prompt) for name, prompt in prompts.items()} == {
        name: name in with_prompt for name in (*with_prompt, "sts", "classification", "clustering", "document")
    }
    outputs = pl.read_parquet(evaluations[1] / "task_outputs.parquet")
    loaded = DataSet.open(data)
    texts = dict(loaded.queries.select("query_id", "text").iter_rows())
    passages = dict(loaded.corpus.select("passage_id", "text").iter_rows())
    pairs = outputs.filter(task_type="sts")
    for text_id, [cosine] in pairs.select("text_id", "values").iter_rows():
        query_id, passage_id = text_id.split("\t")
        one, other = model.encode([texts[query_id], passages[passage_id]], prompt_name="sts")
        assert cosine == pytest.approx(float(one @ other), abs=1e-5)
        prompted = model.encode(texts[query_id], prompt_name="retrieval")
        assert float(one @ prompted) < 0.9999


def test_both_sides_of_a_pair_go_through_the_tower_of_passages(cased_model: Path, data: str, tmp_path: Path) -> None:
    settings = TrainingSettings.checked(
        {
            "train_batch_size": 6,
            "train_group_size": 2,
            "max_steps": 2,
            "learning_rate": 1e-3,
            "share_encoder": False,
            "save_steps": 0,
            "checkpoint_folder": str(tmp_path / "local"),
        }
    )
    train(data, None, str(cased_model), str(tmp_path / "model"), settings, ENCODER)
    evaluate(str(tmp_path / "model"), data, "test", str(tmp_path / "before"), FAST, EncoderSettings())
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "model", copy)
    [tower] = copy.glob("query*/model.safetensors")
    changed = {name: one + torch.randn_like(one) for name, one in load_file(tower).items()}
    save_file(changed, tower, metadata={"format": "pt"})
    (copy / storage.MARKER).unlink()
    evaluate(str(copy), data, "test", str(tmp_path / "after"), FAST, EncoderSettings())
    before, after = (pl.read_parquet(tmp_path / name / "task_outputs.parquet") for name in ("before", "after"))
    plain = pl.col("task_type") != "reranking"
    assert before.filter(plain).equals(after.filter(plain))
    assert not before.filter(~plain).equals(after.filter(~plain))
