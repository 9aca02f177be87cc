"""The first whole run, which several tests look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.cluster.live_cluster import LiveCluster, Object, PodRecorder
from tests.cluster.runs import Run, Session


class WholeRun:
    """A run that went from the first to the last step.

    Attributes:
        run: it.
        code: exit code of the command that waited for it.
        pods: that were started for it.
    """

    def __init__(self, run: Run, code: int, pods: list[Object]) -> None:
        self.run, self.code, self.pods = run, code, pods


@pytest.fixture(scope="session")
def whole_run(session: Session, cluster: LiveCluster) -> Iterator[WholeRun]:
    """The session's first run, ended."""
    with ExitStack() as cleanup:
        run = session.submit(cleanup)
        with PodRecorder(cluster, run.id) as recorder:
            code = run.command.end(3600)
            recorder.look()
        yield WholeRun(run, code, list(recorder.seen.values()))
