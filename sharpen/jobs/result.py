"""Whether a job that ended did its work: only a finished output of this very run says so."""

from __future__ import annotations

import logging

from sharpen.errors import InputError, StepFailed
from sharpen.jobs.job import JobResult
from sharpen.store import storage

logger = logging.getLogger(__name__)


def check_output(output: str, run: str) -> None:
    """Return if the output is finished and was written by this run.

    Raises:
        StepFailed: there is no marker, or that of another run.
    """
    try:
        marker = storage.read_manifest(output)
    except storage.NotFound:
        raise StepFailed(
            f"the job says that it succeeded, but {output} has no {storage.MARKER}: it did not write its output whole"
        ) from None
    if marker.run_id != run:
        raise StepFailed(
            f"the job says that it succeeded, but {output} was written by run {marker.run_id or '(none)'}, not {run}"
        )


def raise_failure(name: str, ending: JobResult, store_hint: str = "") -> None:
    """Raise what the end of a job means, unless it succeeded; the last lines of failed pods are printed first.

    Args:
        name: of the job.
        ending: how it ended.
        store_hint: why its pods may not reach the store, for a failure that says so.

    Raises:
        InputError: a process of the job said that the user's input is wrong.
        StepFailed: the job failed, was deleted, or was given up.
    """
    if ending.state == "succeeded":
        return
    told = ending.outcome
    lines = [] if told is None else list(told.lines)
    if store_hint and any("cannot reach" in line or "does not answer" in line for line in lines):
        lines.append(store_hint)
    if told and told.exit_code == InputError.exit_code:
        raise InputError(lines)
    for pod, tail in ending.tails.items():
        logger.info(f"--- last lines of {pod}")
        for line in tail:
            logger.info(f"[{pod}] {line}")
    how = {"failed": "failed", "vanished": "vanished", "stopped": "was given up"}[ending.state]
    reasons = [*ending.reasons, *lines]
    raise StepFailed(f"job {name} {how}: {'; '.join(reasons) or 'its output above says why'}")
