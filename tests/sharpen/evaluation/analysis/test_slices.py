"""Slices: how queries are divided, their figures by hand, and what a correction over slices is for."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from sharpen.data.dataset import DataSet
from sharpen.errors import InputError
from sharpen.evaluation.analysis.slices import Slicing, by_length, measure_slices, slice_queries
from sharpen.evaluation.comparison import compare, compare_tables
from sharpen.evaluation.settings import EvaluationSettings, metric_names
from sharpen.evaluation.split import select_split
from sharpen.multiple_testing import holm
from tests.sharpen.evaluation.splits import an_evaluation

SMALL = EvaluationSettings.checked(
    {"cutoffs": "10", "resamples": 200, "headline_metrics": "ndcg_at_10", "slice_min_queries": 5}
)


def a_dataset(**columns: list[str]) -> DataSet:
    """Six test queries and two of train; test query q0 and train query t0 have a passage of the same text."""
    ids = [*(f"q{n}" for n in range(6)), "t0", "t1"]
    passages = [*(f"p{n}" for n in range(6)), "s0", "s1"]
    texts = ["Shared text", *(f"text {n}" for n in range(1, 6)), "shared  TEXT", "another"]
    rows = list(zip(ids, passages, strict=True))
    queries = {"query_id": ids, "text": ["w " * (n + 1) + f"x{n}" for n in range(8)], "instruction": [""] * 8}
    queries |= {"split": ["test"] * 6 + ["train"] * 2, "source": ["a", "b", "a", "a", "c", "b", "a", "a"]}
    return DataSet(
        corpus=pl.DataFrame({"passage_id": passages, "title": [""] * 8, "text": texts}),
        queries=pl.DataFrame(queries | columns),
        qrels=pl.DataFrame(
            [(q, p, 1, "test" if q[0] == "q" else "train") for q, p in rows],
            schema=["query_id", "passage_id", "grade", "split"],
            orient="row",
        ).cast({"grade": pl.Int32}),
    )


def slicings(data: DataSet, **settings: object) -> list[Slicing | str]:
    checked = EvaluationSettings.checked(settings)
    return slice_queries(data, select_split(data, "test", "data"), "data", checked)


def test_slices_by_columns_fields_and_seen_passages() -> None:
    fields = ['{"team": "x"}', "", '{"team": "y", "kind": "k"}', '{"team": "x"}', "", "", "", '{"other": "z"}']
    data = a_dataset(language=["en", "de", "en", "", "en", "de", "en", "en"], fields=fields)
    found = slicings(data, slices="source,language,seen_passage,query_words,query_tokens,fields", slice_values=2)
    *by_value, tokens, kind, team = found
    assert tokens == "query_tokens"
    assert [(one.field, one.order) for one in (*by_value, kind, team) if isinstance(one, Slicing)] == [
        ("source", ["a", "b", "(others)"]),
        ("language", ["en", "de", "(others)"]),
        ("seen_passage", ["seen", "unseen"]),
        ("query_words", ["2-3", "4", "5-6", "7"]),
        ("fields.kind", ["(none)", "k"]),
        ("fields.team", ["(none)", "x", "(others)"]),
    ]
    values = {one.field: one.values for one in found if isinstance(one, Slicing)}
    assert values["source"] == ["a", "b", "a", "a", "(others)", "b"]
    # the text of its passage, in other letters, is that of a positive in training
    assert values["seen_passage"] == ["seen"] + ["unseen"] * 5
    assert slicings(data, slices="fields.team", slice_values=2) == [team]


@pytest.mark.parametrize(
    ("slices", "fault"),
    [
        ("language", "the queries of data have no language"),
        ("fields", "the queries of data have no fields"),
        ("words", "'words' is no slice; known: source, language"),
        ("source,source", "source is named twice"),
    ],
)
def test_what_cannot_be_sliced_is_said_before_any_work(slices: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        slicings(a_dataset(), slices=slices)


def test_an_unknown_field_names_the_known_ones() -> None:
    data = a_dataset(fields=[json.dumps({"team": "x"})] * 8)
    with pytest.raises(InputError, match="no query of data has the field platform; known: team"):
        slicings(data, slices="fields.platform")


@pytest.mark.parametrize("seed", range(20))
def test_quarters_are_of_equal_size_but_for_equal_lengths(seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(1, 12, 40).tolist()
    found = by_length("query_words", lengths)
    assert len(found.order) <= 4 and set(found.values) == set(found.order)
    for value in found.order:
        low, _, high = value.partition("-")
        inside = [n for n, name in zip(lengths, found.values, strict=True) if name == value]
        assert (min(inside), max(inside)) == (int(low), int(high or low))
        # no shorter than a quarter needs, and no query of another slice has such a length
        assert not set(inside) & {n for n, name in zip(lengths, found.values, strict=True) if name != value}
    assert by_length("x", [3, 3, 3]).order == ["3"]


def values_of(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    return {name: rng.random(count) for name in metric_names(SMALL.cutoffs)}


def test_figures_of_a_slice_are_those_of_its_queries_alone() -> None:
    rng, ids = np.random.default_rng(3), [f"q{n:02}" for n in range(40)]
    groups = [f"g{n // 2}" for n in range(40)]
    one, other = (an_evaluation(ids, values_of(rng, 40), groups) for _ in range(2))
    names = ["few" if n < 3 else ("left" if n % 2 else "right") for n in range(40)]
    found = measure_slices(one, {"base": other}, [Slicing("side", names, ["few", "left", "right"])], ids, SMALL)
    assert found["too_small"] == [{"field": "side", "value": "few", "queries": 3}]
    assert [row["value"] for row in found["slices"]] == ["left", "right"]
    for row in found["slices"]:
        inside = [name for name, value in zip(ids, names, strict=True) if value == row["value"]]
        tables = [table.per_query.filter(pl.col("query_id").is_in(inside)) for table in (one, other)]
        assert row["queries"] == len(inside) and row["groups"] == tables[0]["group"].n_unique()
        assert row["metrics"] == {name: pytest.approx(tables[0][name].mean()) for name in metric_names((10,))}
        expected = compare_tables("base", "", *tables, SMALL)
        for metric, result in row["against"]["base"].items():
            assert {k: v for k, v in result.items() if k != "p_holm"} == {
                k: v for k, v in expected[metric].items() if k != "p_holm"
            }
    for metric in metric_names((10,)):
        results = [row["against"]["base"][metric] for row in found["slices"]]
        assert [r["p_holm"] for r in results] == holm([r["p_value"] for r in results])


def test_equal_models_rarely_differ_in_any_slice() -> None:
    """Of equal models some slice of four differs at p <= .05 in up to 19 % of evaluations; corrected, in 5 %."""
    rng, ids = np.random.default_rng(11), [f"q{n:02}" for n in range(48)]
    slicing = [Slicing("part", [str(n % 4) for n in range(48)], list("0123"))]
    raw = corrected = 0
    for _ in range(150):
        one, other = (an_evaluation(ids, values_of(rng, 48)) for _ in range(2))
        found = measure_slices(one, {"base": other}, slicing, ids, SMALL)["slices"]
        results = [row["against"]["base"]["ndcg_at_10"] for row in found]
        raw += any(result["p_value"] <= 0.05 for result in results)
        corrected += any(result["p_holm"] <= 0.05 for result in results)
    assert raw / 150 > 0.1
    assert corrected / 150 <= 0.05 + 3 * (0.05 * 0.95 / 150) ** 0.5


def test_equal_systems_rarely_differ_from_the_model_in_any_comparison() -> None:
    rng, ids = np.random.default_rng(12), [f"q{n:02}" for n in range(30)]
    raw = corrected = 0
    for _ in range(150):
        candidate, *others = (an_evaluation(ids, values_of(rng, 30)) for _ in range(6))
        compared = compare(candidate, {str(n): other for n, other in enumerate(others)}, SMALL)["against"]
        results = [other["metrics"]["ndcg_at_10"] for other in compared.values()]
        expected = holm([result["p_value"] for result in results])
        assert [result["p_holm_references"] for result in results] == expected
        raw += any(result["p_value"] <= 0.05 for result in results)
        corrected += any(p <= 0.05 for p in expected)
    assert raw / 150 > 0.1
    assert corrected / 150 <= 0.05 + 3 * (0.05 * 0.95 / 150) ** 0.5
