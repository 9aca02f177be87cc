"""Exported tasks, as the loaders of Hugging Face data sets and MTEB's own package read them."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from datasets import get_dataset_config_names, load_dataset

from sharpen.data.dataset import DataSet
from sharpen.errors import InputError
from sharpen.evaluation.evaluate import evaluate
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.evaluation.tasks.mteb_export import export_mteb
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from tests.sharpen.evaluation.tasks.test_measure import with_test_split
from tests.sharpen.training.mixed_data import mixed_data

TASKS = {"TinyRetrieval", "TinyReranking", "TinySTS", "TinySTS2", "TinyClassification", "TinyClustering"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Address of the mixed data, and the folder of its tasks."""
    root = tmp_path_factory.mktemp("export")
    with storage.publish(str(root / "data"), producer="test") as folder:
        with_test_split(mixed_data()).save(folder)
    assert set(export_mteb(str(root / "data"), str(root / "tasks"), name="Tiny")) == TASKS
    return str(root / "data"), root / "tasks"


def rows(folder: Path, config: str, split: str = "test") -> list[dict]:
    return load_dataset(str(folder), config, split=split).to_list()


def test_a_task_is_a_data_set_of_the_hub(exported: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = exported
    data = DataSet.open(address)
    search = folder / "TinyRetrieval"
    assert sorted(get_dataset_config_names(str(search))) == ["corpus", "default", "queries"]
    retrieval = data.queries.filter(task_type="retrieval", split="test")
    judged = {(row["query-id"], row["corpus-id"]): row["score"] for row in rows(search, "default")}
    expected = data.qrels.join(retrieval, on="query_id", how="semi")
    assert judged == {(query, passage): grade for query, passage, grade, _ in expected.iter_rows()}
    assert {row["id"] for row in rows(search, "queries")} == {query for query, _ in judged}
    texts = {row["id"]: row["text"] for row in rows(search, "corpus")}
    assert not any(" second " in text or " listed " in text for text in texts.values())
    [first] = [row for row in rows(folder / "TinyReranking", "top_ranked") if row["query-id"] == "lists1"]
    assert sorted(first["corpus-ids"]) == [f"lists1p{rank}" for rank in range(5)]
    pairs = rows(folder / "TinySTS", "default")
    labels = data.similarity_labels.filter(split="test").join(
        data.queries.filter(source="other"), on="query_id", how="semi"
    )
    assert sorted(row["score"] for row in pairs) == sorted(labels["label"])
    assert {row["label"] for row in rows(folder / "TinyClassification", "default", "train")} == {
        "food",
        "places",
        "weather",
    }
    assert set(rows(folder / "TinyClustering", "default")[0]) == {"sentences", "labels"}
    with pytest.raises(InputError, match="language"):
        export_mteb(address, str(tmp_path / "x"), name="Tiny", languages=("english",))
    with pytest.raises(InputError, match="no name of a task"):
        export_mteb(address, str(tmp_path / "x"), name="../x")
    with pytest.raises(InputError, match="split"):
        export_mteb(address, str(tmp_path / "x"), name="Tiny", split="other")


@pytest.mark.model
def test_mteb_measures_what_an_evaluation_measures(
    exported: tuple[str, Path], cased_model: Path, tmp_path: Path
) -> None:
    mteb = pytest.importorskip("mteb")
    address, folder = exported
    spec = importlib.util.spec_from_file_location("exported_tasks", folder / "tasks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["exported_tasks"] = module
    spec.loader.exec_module(module)
    from sentence_transformers import SentenceTransformer

    found = {}
    for result in mteb.evaluate(
        SentenceTransformer(str(cased_model)), module.TASKS, cache=None, overwrite_strategy="always"
    ):
        found[result.task_name] = result.scores["test"][0]
    assert set(found) == TASKS
    whole = EncoderSettings(precision="fp32")
    evaluate(str(cased_model), address, "test", str(tmp_path / "e"), EvaluationSettings(resamples=100), whole)
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    tasks = {task["name"]: task["metrics"] for task in json.loads((tmp_path / "e" / "tasks.json").read_text())["tasks"]}
    assert found["TinyRetrieval"]["ndcg_at_10"] == pytest.approx(metrics["ndcg_at_10"], abs=1e-4)
    assert found["TinyReranking"]["map_at_1000"] == pytest.approx(tasks["lists"]["map"], abs=1e-4)
    for name, source in (("TinySTS", "other"), ("TinySTS2", "sts")):
        assert found[name]["cosine_spearman"] == pytest.approx(tasks[source]["spearman"], abs=1e-4)
    assert 0 <= found["TinyClassification"]["accuracy"] <= 1
    assert 0 <= found["TinyClustering"]["v_measure"] <= 1
