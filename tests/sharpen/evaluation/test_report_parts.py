"""Parts of the report that other files of an evaluation bring: slices, guard set, variants, tasks, maps, the gate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharpen.evaluation.report import breakdowns, vector_figures
from sharpen.evaluation.report.query_list import FORMS, LIST_BYTES, LIST_QUERIES, query_list
from sharpen.evaluation.report.render import SCRIPT
from sharpen.evaluation.retrieval import Embedded
from sharpen.evaluation.split import EvaluationSplit
from sharpen.evaluation.vector_summary import embedding_map, separation
from sharpen.reports.gate_section import MARKER, with_gate
from tests.sharpen.evaluation.report_inputs import HOSTILE, evaluated, full_report, judged_set
from tests.sharpen.evaluation.test_vector_summary import split_of, unit
from tests.sharpen.reports.html_pages import check_page


def figures(difference: float, reference: float = 0.5) -> dict[str, float]:
    bounds = {"ci_low": difference - 0.02, "ci_high": difference + 0.02}
    return {"reference": reference, "candidate": reference + difference, "difference": difference, **bounds}


def a_slice(field: str, value: str, queries: int, difference: float | None) -> dict[str, Any]:
    metrics, against = {}, {}
    if difference is not None:
        metrics = {"ndcg_at_10": 0.5 + difference}
        against = {name: {"ndcg_at_10": figures(difference)} for name in ("base", "champion")}
    return {
        "field": field,
        "value": value,
        "queries": queries,
        "groups": queries,
        "metrics": metrics,
        "against": against,
    }


SLICES = {
    "slices": [
        *(a_slice("fields.platform", f"{HOSTILE}{i}", 100 - i, 0.05 - i / 200) for i in range(15)),
        a_slice("language", "de", 40, -0.1),
        a_slice("language", "", 7, None),
    ]
}
GUARD = {
    "name": "general",
    "queries": 120,
    "groups": 120,
    "metrics": {"ndcg_at_10": 0.71},
    "against": {"base": {"ndcg_at_10": figures(-0.1, 0.81)}},
}
VARIANTS = {
    "variants": [
        {
            "name": f"dim:{dimension}+{precision}",
            "dimension": dimension,
            "precision": precision,
            "bytes_per_passage": dimension * size,
            "index_bytes": dimension * size * 7425,
            "latency_ms_p50": 0.8,
            "latency_ms_p95": 1.234,
            "metrics": {"ndcg_at_10": 0.6 - 10 / dimension},
            "against_full": {"ndcg_at_10": figures(-10 / dimension, 0.6)},
            "against": {"base": {"ndcg_at_10": figures(0.02, 0.5)}} if precision == "int8" else {},
            "against_size": {"base": f"dim:{dimension}+int8" if dimension < 384 else "full"},
        }
        for precision, size in (("fp32", 4), ("int8", 1))
        for dimension in (96, 192, 384)
    ],
    "encoding": {"passages_per_second": 412.3, "cost_per_million_passages": 1.25},
}
GATE = {
    "verdict": "reject",
    "reasons": [HOSTILE],
    "facts": {
        "against": "champion",
        "rules": {
            "gain": {"holds": True, "text": "nDCG@10 +.03"},
            "slice language=de": {"holds": False, "text": HOSTILE},
        },
    },
}


def every_file(judged: EvaluationSplit) -> dict[str, Any]:
    """Every file that an evaluation may have besides its figures."""
    queries, passages = unit(len(judged.query_ids), 8, 1), unit(len(judged.passage_ids), 8, 2)
    ranking = {q: [(p, 0.1) for p in judged.passage_ids[:5]] for q in judged.query_ids}
    return {
        "slices.json": SLICES,
        "guard.json": GUARD,
        "variants.json": VARIANTS,
        "map.json": embedding_map(Embedded(queries, passages), judged),
        "separation.json": separation(Embedded(queries, passages), judged, ranking, 1),
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report with everything that there is to show."""
    judged = judged_set()
    return full_report(tmp_path_factory.mktemp("report"), judged, every_file(judged))


def test_slices_are_drawn_in_their_order_and_listed_whole(page: str) -> None:
    found = breakdowns.slices(SLICES, "ndcg_at_10")
    assert [(one.field, one.name, len(one.drawn), len(one.rows)) for one in found] == [
        ("platform", "champion", breakdowns.SLICES_DRAWN, 15),
        ("language", "champion", 1, 2),
    ]
    assert found[1].rows[1] == ("not stated", ["7", "7", "–", "–", "–"])
    assert found[1].drawn[0].difference == "−.100" and found[1].drawn[0].tone == "down"
    assert found[0].drawn[0].metric == f"{HOSTILE}0"
    text = check_page(page, SCRIPT)
    assert "Platform against every model" in text and "not stated 7 7 – – –" in text


def test_the_guard_set_says_what_was_lost(page: str) -> None:
    assert "120 queries of general" in check_page(page, SCRIPT)
    found = breakdowns.guard(GUARD, ["ndcg_at_10", "mrr_at_10"])
    assert found is not None and [row.tone for row in found.gains[0][1]] == ["down"]
    assert breakdowns.guard({}, ["ndcg_at_10"]) is None
    alone = breakdowns.guard({**GUARD, "against": {}}, ["ndcg_at_10"])
    assert alone is not None and alone.rows == [("nDCG@10", [".710"])]


def test_variants_have_size_latency_and_quality(page: str) -> None:
    found = breakdowns.variants(VARIANTS, "ndcg_at_10")
    assert found is not None
    expected = ["192", "int8", "192", "1.43 MB", "0.8", "1.23", ".548", "−.052 (−.072 … −.032)"]
    assert dict(found.rows)["dim:192+int8"] == [*expected, "+.020 (±.000 … +.040)"]
    assert found.header[-1] == "against base in this size"
    assert [dict(found.rows)[f"dim:384+{one}"][-1] for one in ("int8", "fp32")] == [
        "+.020 (±.000 … +.040) (base in full)",
        "–",
    ]
    assert found.figures and str(found.figures[0].chart).count("<circle") == 6
    assert "412.3 passages a second were encoded here; a million passages cost 1.25" in check_page(page, SCRIPT)
    assert breakdowns.variants({}, "ndcg_at_10") is None


def test_tasks_of_other_types_are_rows() -> None:
    found = breakdowns.tasks(
        {"tasks": [{"name": "x", "task_type": "sts", "metrics": {"spearman": 0.5}, "against": {"base": {}}}]}
    )
    assert found == (["type", "metric", "this model", "change against base"], [("x", ["sts", "Spearman", ".500", "–"])])
    assert breakdowns.tasks({}) is None


def test_maps_are_turned_to_lie_alike() -> None:
    judged = split_of(60, 90)
    one = embedding_map(Embedded(unit(60, 8, 1), unit(90, 8, 2)), judged)
    angle = np.deg2rad(70)
    mirror = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([1, -1])
    plane = np.column_stack([one["points"]["x"], one["points"]["y"]]) @ mirror
    other = {**one, "points": {**one["points"], "x": plane[:, 0].tolist(), "y": plane[:, 1].tolist()}}
    np.testing.assert_allclose(
        vector_figures.turned(other, one) @ np.eye(2), vector_figures.turned(one, one), atol=1e-3
    )
    drawn, key = vector_figures.embedding_maps([("base", one), ("none", {}), ("tuned", other)])
    assert [figure.heading for figure in drawn] == ["base", "tuned"]
    assert key == [("queries", "m0"), ("their relevant passages", "m1")]
    assert str(drawn[0].chart).count("h0") == len(one["points"]["id"])


def test_the_report_holds_map_separation_and_their_alternative_texts(page: str) -> None:
    text = check_page(page, SCRIPT)
    assert "Embedding map" in text and "Score separation" in text
    assert 'aria-label="Embedding map of tuned: ' in page
    assert "\N{NO-BREAK SPACE}% of the variance" in page and "AUC" in text


def test_the_gate_is_put_where_the_report_has_room_for_it(page: str) -> None:
    assert page.count(MARKER) == 1
    decided = with_gate(page, GATE)
    assert MARKER not in decided
    text = check_page(decided, SCRIPT)
    assert "The gate turned this model down. decided against the champion" in text
    assert "gain ✓ yes nDCG@10 +.03" in text and "✗ no" in text
    assert with_gate("<p>an older report</p>", GATE) == "<p>an older report</p>"
    assert "cannot tell whether" in with_gate(page, {"verdict": "cannot tell", "reasons": ["too few"]})


def test_the_list_shows_what_every_model_returned(tmp_path: Path) -> None:
    judged = judged_set(queries=5, passages=30)
    judged.qrels["q00"] = {"d0": 2, "d1": 0}
    models = [
        (name, name, evaluated(tmp_path / name, judged, quality, 1))
        for name, quality in (("base", 0.0), ("tuned", 9.0))
    ]
    data = query_list(models, judged, "ndcg_at_10", 1, "nDCG@10").data
    assert (data["systems"], data["main"], data["graded"]) == (["base", "tuned"], 0, True)
    query_id, text, _, values, ranks, relevant, hits, wanted = data["queries"][0]
    assert (query_id, text, relevant) == ("q00", "question 0", 1)
    passage, grade, score = hits[1][0]
    assert data["passages"][passage][0] == "d0" and grade == 2 and ranks[1] == [1] and values[1] == 1.0 and wanted == []
    base = [p for p, _ in models[0][2].hits["q00"]]
    assert ranks[0] == [base.index("d0") + 1] and [data["passages"][i][0] for i, *_ in hits[0]] == base[:3]
    assert score == pytest.approx(models[1][2].hits["q00"][0][1], abs=1e-3)
    assert all(grade in (-1, 0, 2) for found in hits for _, grade, _ in found)


def test_the_list_is_bounded_whatever_the_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = judged_set(queries=200, passages=400)
    models = [("tuned", "tuned", evaluated(tmp_path / "tuned", judged, 1.0, 1))]

    def size() -> tuple[int, Any]:
        listed = query_list(models, judged, "ndcg_at_10", 1, "nDCG@10")
        return len(json.dumps(listed.data, ensure_ascii=False, separators=(",", ":")).encode()), listed

    whole, listed = size()
    assert (listed.passages_shown, listed.characters) == FORMS[0] and whole < LIST_BYTES
    seen = []
    for limit in (whole - 1, whole // 2, whole // 4, whole // 20):
        monkeypatch.setattr("sharpen.evaluation.report.query_list.LIST_BYTES", limit)
        found, listed = size()
        assert found <= limit
        seen.append((listed.queries, listed.passages_shown, listed.characters))
    assert seen == sorted(seen, reverse=True) and seen[-1][0] < 200 and listed.measured == 200
    monkeypatch.setattr("sharpen.evaluation.report.query_list.LIST_QUERIES", 50)
    monkeypatch.setattr("sharpen.evaluation.report.query_list.LIST_BYTES", LIST_BYTES)
    assert query_list(models, judged, "ndcg_at_10", 1, "nDCG@10").queries == 50
    assert LIST_QUERIES == 10_000
