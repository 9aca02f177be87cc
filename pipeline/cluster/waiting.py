"""Wait for a run, and report what happens in it: a line whenever a step changes its state, fails or waits."""

from __future__ import annotations

import time
from collections.abc import Callable

from pipeline.cluster import runs
from pipeline.cluster.api.client import Api, Object
from pipeline.cluster.steps.read import Failure, Steps
from pipeline.cluster.steps.tasks import Graph, Task, graph_of, is_skipped
from sharpen.errors import Cancelled, GateRejected, InputError, Overtaken, StepFailed
from sharpen.progress import clock
from sharpen.registry.gate import REJECT
from sharpen.registry.last_run import SKIP
from sharpen.registry.outcome import VERDICTS
from sharpen.registry.run_record import OVERTAKEN

POLL_SECONDS = 5.0
# how often a running step's log is looked at, and a progress line shown
LOG_SECONDS = 15.0
PROGRESS_SECONDS = 60.0
# reading a long log costs the server as much as the client: at most this share of the time
LOG_SHARE = 0.1
# a step's pod without a log for so long does not start
SILENT_SECONDS = 30.0
# a lost connection is looked for this long; the run does not mind
PATIENCE_SECONDS = 1800.0
# a run that is tried again is shown as failed for a moment
RETRY_SECONDS = 60.0
NOT_RUN = "RUNTIME_STATE_UNSPECIFIED"
WORDS = {
    "PENDING": "waits",
    "RUNNING": "runs",
    "SUCCEEDED": "done",
    "SKIPPED": "skipped",
    "FAILED": "failed",
    "CANCELING": "is being cancelled",
    "CANCELED": "cancelled",
    "PAUSED": "paused",
    # what the workflow engine calls omitted, since something before it failed
    NOT_RUN: "not run",
}
Report = Callable[[str, str], None]


def wait(api: Api, identity: str, report: Report, *, retry: str) -> None:
    """Return when the run has succeeded, its outcome reported.

    Args:
        api: the API.
        identity: id of the run.
        report: takes a line and the state that it is about.
        retry: the command that tries the run again.

    Raises:
        StepFailed: the run failed; names its failed steps and why.
        InputError: it failed since the user's input is wrong; or it has vanished, or the credentials do not hold any
            more.
        Cancelled: it was cancelled.
        GateRejected: it succeeded, and the gate did not promote the model.
        Overtaken: it succeeded, and did not promote the model, since another run changed the champion meanwhile.
    """
    with api.patience(PATIENCE_SECONDS):
        watch = _Watch(api, identity, report)
        while not watch.look():
            time.sleep(POLL_SECONDS)
        watch.end(retry)


def until_it_goes_on(api: Api, identity: str) -> None:
    """Return when a run that is tried again is not shown as finished any more, or after a minute."""
    deadline = time.monotonic() + RETRY_SECONDS
    while runs.state(runs.get(api, identity)) in runs.FINISHED and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


class _Watch:
    """What was reported of a run so far."""

    def __init__(self, api: Api, identity: str, report: Report) -> None:
        self._api, self._identity, self._report = api, identity, report
        self._graph: Graph | None = None
        self._started = time.monotonic()
        self._states: dict[str, str] = {}
        self._reported: set[tuple[str, str]] = set()
        self._looked: dict[str, float] = {}
        self._progress: dict[str, float] = {}

    def look(self) -> bool:
        """Report what has changed; True when the run has ended."""
        self._run: Object = runs.get(self._api, self._identity)
        self._graph = self._graph or graph_of(self._api, self._run)
        self._steps = Steps(self._api, self._run, self._graph)
        ended = runs.state(self._run) in runs.FINISHED
        for task in self._steps.tasks:
            if task.state == "RUNNING" and not ended:
                self._running(task)
            elif task.state not in (self._states.get(task.name), NOT_RUN):
                self._changed(task)
        return ended

    def end(self, retry: str) -> None:
        """Report the outcome of a run that has ended; raises as `wait` says."""
        name = self._run.get("display_name")
        link = self._api.link("runs", str(self._run["run_id"]))
        if runs.state(self._run) in ("SUCCEEDED", "SKIPPED"):
            self._succeeded(f"run {name}", link)
        elif runs.state(self._run) == "CANCELED":
            raise Cancelled(f"run {name} was cancelled; {retry} goes on from where it stopped")
        else:
            raise failure_of(self._run, self._steps.failures(), link, retry)

    def _succeeded(self, run: str, link: str) -> None:
        verdict, lines = self._steps.outcome() or ("", [])
        for line in lines:
            self._report(line, "")
        reasons = "; ".join(line.removeprefix("  - ") for line in lines if line.startswith("  - "))
        if verdict == REJECT:
            raise GateRejected(f"{run}: the gate did not promote the model: {reasons}")
        if verdict == OVERTAKEN:
            raise Overtaken(f"{run}: the model was not promoted: {reasons}")
        if not lines:
            assert self._graph is not None
            skipped = f": {VERDICTS[SKIP]}" if is_skipped(self._run, self._graph) else ""
            self._report(f"the run succeeded{skipped}; its outcome: {link}", "SUCCEEDED")

    def _changed(self, task: Task) -> None:
        self._states[task.name] = task.state
        took = f" in {clock((task.ended - task.started).total_seconds())}" if task.started and task.ended else ""
        line = f"{task.title}: {WORDS.get(task.state, task.state.lower())}{took}"
        if task.state == "FAILED" and runs.state(self._run) != "CANCELED":
            line += f": {'; '.join(self._steps.failure(task).reasons)}"
        self._say(line, task.state)

    def _running(self, task: Task) -> None:
        now = time.monotonic()
        if self._states.get(task.name) != task.state:
            self._changed(task)
            self._looked[task.name] = now
        if now - self._looked[task.name] < LOG_SECONDS:
            return
        log = self._steps.log(task)
        read = time.monotonic()
        self._looked[task.name] = read + (read - now) / LOG_SHARE
        if log.failed:
            # what tries it again, or gives up, comes later
            self._once(task, f"failed: {'; '.join(self._steps.failure(task).reasons)}", "FAILED")
            return
        for note in log.notes:
            self._once(task, note, "")
        if log.progress and now - self._progress.get(task.name, self._started) >= PROGRESS_SECONDS:
            self._progress[task.name] = now
            self._say(f"{task.title}: {log.progress}", "")
        silent = task.started is not None and not log.lines and now - self._started >= SILENT_SECONDS
        if silent and (problem := self._steps.pod_problem(task)):
            self._once(task, problem, "")

    def _once(self, task: Task, text: str, state: str) -> None:
        if (task.name, text) not in self._reported:
            self._reported.add((task.name, text))
            self._say(f"{task.title}: {text}", state)

    def _say(self, line: str, state: str) -> None:
        self._report(f"{clock(time.monotonic() - self._started):>7}  {line}", state)


def failure_of(run: Object, failures: list[Failure], link: str, retry: str) -> StepFailed | InputError:
    """A failed run as an error: which steps failed and why, and what to do.

    Args:
        run: the run.
        failures: its failed steps.
        link: where its page is.
        retry: the command that tries it again.
    """
    name = run.get("display_name")
    wrong = [failure for failure in failures if failure.is_user_error]
    if wrong:
        return InputError([f"run {name} failed: {one.task.title}: {line}" for one in wrong for line in one.reasons])
    causes = "; ".join(map(str, failures)) or "the server does not say at which step"
    return StepFailed(f"run {name} failed: {causes}. Its page: {link}. {retry} goes on from where it stopped")
