"""Near duplicates among the queries or passages of a data set, and those that stand on both sides of a split."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from sharpen.data.preparation.checks.near_duplicates import clusters, near_duplicates
from sharpen.data.preparation.checks.sampling import EXAMPLES, HELD_OUT, shortened
from sharpen.hardware.spill import in_memory

_PAIR = ("first", "second", "similarity")


def near_texts(texts: pl.DataFrame, of: int) -> dict[str, Any]:
    """Counts and examples of near duplicates and near leaks.

    A text leaks nearly when its split is dev or test and it is connected by near duplicates with one of train, or if it
    is of dev, with one of test.

    Args:
        texts: text, text_key, split; a split other than train, dev and test neither leaks nor is leaked into. All are
            looked at.
        of: texts of which they are a sample.

    Returns:
        counted, of: texts looked at, and all; near_duplicates: those that could go, one of each cluster staying; share:
        of those looked at; examples; leaks: split -> counted, near_leaks, share; leak_examples.
    """
    looked = texts.sort("text_key", "split")
    pairs = near_duplicates(in_memory(looked["text"]))
    labels = clusters(pairs, looked.height)
    splits = looked.select("split", cluster=pl.Series(labels))
    within = splits.group_by("cluster").agg(
        *((pl.col("split") == split).any().alias(f"has_{split}") for split in ("train", "test"))
    )
    of_cluster = splits.join(within, on="cluster")
    spare = looked.height - len(np.unique(labels))
    named = pairs.with_columns(
        pl.Series(f"{side}_split", looked["split"].gather(pairs[side]), dtype=pl.String) for side in ("first", "second")
    )
    across = named.filter(
        (pl.col("first_split") != pl.col("second_split"))
        & (pl.col("first_split").is_in(HELD_OUT) | pl.col("second_split").is_in(HELD_OUT))
        & pl.all_horizontal(pl.col("first_split", "second_split").is_in(["train", *HELD_OUT]))
    )
    return {
        "counted": looked.height,
        "of": of,
        "near_duplicates": spare,
        "share": spare / max(1, looked.height),
        "examples": _examples(named, looked["text"]),
        "leaks": {split: _leaks(of_cluster, split) for split in HELD_OUT},
        "leak_examples": _examples(across, looked["text"]),
    }


def _leaks(of_cluster: pl.DataFrame, split: str) -> dict[str, Any]:
    mine = of_cluster.filter(pl.col("split") == split)
    leaking = mine.filter(pl.col("has_train") | (pl.col("has_test") if split == "dev" else pl.lit(False)))
    return {"counted": mine.height, "near_leaks": leaking.height, "share": leaking.height / max(1, mine.height)}


def _examples(pairs: pl.DataFrame, texts: pl.Series) -> list[dict[str, Any]]:
    """The most alike pairs."""
    shown = pairs.sort("similarity", "first", "second", descending=[True, False, False]).head(EXAMPLES)
    return [
        {
            "first": shortened(texts[first]),
            "second": shortened(texts[second]),
            "similarity": round(similarity, 3),
            "splits": sides,
        }
        for first, second, similarity, *sides in shown.select(*_PAIR, "first_split", "second_split").iter_rows()
    ]
