"""Rules about slices, the guard set, latency and size; each with value and threshold in gate.json and on the page."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from sharpen.errors import InputError
from sharpen.registry.decisions import decision_record
from sharpen.registry.gate import decide
from sharpen.registry.gate.evaluation_summary import EvaluationSummary
from sharpen.registry.report import promotion_page
from sharpen.registry.settings import PromotionSettings
from tests.sharpen.registry.conftest import GOOD, figures, measured
from tests.sharpen.reports.html_pages import check_page
from tests.sharpen.reports.sample_pages import STORE, an_outcome

METRIC = "ndcg_at_10"


def a_slice(name: str, entry: dict[str, float], against: str = "base") -> dict[str, Any]:
    field, _, value = name.partition("=")
    counts = {unit: entry[unit] for unit in ("queries", "groups")}
    return {"field": field, "value": value, **counts, "against": {against: {METRIC: entry}}}


def drop(change: float, low: float, p: float, queries: int = 200) -> dict[str, float]:
    return figures(0.6, 0.6 + change, low, queries) | {"p_value": p}


SLICES = [
    a_slice("language=en", drop(0.02, -0.01, 0.2)),
    a_slice("language=de", drop(-0.04, -0.09, 0.04)),
    a_slice("source=faq", drop(-0.08, -0.12, 0.004)),
    a_slice("source=chat", drop(-0.30, -0.50, 0.001, queries=20)),
]
LOST = {metric: figures(entry["candidate"], entry["candidate"] - 0.06, -0.07) for metric, entry in GOOD.items()}
SERVED = {metric: figures(entry["candidate"] - 0.03, entry["candidate"], 0.01) for metric, entry in LOST.items()}
"""The candidate of `LOST` against the base in the same size."""
VARIANTS = [
    {
        "name": "full",
        "bytes_per_passage": 1536,
        "index_bytes": 3 * 2**20,
        "latency_ms_p95": 4.0,
        "metrics": {metric: entry["candidate"] for metric, entry in GOOD.items()},
        "against_full": {},
    },
    {
        "name": "dim:128+int8",
        "bytes_per_passage": 128,
        "index_bytes": 2**18,
        "latency_ms_p95": 1.5,
        "metrics": {metric: entry["candidate"] for metric, entry in LOST.items()},
        "against_full": LOST,
        "against": {"base": SERVED},
        "against_size": {"base": "dim:128+int8"},
    },
]


def summary(**parts: Any) -> EvaluationSummary:
    return replace(measured(), **parts)


@pytest.mark.parametrize(
    ("budgets", "verdict", "says"),
    [
        # named: the interval must rule the drop out
        (
            {"language=de": 0.1},
            "promote",
            "language=de: -0.0400, lower bound of the 95 % interval -0.0900: a drop",
        ),
        ({"language=de": 0.05}, "reject", "a drop beyond 0.0500 is not ruled out"),
        # a family: beyond the budget and significant after Holm
        ({"*": 0.05}, "reject", "slice source=faq: -0.0800, beyond the allowed drop of 0.0500, significant: p 0.0120"),
        ({"*": 0.09}, "promote", "3 slices judged, 1 with too few queries not judged: none with a drop"),
        ({"language": 0.03}, "promote", "2 slices judged"),
        ({"source": 0.05}, "reject", "p 0.0040 after Holm over 1"),
        # the nearest name counts
        ({"*": 0.05, "source=faq": 0.2}, "promote", "2 slices judged"),
        ({"*": 0.05, "source": 0.09}, "promote", "3 slices judged"),
    ],
)
def test_slices(budgets: dict[str, float], verdict: str, says: str) -> None:
    settings = PromotionSettings.checked({"max_slice_regression": budgets})
    decision = decide(summary(slices=SLICES), settings)
    assert decision.verdict == verdict
    assert says in "\n".join(decision.reasons)


def test_holm_counts_every_slice_that_is_judged_and_means_alone_need_no_significance() -> None:
    many = [*SLICES, *(a_slice(f"topic={n}", drop(0.0, -0.05, 1.0)) for n in range(10))]
    settings = PromotionSettings.checked({"max_slice_regression": {"*": 0.05}})
    decision = decide(summary(slices=many), settings)
    assert decision.promoted
    rule = decision.facts["rules"]["slice source=faq"]
    assert rule["holds"] and "not significant: p 0.0520 after Holm over 13" in rule["text"]
    # one line about all of them among the reasons
    assert sum("slice" in reason for reason in decision.reasons) == 1
    means = PromotionSettings.checked({"mode": "mean", "max_slice_regression": {"*": 0.05}})
    assert decide(summary(slices=many), means).verdict == "reject"


def test_a_named_slice_with_too_few_queries_cannot_be_judged() -> None:
    settings = {"max_slice_regression": {"source=chat": 0.05}}
    decision = decide(summary(slices=SLICES), PromotionSettings.checked(settings))
    assert decision.verdict == "cannot tell"
    assert decision.reasons[0] == (
        "cannot tell: slice source=chat: 20 queries, 50 are the fewest on which a decision may rest"
    )
    assert decide(
        summary(slices=SLICES), PromotionSettings.checked({**settings, "promote_when_undecided": True})
    ).promoted
    few = PromotionSettings.checked({**settings, "min_slice_queries": 5})
    assert decide(summary(slices=SLICES), few).verdict == "reject"


def test_the_guard_set_is_judged_as_a_metric_is() -> None:
    guard = {"name": "general", "against": {"base": {METRIC: drop(-0.01, -0.025, 0.1)}}}
    for budget, promoted in ((0.03, True), (0.02, False)):
        settings = PromotionSettings.checked({"max_guard_regression": {METRIC: budget}})
        decision = decide(summary(guard=guard), settings)
        assert decision.promoted is promoted
        assert "nDCG@10 on the guard set general: -0.0100, lower bound" in "\n".join(decision.reasons)
        rule = decision.facts["rules"]["guard: nDCG@10"]
        assert (rule["holds"], rule["value"], rule["threshold"]) == (promoted, -0.025, -budget)


def test_latency_and_size_are_those_of_what_is_served() -> None:
    limits = {"max_latency_ms": 2, "max_bytes_per_passage": 512, "max_index_mib": 1}
    full = decide(summary(variants=VARIANTS), PromotionSettings.checked(limits))
    assert full.verdict == "reject"
    assert "full: 4 ms for a query, the 95th percentile, more than the 2 allowed" in full.reasons
    assert [rule["holds"] for name, rule in full.facts["rules"].items() if name in ("latency", "index size")] == [
        False,
        False,
    ]
    served = decide(summary(variants=VARIANTS), PromotionSettings.checked({**limits, "variant": "dim:128+int8"}))
    rules = served.facts["rules"]
    assert all(rules[name]["holds"] for name in ("latency", "bytes per passage", "index size"))
    assert (rules["index size"]["value"], rules["index size"]["threshold"]) == (0.25, 1.0)
    # and the gain is that of both models at that size: .49 -> .52, where the base has .50 in full
    assert served.promoted and served.figures["gain"] == pytest.approx(0.03)
    assert served.figures["gain_ci_low"] == pytest.approx(0.01)
    assert served.facts["variant"] == served.facts["reference_size"] == "dim:128+int8"
    assert "nDCG@10 0.4900 (base as dim:128+int8) -> 0.5200" in rules["gain"]["text"]
    assert decide(summary(variants=VARIANTS), PromotionSettings.checked({"variant": "full"})).promoted


@pytest.mark.parametrize(
    ("settings", "parts", "says"),
    [
        ({"max_slice_regression": {"*": 0.1}}, {}, "max_slice_regression asks for; set evaluation.slices"),
        ({"max_slice_regression": {"language=fr": 0.1}}, {"slices": SLICES}, "language=fr, which was not measured"),
        ({"max_slice_regression": {"*": 0.1}}, {"slices": []}, "there are: no slices"),
        (
            {"max_slice_regression": {"*": 0.1}},
            {"slices": [a_slice("a=b", drop(0, 0, 1), against="champion")]},
            "slice a=b was not compared with the base",
        ),
        ({"max_guard_regression": {METRIC: 0.1}}, {}, "asks for; set evaluation.guard_data"),
        (
            {"max_guard_regression": {"mrr_at_10": 0.1}},
            {"guard": {"name": "g", "against": {"base": {METRIC: drop(0, 0, 1)}}}},
            "mrr_at_10 was not measured against the base on the guard set; there are: ndcg_at_10",
        ),
        ({"max_latency_ms": 5}, {}, "has no variants.json"),
        (
            {"variant": "dim:128+int8"},
            {"variants": [{**VARIANTS[1], "against": {}}]},
            "int8 was not compared with the base",
        ),
        ({"variant": "64"}, {"variants": VARIANTS}, "variant 64 was not measured; there are: full, dim:128"),
        ({"max_latency_ms": 5}, {"variants": [{"name": "full"}]}, "no latency_ms_p95 of full"),
    ],
)
def test_a_rule_without_its_figures_names_the_setting_that_makes_them(
    settings: dict[str, Any], parts: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says.replace("*", r"\*")):
        decide(summary(**parts), PromotionSettings.checked(settings))


def test_gate_json_and_the_page_have_every_rule_with_value_and_threshold() -> None:
    settings = PromotionSettings.checked(
        {"max_slice_regression": {"*": 0.05}, "max_guard_regression": {METRIC: 0.03}, "max_latency_ms": 2}
    )
    guard = {"name": "general", "against": {"base": {METRIC: drop(-0.01, -0.025, 0.1)}}}
    candidate = summary(slices=SLICES, guard=guard, variants=VARIANTS)
    decision = decide(candidate, settings)
    rules = json.loads(decision_record(decision, candidate.address))["facts"]["rules"]
    assert set(rules) >= {
        "queries",
        "gain",
        "significance",
        "regression of MRR@10",
        "slices",
        "guard: nDCG@10",
        "latency",
    }
    assert all(set(rule) == {"holds", "value", "threshold", "text"} for rule in rules.values())
    assert (rules["gain"]["value"], rules["gain"]["threshold"]) == (pytest.approx(0.08), 0.0)
    text = check_page(promotion_page(an_outcome("reject", version=""), STORE, decision, candidate))
    assert "latency ✗ no 4 2 full: 4 ms for a query" in text
    assert "slice source=faq ✗ no −0.08 −0.05 nDCG@10 of slice" in text


@pytest.mark.parametrize("name", ["", "=de", "language="])
def test_names_of_slices_are_checked(name: str) -> None:
    with pytest.raises(InputError, match="write field, field=value or"):
        PromotionSettings.checked({"max_slice_regression": {name: 0.1}})
