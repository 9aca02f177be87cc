"""A data set of three training queries, and negatives as mining writes them."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from sharpen.data.dataset import CORPUS, GIVEN_NEGATIVES, NEGATIVES, QRELS, DataSet, write_table
from sharpen.store import storage

TEXTS = {
    "p0": ("About fish", "Fish live in rivers and lakes."),
    "p1": ("", "Rivers hold many kinds of fish."),
    "p2": ("Bread", "Bread is made of flour and water."),
    "p3": ("", "The moon is far from the earth."),
    "p4": ("", "Winter is cold in the north."),
    "p5": ("", "A stone is hard."),
}


def small_data() -> DataSet:
    """q0 and q1 have positives, q2 has none, q3 is a test query; p4 is judged irrelevant to q0."""
    rows = [("q0", "where do fish live", "train"), ("q1", "what is bread made of", "train")]
    rows += [("q2", "nothing is known of this", "train"), ("q3", "how far is the moon", "test")]
    judged = [("q0", "p0", 1, "train"), ("q0", "p4", 0, "train"), ("q1", "p2", 2, "train"), ("q3", "p3", 1, "test")]
    return DataSet(
        corpus=pl.DataFrame([(name, *texts) for name, texts in TEXTS.items()], schema=CORPUS, orient="row"),
        queries=pl.DataFrame(
            [(*row, "s", "", None) for row in rows],
            schema=["query_id", "text", "split", "source", "instruction", "group"],
            orient="row",
        ).with_columns(pl.col("group").cast(pl.String)),
        qrels=pl.DataFrame(judged, schema=QRELS, orient="row"),
        given_negatives=pl.DataFrame([("q0", "p3"), ("q1", "p5"), ("q2", "p5")], schema=GIVEN_NEGATIVES, orient="row"),
    )


MINED = [("q0", "p1"), ("q0", "p2"), ("q1", "p3"), ("q1", "p1")]


def written(folder: Path) -> tuple[str, str]:
    """Addresses of the data set, and of negatives (`MINED`) with mining's report."""
    data, negatives = folder / "data", folder / "mined"
    found = small_data()
    facts = {"fingerprint": found.fingerprint()}
    with storage.publish(str(data), producer="data_prep", rows=found.counts(), facts=facts) as into:
        found.save(into)
    columns = {name: [row[column] for row in MINED] for column, name in enumerate(("query_id", "passage_id"))}
    table = pl.DataFrame(columns).with_columns(
        rank=pl.lit(3),
        score=pl.lit(0.5),
        positive_score=pl.lit(0.6),
        teacher_score=pl.lit(99.0),
        picked_by=pl.lit("search"),
    )
    with storage.publish(str(negatives), producer="hard_negatives", facts={"model_hash": "abc"}) as into:
        write_table(table, into / "negatives", NEGATIVES)
        (into / "report.json").write_text(json.dumps({"negatives": len(MINED), "model": "miner"}))
    return str(data), str(negatives)
