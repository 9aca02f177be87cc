"""A schedule fires, its run finds nothing new, it is changed, paused, resumed and deleted."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from pipeline.cluster import experiments, runs, schedules
from pipeline.cluster.api.client import Object
from pipeline.cluster.runs import FINISHED
from sharpen.registry.last_run import SKIP
from sharpen.registry.outcome import VERDICTS
from tests.cluster.live.conftest import WholeRun
from tests.cluster.results import Figures
from tests.cluster.runs import Session
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster


def said(session: Session, *arguments: str) -> str:
    """What a command that succeeds prints."""
    command = session.sharpen(*arguments)
    assert command.end(120) == 0, command.text
    return command.text


def test_a_schedule(
    session: Session, whole_run: WholeRun, cleanup: ExitStack, figures: Figures, tmp_path: Path
) -> None:
    assert whole_run.code == 0
    name, group = session.name, experiments.existing(session.api, session.name)

    def remove() -> None:
        for one in schedules.listed(session.api, group):
            schedules.remove(session.api, one)

    def fired() -> Object | None:
        return next((run for run in runs.latest(session.api, group, 50) if run.get("recurring_run_id")), None)

    options = [*session.images, *session.labels, "--pipeline-name", session.name]
    options += ["--service-account", session.environment.account, *session.settings()]
    cleanup.callback(remove)
    assert f"{name}: created" in said(session, "schedule", "create", name, "--cron", "* * * * *", *options)
    made = time.monotonic()
    run = wait_for("run of the schedule", fired, 300)
    figures.soon("fired", time.monotonic() - made, 150)
    said(session, "schedule", "pause", name, *session.labels)
    identity = str(run["run_id"])
    wait_for("end of its run", lambda: runs.state(runs.get(session.api, identity)) in FINISHED, 600)
    figures.soon("its run ended", time.monotonic() - made, 360)
    assert VERDICTS[SKIP] in said(session, "status", identity)

    assert "enabled" in said(session, "schedule", "resume", name, *session.labels)
    file = tmp_path / "schedules.yaml"
    file.write_text(yaml.safe_dump(schedule_file(session, "0 3 * * *")))
    assert f"{name}: replaced" in said(session, "schedule", "apply", str(file))
    assert f"{name}: unchanged" in said(session, "schedule", "apply", str(file))
    (one,) = schedules.listed(session.api, group)
    assert one["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert "deleted" in said(session, "schedule", "delete", name, *session.labels)
    assert "no schedules" in said(session, "schedule", "list", *session.labels)
    assert not list(schedules.listed(session.api, group))
    # its runs stay
    assert runs.state(runs.get(session.api, identity)) == "SUCCEEDED"


def schedule_file(session: Session, cron: str) -> Object:
    """The file with the session's schedule."""
    settings = session.settings()
    assignments = dict(part.split("=", 1) for part in settings[3::2])
    overrides: Object = {"data": {"seed": int(assignments.pop("data.seed"))}, **assignments}
    return {
        "experiment": session.name,
        "pipeline_name": session.name,
        "image": session.environment.image,
        "launcher_image": session.environment.launcher_image,
        "schedules": [
            {
                "name": session.name,
                "cron": cron,
                "config": str(Path(session.environment.config).resolve()),
                "service_account": session.environment.account,
                "settings": overrides,
            }
        ],
    }
