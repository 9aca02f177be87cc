"""Queries that a language model wrote: how they are marked, and what is done so that nobody takes them for people's.

The mark is in the column `fields`, which a person can read and results can be sliced by: ``"origin": "generated"``.
"""

from __future__ import annotations

import json
from dataclasses import replace

import polars as pl

from sharpen.data.dataset import OF_PAIRS, DataSet

ORIGIN, GENERATED = "origin", "generated"


def generated_fields(**fields: str) -> str:
    """The `fields` of a generated query, with what else is known of it, as the data set stores them."""
    return json.dumps({ORIGIN: GENERATED, **fields}, ensure_ascii=False)


def is_generated(queries: pl.DataFrame) -> pl.Series:
    """Which queries (n,) are marked as generated."""
    if "fields" not in queries.columns:
        return pl.Series("generated", [False], dtype=pl.Boolean).new_from_index(0, queries.height)

    def marked(fields: str) -> bool:
        # a short look first: most fields say nothing of it
        return GENERATED in fields and json.loads(fields).get(ORIGIN) == GENERATED

    return pl.Series("generated", [marked(text or "") for text in queries["fields"]], dtype=pl.Boolean)


def of_people(queries: pl.DataFrame) -> pl.DataFrame:
    """The queries that people wrote, of which dev and test are cut; all where no person wrote any."""
    marks = is_generated(queries)
    return queries if marks.all() else queries.filter(~marks)


def generated_by_split(queries: pl.DataFrame) -> dict[str, int]:
    """Split -> how many of its queries are generated; splits without any are left out."""
    return dict(queries.filter(is_generated(queries)).group_by("split").len().sort("split").iter_rows())


def without_repeats_of_people(data: DataSet) -> DataSet:
    """The data without generated queries that a person has asked, too: theirs stays, in its split."""
    marks = is_generated(data.queries)
    if not marks.any() or marks.all():
        return data
    human = data.queries.filter(~marks)
    repeats = data.queries.filter(marks).join(human, on="text_key", how="semi").select("query_id")
    tables = {name: getattr(data, name) for name in ("queries", *OF_PAIRS)}
    return replace(data, **{name: table.join(repeats, on="query_id", how="anti") for name, table in tables.items()})


def warning(split: str, generated: int, queries: int) -> str:
    """What must be said of a split in which generated queries are measured with; empty for none.

    Args:
        split: its name.
        generated, queries: how many of its queries are generated, and how many there are.
    """
    if not generated:
        return ""
    if generated == queries:
        return (
            f"SYNTHETIC EVALUATION: a language model wrote all {queries:,} {split} queries. The figures say how well "
            "such queries are answered, not those of people: bring some of theirs as eval_data before you trust them"
        )
    return (
        f"SYNTHETIC EVALUATION: a language model wrote {generated:,} of the {queries:,} {split} queries; slice by "
        f"fields.{ORIGIN} to see people's alone"
    )
