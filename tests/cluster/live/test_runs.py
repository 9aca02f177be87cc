"""A cluster that is ready, a whole run, a run with nothing new, and one whose every step is there already."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from sharpen.registry.gate import PROMOTE
from sharpen.registry.last_run import SKIP
from sharpen.registry.outcome import VERDICTS
from tests.cluster.live.conftest import WholeRun
from tests.cluster.live.timing import overhead
from tests.cluster.live_cluster import LiveCluster
from tests.cluster.results import Figures
from tests.cluster.runs import Session

pytestmark = pytest.mark.cluster


def test_doctor_is_green(session: Session, figures: Figures) -> None:
    account = session.environment.account
    command = session.sharpen("doctor", "--service-account", account, *session.images, *session.settings())
    assert command.end(180) == 0, command.text
    assert command.lines[-1].text.startswith("ready: "), command.text
    assert "fail " not in command.text
    figures.soon("doctor", command.ended - command.started, 90)


def test_a_whole_run(whole_run: WholeRun, figures: Figures) -> None:
    command = whole_run.run.command
    assert whole_run.code == 0, command.text
    assert f"Verdict: {VERDICTS[PROMOTE]}" in command.text
    assert "v0001" in command.text
    assert "Gain: nDCG@10 " in command.text
    assert "Report: " in command.text and "sharpen models pull" in command.text
    took = command.ended - command.started
    figures.note("pods", len(whole_run.pods), "pods")
    figures.soon("whole run", took, 1800)
    figures.soon("of it not computing", overhead(whole_run.pods, took), 180)


def test_a_run_with_nothing_new_is_skipped(
    session: Session, whole_run: WholeRun, cleanup: ExitStack, figures: Figures
) -> None:
    assert whole_run.code == 0
    run = session.submit(cleanup)
    assert run.command.end(600) == 0, run.command.text
    assert f"Verdict: {VERDICTS[SKIP]}" in run.command.text
    figures.soon("skipped", run.command.ended - run.command.started, 60)


def test_a_run_whose_steps_are_there_already_trains_nothing(
    session: Session, cluster: LiveCluster, whole_run: WholeRun, cleanup: ExitStack, figures: Figures
) -> None:
    assert whole_run.code == 0
    run = session.submit(cleanup, "retraining.force=true")
    assert run.command.end(1200) == 0, run.command.text
    assert cluster.job_of_run(run.id) is None
    assert "this very model is the champion already" in run.command.text
    figures.soon("all from earlier runs", run.command.ended - run.command.started, 240)
