"""A search whose trials are runs: two at a time, nothing promoted, the scores read from the store."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from pipeline.cluster import experiments, runs
from sharpen.errors import SharpenError
from sharpen.store import storage
from tests.cluster.live.conftest import WholeRun
from tests.cluster.results import Figures
from tests.cluster.runs import Session

pytestmark = pytest.mark.cluster


def test_a_search(session: Session, whole_run: WholeRun, cleanup: ExitStack, figures: Figures) -> None:
    assert whole_run.code == 0
    try:
        storage.check_access(session.store)
    except SharpenError as fault:
        pytest.skip(f"the search reads the store, which cannot be reached from here: {fault}")
    command = session.sharpen(
        *("tune", "--cluster", "--trials", "3", "--parallel", "2", "--evaluations", "2", "--repeats", "0"),
        *("--search", "training.learning_rate=1e-6..1e-4:log", "--service-account", session.environment.account),
        *(*session.images, *session.labels, *session.settings(session.new_training(), model="search")),
    )
    cleanup.callback(command.kill)
    assert command.end(3600) == 0, command.text
    group = experiments.existing(session.api, session.name)
    found = [run for run in runs.latest(session.api, group, 100) if "-tune-" in str(run.get("display_name"))]
    assert len(found) == 3
    assert all(runs.state(run) in runs.FINISHED for run in found)
    assert "3 trials: " in command.text and "sharpen submit --config" in command.text
    assert not storage.list_folders(f"{session.store}/models/{session.name}-search/versions")
    figures.note("search of 3", command.ended - command.started, "s")
