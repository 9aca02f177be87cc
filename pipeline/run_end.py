"""How a run ended, and what it leaves: the inner part of the graph's last step."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.kfp_context import write_page
from pipeline.run_form import settings_at_the_end
from pipeline.run_plan import store_of
from sharpen.errors import SharpenError
from sharpen.exit_status import VARIABLE, read_exit_status
from sharpen.jobs.cleanup import delete_unfinished_jobs
from sharpen.jobs.failed_step import FailedStep, find_failed_step
from sharpen.notifications import notify
from sharpen.registry.last_run import SKIP
from sharpen.registry.outcome import Outcome, find_outcome
from sharpen.registry.report import CANCELLED, FAILED, SUCCEEDED, RunEnd, run_event, run_page
from sharpen.registry.retention import running
from sharpen.reports.html_page import message_page
from sharpen.run_context import RUN_VARIABLE, run_id
from sharpen.store import storage
from sharpen.store.cleanup.leftovers import sweep
from sharpen.terminal import printable

AFTER_RETRY = "A retry leaves this page as it is: the page of the step promotion says how the run ended then."
NO_REPORT = "This run compared no model with another, so there is no report."


def end_run(
    model_name: str,
    store: str,
    overrides: Mapping[str, Any],
    compiled: str,
    status: Any,
    summary: Any,
    report: Any,
) -> None:
    """Delete the jobs of this run that go on, say how it ended, also to a webhook, and delete what earlier runs left.

    What cannot be read is said, and keeps nothing else from being told.

    Args:
        model_name, store, overrides: inputs of the run.
        compiled: `run_form.compiled_json`.
        status: as Kubeflow gives it.
        summary, report: artifacts for the pages.
    """
    settings, root = settings_at_the_end(overrides), store_of(store)
    name = model_name or json.loads(compiled)["defaults"]["model_name"]
    deleted = delete_unfinished_jobs(settings.job.namespace)
    notes = [f"training job {job} was still there and was deleted" for job in deleted]
    outcome: Outcome | None = None
    try:
        outcome = find_outcome(root, name, run_id())
    except SharpenError as problem:
        notes.append(f"what it came to is not known: {problem}")
    end = _end(status, notes)
    write_page(summary, run_page(end, name, outcome, root))
    write_page(report, _report(name, outcome))
    lines = [end.sentence, *end.lines]
    if end.state == SUCCEEDED and outcome:
        lines = outcome.reasons if outcome.verdict == SKIP else [outcome.headline, *outcome.reasons]
    print(printable(f"{name}: {'; '.join(lines)}"))
    if event := run_event(end, name, outcome, run=run_id(), store=root):
        notify(event, settings.notification)
    with contextlib.suppress(SharpenError):
        running.end(root, run_id())
    # KFP puts the outputs of a run below <root>/<pipeline>/<run>
    runs, inside, _ = summary.uri.partition(f"/{run_id()}/")
    roots = [folder for folder in (root, runs if inside else "") if folder]
    sweep(roots, settings.retraining.delete_leftovers_days, without=run_id())


def _end(status: Any, notes: list[str]) -> RunEnd:
    """How Kubeflow and the run's pods say that it ended."""
    # on one machine KFP's name of the run is its own invention
    run = run_id() if RUN_VARIABLE in os.environ else status.pipeline_job_resource_name
    state, error = status.state, status.error_message or ""
    if state.upper().startswith(("SUCC", "COMPLETE")):
        return RunEnd(run, SUCCEEDED, notes=notes)
    failed = find_failed_step() or _failed_here() or FailedStep("", [error] if error else [])
    cancelled = "CANCEL" in state.upper()
    lines = failed.lines
    if failed.killed and not cancelled:
        cancelled, lines = True, [*lines, "it was ended from outside: the run was cancelled, or the pod's node went"]
    commands = [f"sharpen retry {run_id()}", f"sharpen status {run_id()}"]
    return RunEnd(run, CANCELLED if cancelled else FAILED, failed.step, lines, [*notes, AFTER_RETRY], commands)


def _failed_here() -> FailedStep | None:
    """The step that failed in a run on one machine; None where none has said so."""
    status = read_exit_status(Path(os.environ.get(VARIABLE, "")))
    return FailedStep(status.step, status.lines) if status else None


def _report(name: str, outcome: Outcome | None) -> str:
    if outcome and outcome.report:
        with contextlib.suppress(SharpenError):
            return storage.read_bytes(outcome.report).decode("utf-8")
    return message_page(name, NO_REPORT)
