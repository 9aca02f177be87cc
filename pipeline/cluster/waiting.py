"""Wait for a run, and tell what happens in it: one line whenever a step changes its state."""

from __future__ import annotations

import time
from collections.abc import Callable

from pipeline.cluster import runs
from pipeline.cluster.api.client import Api
from pipeline.cluster.runs import Graph, Task
from sharpen.errors import GateRejected, Overtaken, StepFailed
from sharpen.progress import clock

POLL_SECONDS = 5.0
# a lost connection is looked for this long; the run does not mind
PATIENCE_SECONDS = 1800.0
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


def wait(api: Api, identity: str, tell: Callable[[str, str], None]) -> None:
    """Return when the run has succeeded.

    Args:
        api: the API.
        identity: id of the run.
        tell: takes a line and the state that it is about.

    Raises:
        StepFailed: the run failed or was cancelled; names its failed steps and what the server says of them.
        GateRejected: it succeeded, and the gate did not promote the model.
        Overtaken: it succeeded, and did not promote the model, since another run changed the champion meanwhile.
        InputError: the run has vanished, or the credentials do not hold any more.
    """
    seen: dict[str, str] = {}
    graph: Graph | None = None
    started = time.monotonic()
    with api.patience(PATIENCE_SECONDS):
        while True:
            run = runs.get(api, identity)
            graph = graph or runs.graph_of(api, run)
            tasks = runs.tasks_of(run, graph)
            for task in tasks:
                if task.state not in (seen.get(task.name), NOT_RUN):
                    seen[task.name] = task.state
                    tell(f"{clock(time.monotonic() - started):>7}  {_line(task)}", task.state)
            if runs.state(run) in runs.FINISHED:
                break
            time.sleep(POLL_SECONDS)
    verdict = runs.verdict(run, graph)
    if verdict == "skip":
        tell(
            "nothing was new to train on, so the champion stays: detect_changes says what it compared",
            "SKIPPED",
        )
    _end(api, run, tasks, verdict)


def _line(task: Task) -> str:
    took = f" in {clock((task.ended - task.started).total_seconds())}" if task.started and task.ended else ""
    said = f": {task.error}" if task.error else ""
    return f"{task.title}: {WORDS.get(task.state, task.state.lower())}{took}{said}"


def _end(api: Api, run: runs.Object, tasks: list[Task], verdict: str) -> None:
    name, link = run.get("display_name"), api.link("runs", str(run["run_id"]))
    if runs.state(run) in ("SUCCEEDED", "SKIPPED"):
        if verdict == "reject":
            raise GateRejected(f"run {name}: the gate did not promote the model; its reasons: the step gate in {link}")
        if verdict == "overtaken":
            raise Overtaken(
                f"run {name}: another run changed the champion meanwhile, and the model did not replace that one; why: "
                f"the step promotion, second try, in {link}"
            )
        return
    if runs.state(run) == "CANCELED":
        raise StepFailed(f"run {name} was cancelled")
    failed = [f"{task.title}: {task.error or 'its log says why'}" for task in tasks if task.state == "FAILED"]
    cause = "; ".join(failed) or runs.error_of(run) or "the server does not say why"
    raise StepFailed(f"run {name} failed: {cause}. Steps and logs: {link}")
