"""Data without any negatives, in every format: groups are filled from the corpus, counted, and the loss is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sharpen.data.readers import read_dataset
from sharpen.embeddings.encoding import encode
from sharpen.models.encoder import Encoder
from sharpen.training.data.build_dataset import make_examples
from sharpen.training.data.sampler import BatchSampler
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from tests.sharpen.training.slow import slow_loss
from tests.sharpen.training.small_data import ENCODER, small_negatives

pytestmark = pytest.mark.model
QUERIES = [f"question {word}" for word in ("sun moon", "river stone", "bread milk", "sugar", "town train", "summer")]
PASSAGES = [f"{question.removeprefix('question ')} and the rest {n}" for n, question in enumerate(QUERIES)]


def flagembedding(folder: Path) -> str:
    rows = [{"query": query, "pos": [passage]} for query, passage in zip(QUERIES, PASSAGES, strict=True)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "rows.jsonl")


def beir(folder: Path) -> str:
    (folder / "qrels").mkdir()
    for name, texts, kind in (("corpus", PASSAGES, "p"), ("queries", QUERIES, "q")):
        rows = [{"_id": f"{kind}{n}", "title": "", "text": text} for n, text in enumerate(texts)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = "".join(f"q{n}\tp{n}\t1\n" for n in range(len(QUERIES)))
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return str(folder)


@pytest.mark.parametrize("write", [flagembedding, beir])
@pytest.mark.parametrize("values", [{}, {"use_inbatch_neg": False}])
def test_training_on_positives_alone(tiny_model: Path, tmp_path: Path, write: Any, values: dict[str, Any]) -> None:
    (tmp_path / "data").mkdir()
    address = write(tmp_path / "data")
    common = {"train_batch_size": 6, "train_group_size": 4, "max_steps": 2, "logging_steps": 1, "dropout": 0.0}
    common |= {"save_steps": 0, "checkpoint_folder": str(tmp_path / "local"), "temperature": 0.1}
    chosen = TrainingSettings.checked({**common, **values})
    facts = train(address, None, str(tiny_model), str(tmp_path / "out"), chosen, ENCODER)
    # three of the four passages of each group come from the corpus
    assert facts["random_negatives_per_query"] == 3
    assert facts["counts"]["queries"] == len(QUERIES)
    # five passages are nobody's positive in a row: all texts of the batch but its own positive, or its group's
    assert facts["negatives_per_query"] == (3 if values else 5)

    data = read_dataset(address)
    examples = make_examples(data, small_negatives(data, 0), chosen)
    batch = BatchSampler(examples, chosen).batch(0)
    assert [len(row) for row in examples.positives] == [1] * len(QUERIES)
    assert [len(row) for row in examples.negatives] == [0] * len(QUERIES)
    assert batch.made_up == 3 * len(QUERIES)
    for query, group in zip(batch.queries.tolist(), batch.groups.tolist(), strict=True):
        assert group[0] == examples.positives[query][0]
        assert len(set(group)) == 4
    encoder = Encoder.load(str(tiny_model), ENCODER, device="cpu")
    queries = encode(encoder, list(examples.queries), "query")
    texts = encode(encoder, list(examples.texts), "passage")
    vectors = {("query", int(number)): queries[row] for row, number in enumerate(examples.query_number)}
    vectors |= {("text", number): vector for number, vector in enumerate(texts)}
    expected = slow_loss(
        batch, data, examples, {key: torch.tensor(vector).double() for key, vector in vectors.items()}, chosen
    )
    first = next(point["loss"] for point in facts["log"] if "loss" in point)
    assert first == pytest.approx(float(expected), rel=1e-5)
