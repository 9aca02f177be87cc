"""Parts of the queries, measured and compared by themselves: slices.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sharpen.data.dataset import DataSet
from sharpen.data.relevance import Relevance
from sharpen.errors import InputError
from sharpen.evaluation.analysis.names import (
    FIELDS,
    LANGUAGE,
    QUERY_TOKENS,
    QUERY_WORDS,
    SEEN_PASSAGE,
    SOURCE,
)
from sharpen.evaluation.artifact import EvaluationArtifact
from sharpen.evaluation.comparison import compare_tables, correct
from sharpen.evaluation.settings import EvaluationSettings, metric_names
from sharpen.evaluation.split import EvaluationSplit

NONE, OTHERS = "(none)", "(others)"
QUARTERS = 4


@dataclass(frozen=True)
class Slicing:
    """One way to divide the queries.

    Attributes:
        field: its name.
        values: of each query, in the order of `EvaluationSplit`.
        order: the values, as they are listed.
    """

    field: str
    values: list[str]
    order: list[str]


def slice_queries(
    dataset: DataSet, eval_set: EvaluationSplit, data: str, settings: EvaluationSettings
) -> list[Slicing | str]:
    """The slicings of the `settings`; that by tokens, which needs the model, is its name alone (`by_length`).

    Args:
        dataset: the data.
        eval_set: the queries.
        data: its address, for messages.
        settings: which slices, and how many values.

    Raises:
        InputError: the queries have no such column or field.
    """
    queries = pl.DataFrame({"query_id": eval_set.query_ids}).join(
        dataset.queries, on="query_id", how="left", maintain_order="left"
    )
    most, found = settings.slice_values, []
    for name in settings.slices:
        if name == SOURCE:
            found.append(_by_value(name, eval_set.sources, most))
        elif name == LANGUAGE:
            found.append(_by_value(name, _column(queries, LANGUAGE, data), most))
        elif name == SEEN_PASSAGE:
            found.append(_by_seen_passage(dataset, eval_set, settings.relevance_level))
        elif name == QUERY_WORDS:
            found.append(by_length(name, [len(text.split()) for text in eval_set.query_texts]))
        elif name == QUERY_TOKENS:
            found.append(name)
        else:
            found += _by_fields(name, _column(queries, FIELDS, data), data, most)
    return found


def _column(queries: pl.DataFrame, name: str, data: str) -> list[str]:
    if name not in queries.columns:
        raise InputError(
            f"evaluation.slices: the queries of {data} have no {name}; prepare the data with it, or take {name} out"
        )
    return queries[name].fill_null("").to_list()


def _by_value(field: str, values: Sequence[str], most: int) -> Slicing:
    """Slices by value, the most frequent first; those beyond `most` are one together."""
    named = [value or NONE for value in values]
    counts = pl.Series("value", named).value_counts().sort(["count", "value"], descending=[True, False])
    order = counts["value"].to_list()
    if len(order) > most:
        shown = set(order[:most])
        named = [value if value in shown else OTHERS for value in named]
        order = [*order[:most], OTHERS]
    return Slicing(field, named, order)


def _by_fields(name: str, texts: Sequence[str], data: str, most: int) -> list[Slicing]:
    """Slices by the fields of the user, which `texts` hold as JSON objects; by the one that `name` names, or by all."""
    objects: list[dict[str, str]] = [json.loads(text) if text else {} for text in texts]
    known = sorted({field for one in objects for field in one})
    wanted = known if name == FIELDS else [name.removeprefix(f"{FIELDS}.")]
    if missing := [field for field in wanted or [FIELDS] if field not in known]:
        raise InputError(
            f"evaluation.slices: no query of {data} has the field {missing[0]}; known: {', '.join(known) or 'none'}"
        )
    return [_by_value(f"{FIELDS}.{field}", [one.get(field, "") for one in objects], most) for field in wanted]


def _by_seen_passage(dataset: DataSet, eval_set: EvaluationSplit, level: int) -> Slicing:
    """``seen``: a passage that is relevant to the query has the text of one that is relevant to a training query."""
    relevance = Relevance.of(dataset, level)
    relevant = relevance.positives().join(relevance.passages, "passage_id")
    trained = dataset.queries_of("train").select("query_id")
    seen_keys = relevant.join(trained, "query_id", how="semi").select("text_key").unique()
    seen = set(relevant.join(seen_keys, "text_key", how="semi")["query_id"].to_list())
    values = ["seen" if query_id in seen else "unseen" for query_id in eval_set.query_ids]
    return Slicing(SEEN_PASSAGE, values, ["seen", "unseen"])


def by_length(field: str, lengths: Sequence[int]) -> Slicing:
    """Quarters of the queries by length; equal lengths are never parted, so that there may be fewer than four.

    Values are ranges, as ``3-5``.
    """
    given = np.asarray(lengths)
    ordered = np.sort(given)
    # the length of the last query of each quarter
    bounds = np.unique(ordered[[-(-len(ordered) * part // QUARTERS) - 1 for part in range(1, QUARTERS + 1)]])
    number = np.searchsorted(bounds, given)
    names = []
    for quarter in range(len(bounds)):
        low, high = given[number == quarter].min(), given[number == quarter].max()
        names.append(f"{low}-{high}" if low < high else f"{low}")
    return Slicing(field, [names[quarter] for quarter in number], names)


def measure_slices(
    candidate: EvaluationArtifact,
    references: Mapping[str, EvaluationArtifact],
    slicings: Sequence[Slicing],
    query_ids: Sequence[str],
    settings: EvaluationSettings,
) -> dict[str, Any]:
    """slices.json: every slice's metrics, and its differences from each reference.

    Args:
        candidate: the evaluation of the model in question.
        references: name -> evaluation of the same queries.
        slicings: how the queries are divided.
        query_ids: the order of the queries in them.
        settings: how models are compared; fewest queries of a slice.

    Returns:
        ``{"slices": [{"field", "value", "queries", "groups", "metrics": {metric: mean}, "against": {name: {metric:
        ...}}}], "too_small": [{"field", "value", "queries"}]}``. A metric against a reference is as in comparison.json,
        but its ``p_holm`` is corrected over all slices (of one metric and reference).
    """
    names = metric_names(settings.cutoffs)
    slices, too_small = [], []
    for slicing in slicings:
        values = pl.DataFrame({"query_id": list(query_ids), "value": slicing.values})
        for value in slicing.order:
            inside = values.filter(pl.col("value") == value)
            if inside.is_empty():
                continue
            about = {"field": slicing.field, "value": value, "queries": inside.height}
            if inside.height < settings.slice_min_queries:
                too_small.append(about)
                continue
            table = _part(candidate.per_query, inside)
            slices.append(
                about
                | {"groups": table["group"].n_unique(), "metrics": {name: table[name].mean() for name in names}}
                | {
                    "against": {
                        name: compare_tables(name, other.address, table, _part(other.per_query, inside), settings)
                        for name, other in references.items()
                    }
                }
            )
    for name in references:
        correct([found["against"][name] for found in slices], names, "p_holm")
    return {"slices": slices, "too_small": too_small}


def _part(table: pl.DataFrame, inside: pl.DataFrame) -> pl.DataFrame:
    return table.join(inside, on="query_id", how="semi", maintain_order="left")


Lengths = Callable[[], list[int]]


def with_tokens(slicings: Sequence[Slicing | str], lengths: Lengths) -> list[Slicing]:
    """The slicings, that by tokens made of the `lengths` that the model's tokenizer gives."""
    return [by_length(one, lengths()) if isinstance(one, str) else one for one in slicings]
