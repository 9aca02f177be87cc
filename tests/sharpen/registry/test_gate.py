from __future__ import annotations

import math
from typing import Any

import pytest

from sharpen.errors import InputError
from sharpen.registry.gate import decide
from sharpen.registry.settings import PromotionSettings
from tests.sharpen.registry.conftest import GOOD, figures, measured


def settings(**values: Any) -> PromotionSettings:
    return PromotionSettings.checked(values)


@pytest.mark.parametrize(
    ("change", "values", "verdict", "says"),
    [
        ({}, {}, "promote", "gain +0.0800, at least"),
        ({}, {"min_gain": 0.08}, "promote", "at least the +0.0800"),
        ({}, {"min_gain": 0.0801}, "reject", "less than the +0.0801"),
        ({"ndcg_at_10": figures(0.5, 0.5, 0.0)}, {}, "reject", "not above 0"),
        ({"ndcg_at_10": figures(0.5, 0.5, 0.0)}, {"mode": "mean"}, "promote", "gain +0.0000"),
        ({"ndcg_at_10": figures(0.5, 0.52, -0.001)}, {}, "reject", "95 % interval -0.0010, not above 0"),
        ({"ndcg_at_10": figures(0.5, 0.52, 0.0)}, {}, "reject", "not above 0"),
        ({"ndcg_at_10": figures(0.5, 0.52, 1e-9)}, {}, "promote", "above 0"),
        ({"ndcg_at_10": figures(0.5, 0.52, -0.001)}, {"mode": "mean"}, "promote", "gain +0.0200"),
        ({"ndcg_at_10": figures(0.5, 0.49, -0.03)}, {"mode": "mean"}, "reject", "gain -0.0100"),
        (
            {"ndcg_at_10": figures(0.5, 0.49, -0.03)},
            {"mode": "mean", "min_gain": -0.02},
            "promote",
            "gain -0.0100, at least the -0.0200",
        ),
        ({"ndcg_at_10": {**GOOD["ndcg_at_10"], "p_value": 0.0501}}, {}, "reject", "p of the paired randomisation test"),
        ({"ndcg_at_10": {**GOOD["ndcg_at_10"], "p_value": 0.05}}, {}, "promote", "0.0500, at most 0.05"),
        ({"ndcg_at_10": {**GOOD["ndcg_at_10"], "p_value": 0.9}}, {"mode": "mean"}, "promote", "gain"),
        ({"recall_at_100": figures(0.9, 0.9, -0.031)}, {}, "reject", "-0.0310: a drop beyond 0.0300 is not ruled out"),
        ({"recall_at_100": figures(0.9, 0.89, -0.03)}, {}, "promote", "-0.0300: a drop beyond 0.0300 is ruled out"),
        (
            {"recall_at_100": figures(0.9, 0.865, -0.05)},
            {"mode": "mean"},
            "reject",
            "Recall@100: -0.0350, beyond the allowed",
        ),
        (
            {"recall_at_100": figures(0.9, 0.875, -0.05)},
            {"mode": "mean"},
            "promote",
            "Recall@100: -0.0250, within the allowed",
        ),
        ({"recall_at_100": figures(0.9, 0.5, -0.5)}, {"max_regression": {}}, "promote", "gain"),
        (
            {"recall_at_100": figures(0.9, 0.91, -0.0001)},
            {"max_regression": {"recall_at_100": 0}},
            "reject",
            "a drop beyond 0.0000 is not ruled out",
        ),
        ({}, {"min_queries": 201}, "cannot tell", "cannot tell: 200 test queries, 201 are the fewest"),
        ({}, {"min_queries": 200}, "promote", "200 test queries"),
        ({}, {"min_groups": 101}, "cannot tell", "cannot tell: test queries of 100 groups, 101 are the fewest"),
        ({}, {"min_groups": 100}, "promote", "of 100 groups"),
        ({}, {"min_queries": 201, "promote_when_undecided": True}, "promote", "gain +0.0800"),
        (
            {"ndcg_at_10": figures(0.5, 0.52, -0.001)},
            {"min_queries": 201, "promote_when_undecided": True},
            "reject",
            "not above 0",
        ),
        ({}, {"metric": "recall_at_100"}, "reject", "Recall@100: lower bound"),
    ],
)
def test_the_rules_one_by_one(
    change: dict[str, dict[str, float]], values: dict[str, Any], verdict: str, says: str
) -> None:
    decision = decide(measured({"base": GOOD | change}), settings(**values))
    assert decision.verdict == verdict
    assert says in "\n".join(decision.reasons)
    assert decision.promoted == (verdict == "promote")


def test_every_failed_rule_is_told_and_no_other() -> None:
    worse = {
        "ndcg_at_10": figures(0.5, 0.4, -0.2, queries=5) | {"p_value": 0.4},
        "mrr_at_10": figures(0.5, 0.4, -0.2),
        "recall_at_100": figures(0.9, 0.9, 0.0),
    }
    decision = decide(measured({"base": worse}), settings())
    assert (decision.verdict, decision.outcome) == ("cannot tell", "reject")
    assert len(decision.reasons) == 6
    told = "\n".join(decision.reasons)
    words_of_rules = ("5 test queries", "of 2 groups", "gain -0.1000", "lower bound", "randomisation test", "MRR@10")
    for words in words_of_rules:
        assert words in told
    assert "Recall@100" not in told


def test_the_champion_decides_when_there_is_one() -> None:
    weak = {metric: figures(entry["candidate"] + 0.01, entry["candidate"], -0.02) for metric, entry in GOOD.items()}
    decision = decide(measured({"base": GOOD, "champion": weak}), settings())
    assert decision.verdict == "reject"
    assert decision.facts["against"] == "champion"
    assert decision.facts["reference"] == "s3://bucket/champion"
    assert decide(measured({"base": weak, "champion": GOOD}), settings()).verdict == "promote"


def test_the_champion_itself_passes_again() -> None:
    same = {metric: figures(0.5, 0.5, 0.0) for metric in GOOD}
    candidate = measured({"champion": same}, reference_facts={"model_hash": "hash-tuned"})
    decision = decide(candidate, settings())
    assert decision.verdict == "promote"
    assert "champion already" in decision.reasons[0]
    # with other weights and the same figures it does not
    assert decide(measured({"champion": same}), settings()).verdict == "reject"
    # and weights that no evaluation has recorded are not equal to each other
    unknown = measured({"champion": same}, reference_facts={"model_hash": None}, model_hash=None)
    assert decide(unknown, settings()).verdict == "reject"


def test_without_any_comparison_nothing_is_decided() -> None:
    with pytest.raises(InputError, match="compares with nothing"):
        decide(measured({}), settings())


@pytest.mark.parametrize("fact", ["data_fingerprint", "split"])
def test_models_measured_on_other_data_are_not_compared(fact: str) -> None:
    with pytest.raises(InputError, match=f"another {fact.replace('_', ' ')}"):
        decide(measured(reference_facts={fact: "another"}), settings())


def test_a_metric_that_was_not_measured_is_named() -> None:
    with pytest.raises(InputError) as caught:
        decide(measured(), settings(metric="ndcg_at_20", max_regression={"map_at_7": 0.1}))
    assert [line.split(": ")[1].split()[0] for line in caught.value.faults] == ["ndcg_at_20", "map_at_7"]
    assert "there are: mrr_at_10, ndcg_at_10, recall_at_100" in caught.value.faults[0]


def test_a_comparison_of_an_earlier_version_is_refused() -> None:
    old = {metric: {k: v for k, v in entry.items() if k != "groups"} for metric, entry in GOOD.items()}
    with pytest.raises(InputError, match=r"lacks groups: .*evaluate the model again"):
        decide(measured({"base": old}), settings())


def test_what_is_not_a_number_does_not_pass() -> None:
    broken = GOOD | {"ndcg_at_10": {**GOOD["ndcg_at_10"], "ci_low": math.nan}}
    with pytest.raises(InputError, match="not a number"):
        decide(measured({"base": broken}), settings())


def test_figures_of_two_evaluations_are_told_apart() -> None:
    candidate = measured()
    candidate.metrics["ndcg_at_10"] = 0.6
    with pytest.raises(InputError, match="of two evaluations"):
        decide(candidate, settings())


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"min_gain": 2}, "less than or equal to 1"),
        ({"max_regression": {"recall_at_100": -0.1}}, "greater than or equal to 0"),
        ({"max_regression": {"recall@100": 0.1}}, "name metrics as in metrics.json"),
        ({"metric": "ndcg@10"}, "promotion.metric"),
        ({"min_gian": 0.1}, "did you mean min_gain?"),
        ({"min_queries": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_are_bounded(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says.replace("?", r"\?")):
        PromotionSettings.checked(values, where="promotion.")
