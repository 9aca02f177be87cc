"""The first step from texts to gradient, beside sentence-transformers with the same texts and weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses

from sharpen.data.dataset import NEGATIVES, QUERIES, DataSet
from sharpen.distributed import ProcessGroup
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.training.data.build_dataset import make_examples
from sharpen.training.data.collator import shard_batch
from sharpen.training.data.sampler import BatchSampler
from sharpen.training.data.tokens import Tokens
from sharpen.training.gradient.step import gradient_step
from sharpen.training.objective import memory_of, objective_of
from sharpen.training.settings import TrainingSettings
from tests.sharpen.training.small_data import WORDS

pytestmark = pytest.mark.model

LENGTH = 32
QUERY_COUNT = 12


def data_set() -> tuple[DataSet, pl.DataFrame]:
    """Each query with a positive and two negatives of its own; no text occurs twice, and some are cut."""
    draw = np.random.default_rng(1)

    def text(longest: int) -> str:
        return " ".join(draw.choice(WORDS, draw.integers(2, longest)))

    ids = [f"p{number:02}" for number in range(3 * QUERY_COUNT)]
    corpus = pl.DataFrame({"passage_id": ids, "title": [""] * len(ids), "text": [f"{text(50)} {one}" for one in ids]})
    queries = [(f"q{number}", f"{text(9)} {number}", "train", "a", None, None) for number in range(QUERY_COUNT)]
    judged = [(f"q{number}", ids[number], 1, "train") for number in range(QUERY_COUNT)]
    mined = [
        (f"q{number % QUERY_COUNT}", ids[number], number // QUERY_COUNT, 0.5, 0.8, None, "range")
        for number in range(QUERY_COUNT, 3 * QUERY_COUNT)
    ]
    qrels = pl.DataFrame(judged, schema=["query_id", "passage_id", "grade", "split"], orient="row")
    data = DataSet(
        corpus=corpus,
        queries=pl.DataFrame(queries, schema=QUERIES, orient="row"),
        qrels=qrels.cast({"grade": pl.Int32}),
    )
    return data, pl.DataFrame(mined, schema=NEGATIVES, orient="row")


@pytest.mark.parametrize("cache", ["off", "on"])
def test_loss_and_gradient_are_those_of_sentence_transformers(tiny_model: Path, cache: str) -> None:
    settings = TrainingSettings.checked(
        {"train_batch_size": QUERY_COUNT, "train_group_size": 3, "dropout": 0.0, "gradient_cache": cache}
    )
    encoding = EncoderSettings(query_max_len=LENGTH, passage_max_len=LENGTH, precision="fp32")
    encoder = Encoder.load(str(tiny_model), encoding, device="cpu", training=True)
    data, negatives = data_set()
    examples = make_examples(data, negatives, settings)
    batch = BatchSampler(examples, settings).batch(0)
    layout = shard_batch(batch, Tokens(examples, encoder), settings, 0, 1)
    objective = objective_of(settings, normalize=True)
    ours = gradient_step(encoder, layout, objective, memory_of(settings), ProcessGroup())

    theirs = SentenceTransformer(str(tiny_model), device="cpu").eval()
    theirs.max_seq_length = LENGTH
    columns = [[examples.queries[row] for row in batch.queries.tolist()]]
    columns += [[examples.texts[number] for number in column] for column in batch.groups.T.tolist()]
    loss = losses.MultipleNegativesRankingLoss(theirs, scale=1 / settings.temperature)(
        [theirs.preprocess(column) for column in columns], None
    )
    loss.backward()

    assert ours.loss == pytest.approx(loss.item(), abs=1e-4)
    expected = dict(theirs[0].model.named_parameters())  # type: ignore[union-attr]
    compared = dict(encoder.model.named_parameters())
    assert {name for name, weight in expected.items() if weight.grad is not None} == set(compared)
    found, reference = (
        torch.cat([weights[name].grad.double().flatten() for name in sorted(compared)])
        for weights in (compared, expected)
    )
    assert (found - reference).norm() < 1e-5 * reference.norm()
