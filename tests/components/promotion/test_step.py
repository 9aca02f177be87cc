"""What a run does after a promotion."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.promotion import step as step_module
from components.promotion.step import PromotionResult, run_step
from sharpen.diagnosis.explain import explain_evaluation
from sharpen.diagnosis.report.section import MARKER as CAUSES
from sharpen.registry import last_run, registry
from sharpen.registry.outcome import find_outcome
from sharpen.reports.gate_section import MARKER
from sharpen.store import storage
from tests.sharpen.registry.conftest import GOOD, figures
from tests.sharpen.reports.html_pages import check_page

NAME = "code-search"
Make = Callable[..., str]
BAD = GOOD | {"ndcg_at_10": figures(0.5, 0.4, -0.2)}
disk_only = pytest.mark.parametrize("root", ["disk"], indirect=True)


def step(
    root: str, model: str, evaluation: str, *, again: bool, index: bool = False, settings: str = "{}"
) -> PromotionResult:
    examples = storage.join(root, "runs", "x", "examples.u64")
    storage.write_bytes(examples, b"12345678")
    seen = ('{"identity": {}, "sources": "s"}', json.dumps({"content": "c", "count": 1, "examples": examples}))
    indexing = json.dumps({"enabled": index})
    return run_step(model, evaluation, NAME, root, settings, indexing, "{}", seen=seen, again=again)


def publish(result: PromotionResult, folder: Path) -> Any:
    """Let the step write its artifacts into a folder; its page."""
    model, page, metrics, decision = (
        SimpleNamespace(path=str(folder / name), metadata={}, log_metric=lambda *_: None)
        for name in ("model", "page", "metrics", "decision")
    )
    result.publish(model, page, metrics, decision)
    return page


@disk_only
def test_what_follows(root: str, make_model: Make, make_evaluation: Make) -> None:
    first, late, quick = make_model("w1"), make_model("w2"), make_model("w3")
    evaluation = make_evaluation(first)
    dry = step(root, first, evaluation, again=True, index=True, settings='{"mode": "never"}')
    assert (dry.outputs[:3], dry.reason) == (
        *(("promoted", "promote", ""),),
        "only a report: the gate passed, nothing was promoted",
    )
    made = step(root, first, evaluation, again=True, index=True)
    assert made.outputs[:2] == ("index", "promote") and made.outputs[2].endswith("v0001")
    stale = make_evaluation(late, champion=made.outputs[2])
    winner = step(root, quick, make_evaluation(quick, champion=made.outputs[2]), again=True)
    assert winner.follows == "promoted"
    # the first lost race is answered by a comparison with the winner, the second ends the run
    lost = step(root, late, stale, again=True)
    assert lost.outputs[:4] == ("compare again", "overtaken", "", winner.outputs[2])
    ended = step(root, late, stale, again=False)
    assert ended.outputs[:3] == ("not promoted", "overtaken", "")
    assert "v0002 is the champion" in ended.reason and f"the model is at {late}; run again" in ended.reason
    worse = step(root, late, make_evaluation(late, champion=winner.outputs[2], entries=BAD), again=False)
    assert worse.outputs[:2] == ("not promoted", "reject") and "gain -0.1000" in worse.reason
    # a gate that says no ends the run at the first try, too
    worse = step(root, late, make_evaluation(late, champion=winner.outputs[2], entries=BAD), again=True)
    assert worse.outputs[:2] == ("not promoted", "reject")


@disk_only
def test_the_report_of_the_outcome_says_what_the_gate_said(root: str, make_model: Make, make_evaluation: Make) -> None:
    evaluation = make_evaluation(model := make_model("w1"), entries=BAD)
    without = step(root, model, evaluation, again=False).outcome.report
    assert without == storage.join(evaluation, "report.html")
    storage.write_bytes(without, f"<p>gains</p>{MARKER}{CAUSES}".encode())
    facts = {"model": model, "data": storage.join(root, "data"), "split": "test", "queries": 30}
    storage.write_json(storage.join(evaluation, "facts.json"), facts)
    outcome = step(root, model, evaluation, again=False).outcome
    decided = storage.read_bytes(outcome.report).decode()
    assert outcome.report.endswith(f"/{NAME}/outcomes/local.html")
    assert "<p>gains</p>" in decided and "The gate turned this model down." in decided and "✗ no" in decided
    assert storage.read_bytes(without).decode() == f"<p>gains</p>{MARKER}{CAUSES}"
    # and what `sharpen explain` says of the run
    assert "What may hold this model back" in decided
    explained = explain_evaluation(evaluation)
    assert [*explained.findings, *explained.missing]
    assert all(one.cause[1:] in decided for one in explained.findings)
    assert all(line in html.unescape(decided) for line in explained.missing)


@disk_only
def test_a_fault_of_the_diagnosis_ends_no_promotion(
    root: str,
    make_model: Make,
    make_evaluation: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    evaluation = make_evaluation(model := make_model("w1"))
    storage.write_bytes(storage.join(evaluation, "report.html"), f"<p>gains</p>{MARKER}{CAUSES}".encode())

    def broken(evaluation: str) -> None:
        raise KeyError("queries")

    monkeypatch.setattr(step_module, "explain_evaluation", broken)
    with caplog.at_level("WARNING", logger="sharpen"):
        outcome = step(root, model, evaluation, again=False).outcome
    assert outcome.version and "The gate let" in storage.read_bytes(outcome.report).decode()
    assert "the report lacks what may hold the model back: KeyError" in caplog.text


@disk_only
def test_only_an_end_is_recorded(root: str, make_model: Make, make_evaluation: Make) -> None:
    step(root, model := make_model("w1"), make_evaluation(model), again=True)
    assert (before := last_run.read(root, NAME)) is not None and before.version == "v0001"
    late = make_model("w2")
    assert step(root, late, make_evaluation(late), again=True).follows == "compare again"
    assert last_run.read(root, NAME) == before
    step(root, late, make_evaluation(late), again=False)
    assert (ended := last_run.read(root, NAME)) is not None and ended.verdict == "overtaken"


@disk_only
def test_the_end_of_a_lost_race_is_in_the_record_and_on_the_page(
    root: str, make_model: Make, make_evaluation: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARPEN_RUN", "s3://b/runs/mine")
    step(root, model := make_model("w1"), make_evaluation(model), again=True)
    late = make_model("w2")
    ended = step(root, late, make_evaluation(late), again=False)
    page = publish(ended, tmp_path)
    assert page.metadata["verdict"] == "overtaken" and page.metadata["version"] == ""
    assert "Not promoted, as another run changed the champion" in check_page((tmp_path / "page").read_text())
    assert json.loads((tmp_path / "metrics").read_text())["nDCG@10 gain"] == 0.08
    card = json.loads((tmp_path / "model").read_text())
    assert (card["display_name"], card["version"], card["address"]) == (f"{NAME} not promoted", "", "")
    assert (last := last_run.read(root, NAME)) is not None and last.verdict == "overtaken"
    assert (told := find_outcome(root, NAME, "mine")) is not None and told.reasons == [ended.reason]
    assert registry.champion_address(root, NAME).endswith("v0001")
