"""The weight that is found: measured as an evaluation measures, chosen by the rule, test never looked at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import sharpen
from sharpen.data.dataset import DataSet
from sharpen.errors import InputError
from sharpen.merging.merge import Mixture
from sharpen.merging.report import render_page
from sharpen.merging.search import choose, warning
from sharpen.merging.settings import MergingSettings


def row(weight: float, dev: float, guard: float) -> dict[str, Any]:
    return {
        "weight": weight,
        "dev": {"candidate": dev, "difference": dev - 0.5},
        "guard": {"candidate": guard, "difference": guard - 0.8},
    }


TABLE = [row(0, 0.5, 0.8), row(0.4, 0.6, 0.795), row(0.6, 0.6, 0.79), row(0.8, 0.68, 0.75), row(1, 0.69, 0.7)]


@pytest.mark.parametrize(
    ("settings", "weight"),
    [
        ({}, 0.6),  # the best on dev that loses at most .01; of equal ones the larger
        ({"max_guard_loss": 0.0}, 0),
        ({"max_guard_loss": 0.05}, 0.8),
        ({"max_guard_loss": 1}, 1),
        ({"rule": "mean"}, 0.8),
    ],
)
def test_the_rule(settings: dict[str, Any], weight: float) -> None:
    chosen, why = choose(TABLE, MergingSettings.checked(settings), "ndcg_at_10")
    assert chosen == weight and why.startswith(f"weight {weight:g}: the best ")


@pytest.mark.parametrize(
    ("table", "weight"),
    [
        (TABLE, 0.4),  # none loses nothing: of those that gain, what loses least
        ([row(0, 0.5, 0.8), row(0.4, 0.49, 0.79), row(1, 0.6, 0.7)], 1),
        ([row(0, 0.5, 0.8), row(0.4, 0.49, 0.79), row(1, 0.5, 0.7)], 0),  # none gains
        ([row(0, 0.5, 0.8), row(0.4, 0.51, 0.8), row(1, 0.6, 0.7)], 0.4),  # the rule has an answer
    ],
)
def test_where_nobody_asked_for_merging_the_base_is_no_result(table: list[dict[str, Any]], weight: float) -> None:
    chosen, why = choose(table, MergingSettings.checked({"max_guard_loss": 0}), "ndcg_at_10", base_will_do=False)
    assert chosen == weight and why.startswith(f"weight {weight:g}: ")


@pytest.mark.model
def test_figures_are_those_of_an_evaluation(
    tiny_model: Path, tuned_from: Callable[..., Path], data: Path, tmp_path: Path
) -> None:
    tuned = tuned_from(tiny_model, 5)
    measured = {"resamples": 100, "guard_data": "general"}
    merged = sharpen.merge_models(tuned, base=tiny_model, data=data, search_weights="0.5", **measured)
    facts = merged.training
    assert [row["weight"] for row in facts["searched"]] == [0, 0.5, 1]
    for weight, row in zip((0.0, 0.5, 1.0), facts["searched"], strict=True):
        sharpen.merge_models(tuned, base=tiny_model, weights=[weight], output=tmp_path / f"{weight}")
        found = sharpen.evaluate(tmp_path / f"{weight}", data, split="dev", **measured)
        assert row["dev"]["candidate"] == pytest.approx(found.metrics["ndcg_at_10"], abs=1e-9)
        guard = json.loads((Path(found.folder) / "guard.json").read_text())
        assert row["guard"]["candidate"] == pytest.approx(guard["metrics"]["ndcg_at_10"], abs=1e-9)
    chosen = next(row for row in facts["searched"] if row["weight"] == facts["weight"])
    assert facts["models"][1]["coefficient"] == facts["weight"] and chosen["dev"]["queries"] == 4
    page = render_page(facts)
    for text in ("Gain and forgetting by weight", "(taken)", "guard set general", "Test queries were not looked at"):
        assert text in page
    # of the test split nothing is needed: there is none in these data
    assert "test" not in set(DataSet.load(data).qrels["split"])


@pytest.mark.model
def test_figures_of_the_size_that_is_served_are_those_of_an_evaluation(
    tiny_model: Path, tuned_from: Callable[..., Path], data: Path, tmp_path: Path
) -> None:
    size, tuned = "dim:8+binary", tuned_from(tiny_model, 5)
    measured = {"resamples": 100, "guard_data": "general"}
    facts = sharpen.merge_models(
        tuned, base=tiny_model, data=data, search_weights="1", served_size=size, **measured
    ).training
    assert any(f"passages are stored as {size}" in note for note in facts["notes"])
    for model, row in zip((tiny_model, tuned), facts["searched"], strict=True):
        found = sharpen.evaluate(model, data, split="dev", variants=[size], **measured)
        (stored,) = json.loads((Path(found.folder) / "variants.json").read_text())["variants"][1:]
        assert row["dev"]["candidate"] == pytest.approx(stored["metrics"]["ndcg_at_10"], abs=1e-9)
        assert row["dev"]["candidate"] != pytest.approx(found.metrics["ndcg_at_10"], abs=1e-9)
    with pytest.raises(InputError, match="dim:64: the model has only 32 dimensions"):
        sharpen.merge_models(tuned, base=tiny_model, data=data, served_size="dim:64", **measured)


@pytest.mark.model
def test_without_dev_queries_a_weight_is_refused_before_any_work(tiny_model: Path, data: Path) -> None:
    rows = DataSet.load(data)
    queries, qrels = (table.filter(pl.col("split") == "train") for table in (rows.queries, rows.qrels))
    with pytest.raises(InputError, match=r"no dev queries.*set merging\.weights"):
        sharpen.merge_models(tiny_model, base=tiny_model, data=DataSet(rows.corpus, queries, qrels))


@pytest.mark.model
def test_the_first_tuned_model_is_not_written_to_be_measured(
    tiny_model: Path, tuned_from: Callable[..., Path], tmp_path: Path
) -> None:
    tuned = tuned_from(tiny_model, 6)
    mixture = Mixture.open([str(tuned)], str(tiny_model), tmp_path)
    assert mixture.model_of([0.0, 1.0], tmp_path / "one") == tuned and not (tmp_path / "one").exists()
    # the base is measured as the tuned one is used
    zero = mixture.model_of([1.0, 0.0], tmp_path / "zero")
    assert (zero / "config_sharpen.json").read_bytes() == (tuned / "config_sharpen.json").read_bytes()


def test_weight_0_is_said_to_be_the_base_and_why() -> None:
    assert warning(TABLE, 0.6) == ""
    assert "raise merging.max_guard_loss" in warning(TABLE, 0)
    assert "no weight gains on dev" in warning([row(0, 0.5, 0.8), row(1, 0.5, 0.7)], 0)
