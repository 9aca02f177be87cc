"""Long passages are mined as they are searched: by their windows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sharpen.embeddings.encoding import encode
from sharpen.mining.mine import mine
from sharpen.mining.settings import MiningSettings
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from tests.sharpen.embeddings.by_hand import window_vectors, words

pytestmark = pytest.mark.model

TEXTS = [words(length, seed) for seed, length in enumerate([*range(3, 30), 45, 70, 120, 900])]
# of the end of a long passage, which is another one's negative
QUERIES = {f"q{row}": " ".join(TEXTS[row].split()[-10:]) for row in (10, 20, 28, 29, 30)}


@pytest.mark.parametrize(
    ("windows", "index"), [("none", "auto"), ("mean", "auto"), ("max", "auto"), ("max", "IVF1,Flat")]
)
def test_scores_and_ranks_are_those_of_windows_by_hand(
    windows: str, index: str, tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    rows = [json.dumps({"_id": f"p{row:02}", "text": text}) for row, text in enumerate(TEXTS)]
    (folder / "corpus.jsonl").write_text("\n".join(rows))
    rows = [json.dumps({"_id": query_id, "text": text}) for query_id, text in QUERIES.items()]
    (folder / "queries.jsonl").write_text("\n".join(rows))
    judged = [f"{query_id}\tp{int(query_id[1:]):02}\t1" for query_id in QUERIES]
    (folder / "qrels" / "train.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")
    values = {"precision": "fp32", "passage_max_len": 32, "passage_windows": windows, "window_overlap": 8}
    given = EncoderSettings.checked(values)
    settings = {"index": index, "negative_number": 6, "range_for_sampling": "0-8", "sampling": "top"}
    mine(str(folder), str(tiny_model), str(tmp_path / "out"), MiningSettings.checked(settings), given)
    encoder = Encoder.load(str(tiny_model), given, device="cpu")
    vectors = [window_vectors(encoder, "", text) for text in TEXTS]
    means = np.stack([one.mean(axis=0) / np.linalg.norm(one.mean(axis=0)) for one in vectors])
    found = pl.read_parquet(tmp_path / "out" / "negatives")
    assert found.height > 5
    for query_id, query in zip(QUERIES, encode(encoder, list(QUERIES.values()), "query"), strict=True):
        of_windows = {
            "none": np.array([one[0] @ query for one in vectors]),
            "mean": means @ query,
            "max": np.array([(one @ query).max() for one in vectors]),
        }
        scores, positive = of_windows[windows], int(query_id[1:])
        for row in found.filter(query_id=query_id).iter_rows(named=True):
            number = int(row["passage_id"][1:])
            assert row["score"] == pytest.approx(scores[number], abs=1e-5)
            assert row["positive_score"] == pytest.approx(scores[positive], abs=1e-5)
            if row["rank"] > 0:
                assert row["rank"] == 1 + (scores > scores[number] + 1e-6).sum()
