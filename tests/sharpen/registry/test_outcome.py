"""The outcome of a run: one object, and the block of text that logs and terminals share."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable

import pytest

from sharpen.registry import outcome
from sharpen.registry.outcome import Outcome, find_block, measured_outcome, skipped_outcome
from sharpen.registry.settings import PromotionSettings
from tests.sharpen.registry.conftest import GOOD, Decide, Printed, figures

NAME = "code-search"
Make = Callable[..., str]
on_a_disk = pytest.mark.parametrize("root", ["disk"], indirect=True)


@on_a_disk
def test_a_promotion_ends_with_gains_verdict_addresses_and_commands(
    root: str, make_model: Make, make_evaluation: Make, decide: Decide, printed: Printed
) -> None:
    evaluation = make_evaluation(model := make_model("w1"))
    made = decide(model, evaluation, "first")
    lines = printed(made)
    assert lines[0].split() == ["base", "tuned", "gain", "95", "%", "interval", "better/worse"]
    assert lines[1].split() == "nDCG@10 0.500 0.580 +0.080 +0.050 ... +0.110 100/50".split()
    assert len({len(line) for line in lines[:4]}) == 1
    assert "Gain: nDCG@10 0.500 -> 0.580 (+0.080, 95 % interval +0.050 ... +0.110, 200 test queries)" in lines
    assert any(line.startswith("Dev:    nDCG@10 0.400 -> 0.480 (60 queries)") for line in lines)
    assert "Test:   these queries have decided 0 times before" in lines
    verdict = lines.index("Verdict: promoted")
    assert "gain +0.0800, at least the +0.0000 demanded" in lines[verdict + 3]
    assert f"Model:  {root}/models/{NAME}/versions/v0001" in lines
    assert f"Report: {evaluation}/report.html" in lines
    after = lines[lines.index("Next:") + 1 :]
    assert [line.split("'")[0].rstrip() for line in after] == [
        f'  sharpen search "YOUR QUESTION" --model {NAME} --store',
        f"  sharpen models show {NAME} --store",
        f"  sharpen models pull {NAME} --to ./{NAME} --store",
    ]


@on_a_disk
def test_a_model_that_is_the_champion_already_is_no_news(
    root: str, make_model: Make, make_evaluation: Make, decide: Decide, printed: Printed
) -> None:
    evaluation = make_evaluation(model := make_model("w1"))
    decide(model, evaluation, "first")
    # the same run again, as after a retry, has promoted it all the same
    assert "Verdict: promoted" in printed(decide(model, evaluation, "first"))
    lines = printed(decide(model, evaluation, "second"))
    assert "Verdict: this very model is the champion already, so nothing changed" in lines
    assert any(line.startswith("  - v0001 is the champion already: it is this very model") for line in lines)
    assert f"Model:  {root}/models/{NAME}/versions/v0001" in lines


@on_a_disk
def test_a_rejection_gives_its_reasons_and_the_champion_that_stays(
    root: str, make_model: Make, make_evaluation: Make, decide: Decide, printed: Printed
) -> None:
    champion = decide(model := make_model("w1"), make_evaluation(model), "first").outputs[2]
    bad = GOOD | {"ndcg_at_10": figures(0.5, 0.4, -0.2)}
    worse = make_model("w2")
    ended = decide(worse, make_evaluation(worse, champion=champion, entries=bad), "second")
    lines = printed(ended)
    assert (
        "Gain over the champion: nDCG@10 0.500 -> 0.400 (-0.100, 95 % interval -0.200 ... +0.000, 200 test queries)"
        in lines
    )
    assert lines[0].split()[0] == "base"
    assert any(line.startswith("  - nDCG@10 0.5000 (champion) -> 0.4000: gain -0.1000, less than") for line in lines)
    assert "Verdict: not promoted" in lines
    assert f"Model:  the champion stays {champion}" in lines
    assert lines[-1].startswith("  sharpen explain second --store ")


@on_a_disk
def test_a_refused_first_model_is_explained_beside_its_runs(
    root: str, make_model: Make, make_evaluation: Make, decide: Decide, printed: Printed
) -> None:
    bad = GOOD | {"ndcg_at_10": figures(0.5, 0.4, -0.2)}
    lines = printed(decide(model := make_model("w1"), make_evaluation(model, entries=bad), "first"))
    assert "Model:  none was promoted yet" in lines
    after = [line.split(" --store")[0] for line in lines[lines.index("Next:") + 1 :]]
    assert after == [f"  sharpen runs list {NAME}", "  sharpen settings", "  sharpen explain first"]


@on_a_disk
def test_a_lost_race_and_a_skipped_run(
    root: str,
    make_model: Make,
    make_evaluation: Make,
    decide: Decide,
    printed: Printed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "Model:  none was promoted yet" in skipped_outcome(NAME, root, "nothing is new").lines([])
    decide(model := make_model("w1"), make_evaluation(model), "first")
    late = make_model("w2")
    lines = printed(decide(late, make_evaluation(late), "second"))
    assert "Verdict: not promoted, as another run changed the champion" in lines
    assert any("run again, and it is compared with the champion of then" in line for line in lines)
    skipped = skipped_outcome(NAME, root, "nothing is new")
    verdict, lines = find_block(skipped.block("s3://models/sharpen")) or ("", [])
    assert verdict == "skip"
    assert lines[:3] == [
        "Verdict: nothing new to train on",
        "  - nothing is new",
        f"Model:  the champion stays {root}/models/{NAME}/versions/v0001",
    ]
    assert lines[-1] == "  sharpen submit ... --set retraining.force=true"
    # no address leads to the embedded store, whose commands find it by themselves
    monkeypatch.setenv("SHARPEN_EMBEDDED_STORE", "1")
    assert skipped.commands("s3://sharpen", "submit") == [
        f"models show {NAME}",
        "run ... --set retraining.force=true",
    ]


@on_a_disk
def test_a_test_set_that_decided_often_is_warned_of(
    root: str, make_model: Make, make_evaluation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcome.decisions, "earlier", lambda *_: 12)
    made = measured_outcome(
        make_evaluation(make_model("w1")),
        NAME,
        root,
        PromotionSettings.from_json("{}"),
        verdict="reject",
        reasons=["no"],
        version="",
        run="r",
    )
    assert any("has decided 12 times" in note and "fresh test queries" in note for note in made.notes)


def test_the_last_block_of_a_log_is_found_whatever_the_archive_did_to_it() -> None:
    first, last = Outcome("m", "reject", ["one"]), Outcome("m", "promote", ["two\x1b[31m"], version="s3://b/v0002")
    log = f"[KFP Executor] {{}}\n{first.block('s3://b')}\nmore\n{last.block('s3://b')}\nI1128 main.go:57] done\n"
    found = find_block(log)
    assert found is not None and found[0] == "promote"
    assert r"  - two\x1b[31m" in found[1] and "Model:  s3://b/v0002" in found[1]
    # Kubeflow's archive leaves out empty lines
    archived = "\n".join(line for line in gzip.decompress(gzip.compress(log.encode())).decode().split("\n") if line)
    assert find_block(archived) == found == find_block(log.replace("\n", "\r\n"))
    assert find_block("----- outcome: promote -----\ncut off") is None
    assert find_block("") is None


def test_the_outcome_needs_none_of_the_heavy_packages() -> None:
    code = "import sys, sharpen.registry.outcome; print([m for m in ('torch', 'numpy', 'polars') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
