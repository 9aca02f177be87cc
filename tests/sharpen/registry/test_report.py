"""The pages of a run's end, and the figures by which runs are compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharpen.errors import InputError
from sharpen.registry.gate import decide
from sharpen.registry.outcome import Outcome, find_outcome
from sharpen.registry.report import CANCELLED, FAILED, SUCCEEDED, RunEnd, headline_metrics, promotion_page, run_page
from sharpen.registry.settings import PromotionSettings
from sharpen.store import storage
from tests.sharpen.registry.conftest import GOOD, figures, measured
from tests.sharpen.reports.html_pages import check_page
from tests.sharpen.reports.sample_pages import STORE, VERSION, an_outcome

RULES = PromotionSettings.checked({})


def test_the_summary_of_a_promotion_has_gain_interval_reasons_addresses_and_the_line_that_pulls_it() -> None:
    text = check_page(run_page(RunEnd("sharpen-x1", SUCCEEDED), "code-search", an_outcome(), STORE))
    assert "run sharpen-x1 · 2026-11-28 23:00 UTC Promoted as v0003" in text
    assert (
        "nDCG@10 .500 → .580 against the base: +.080, 95 % interval +.050 … +.110, 411 test queries; nDCG@10 .500 → "
        ".580 against the champion"
    ) in text
    assert "gain +0.0800, at least the +0.0000 demanded" in text
    assert "+.080 −.010 … +.170 212/103" in text and "better/worse" not in text
    assert (
        f"model {VERSION} report s3://a-bucket/with" in text
        and "champion" not in text.partition("Where it is")[2][:200]
    )
    assert f"sharpen models pull code-search --to ./code-search --store {STORE}" in text


def test_a_failure_names_the_step_and_its_cause_and_what_to_do() -> None:
    end = RunEnd(
        "sharpen-x1", FAILED, "finetuning", ["the loss is not a number"], ["job x was deleted"], ["sharpen retry 1"]
    )
    text = check_page(run_page(end, "code-search", None, STORE))
    assert "Failed in step finetuning the loss is not a number" in text
    assert "job x was deleted" in text and text.endswith("Next sharpen retry 1")
    # where the index failed after the promotion, both are told
    text = check_page(run_page(replace(end, step="indexing"), "code-search", an_outcome(), STORE))
    assert text.index("Failed in step indexing") < text.index("Promoted as v0003") < text.index("sharpen retry 1")
    assert "Cancelled" in check_page(run_page(RunEnd("x", CANCELLED), "code-search", None, STORE))


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (an_outcome("reject", version=""), "Not promoted nDCG@10"),
        (an_outcome("waiting"), "UTC v0003 waits for approval"),
        (an_outcome(unchanged=True), "This very model is the champion already, so nothing changed"),
        (an_outcome("overtaken", version=""), "Not promoted, as another run changed the champion"),
        (
            Outcome("code-search", "skip", ["skipped: 0 new examples"]),
            "Nothing new to train on skipped: 0 new examples",
        ),
    ],
)
def test_each_end_is_said_in_the_first_sentence(outcome: Outcome, says: str) -> None:
    assert says in check_page(run_page(RunEnd("sharpen-x1", SUCCEEDED), "code-search", outcome, STORE))


def test_the_promotion_page_shows_each_rule_and_how_each_model_was_used() -> None:
    evaluated = measured({"base": GOOD, "champion": GOOD | {"recall_at_100": figures(0.96, 0.91, -0.09)}})
    decision = decide(evaluated, RULES)
    page = promotion_page(an_outcome("reject", version="", reasons=decision.reasons), STORE, decision, evaluated)
    text = check_page(page)
    assert page.count("✓ yes") == 6 and page.count("✗ no") == 1
    assert "regression of Recall@100 ✗ no −0.09 −0.03 Recall@100: -0.0500" in text
    assert "test queries 200 groups that they come from 100" in text
    assert "setting base champion this model" in text


def test_a_dozen_headline_figures_rounded_and_named_as_people_say_them() -> None:
    evaluated = replace(measured(), dev={"queries": 60, "metrics": {"ndcg_at_10": 0.4812345}, "against": {}})
    base = an_outcome(gains={"base": an_outcome().gains["base"]})
    assert headline_metrics(base, evaluated) == {
        "promoted": 1.0,
        "nDCG@10": 0.58,
        "nDCG@10 gain": 0.08,
        "nDCG@10 gain, low": 0.05,
        "nDCG@10 gain, high": 0.11,
        "nDCG@10 on dev": 0.4812,
        "Recall@100": 0.58,
        "Recall@100 gain": 0.08,
        "test queries": 411,
    }
    both = headline_metrics(an_outcome("reject"), evaluated)
    assert both["promoted"] == 0 and both["nDCG@10 gain over the champion"] == 0.08 and len(both) <= 14


def test_what_a_run_came_to_is_found_again_by_its_id(root: str) -> None:
    made = an_outcome()
    made.save(root, "run-1")
    assert find_outcome(root, "code-search", "run-1") == made
    assert find_outcome(root, "code-search", "run-2") is None
    storage.write_bytes(storage.join(root, "models", "code-search", "outcomes", "run-1.json"), b"{}")
    with pytest.raises(InputError, match=r"outcomes/run-1.json: damaged .*delete it"):
        find_outcome(root, "code-search", "run-1")
