"""A job on this machine: one plain process, or several under torchrun."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sharpen.errors import InputError
from sharpen.jobs.job import Job, JobResult
from sharpen.jobs.settings import OF_ONE_POD, JobSettings
from sharpen.processes.local import LocalProcesses, cancelled_on_signals, raise_failure
from sharpen.run_context import JOB_IMAGE_VARIABLE

logger = logging.getLogger(__name__)

# The settings that mean something here; the others are about a cluster's pods.
_HERE = frozenset({"backend", "processes", "threads", "nodes"})


class LocalBackend:
    """One job on this machine. Its output is passed on line by line."""

    logs = ""

    def __init__(self, job: Job) -> None:
        if os.environ.get(JOB_IMAGE_VARIABLE):
            raise InputError(
                "job.backend: this step was compiled to launch a job elsewhere, in an image that cannot train; compile "
                "with job.backend=local, or without --launcher-image"
            )
        self._settings = settings = job.settings
        self._program = LocalProcesses(job.module, job.options, process_count(settings), settings.threads or 0)

    def build(self) -> dict[str, Any]:
        """The command and the variables that it gets besides those of this process."""
        used = _HERE | OF_ONE_POD if os.environ.get("KUBERNETES_SERVICE_HOST") else _HERE
        if unused := sorted(self._settings.model_fields_set - used):
            logger.warning(f"note: of no effect on this machine: {', '.join(f'job.{name}' for name in unused)}")
        return {"command": self._program.command, "environment": self._program.environment}

    def cancelled_on_signals(self) -> AbstractContextManager[None]:
        """Within the block SIGTERM and Ctrl-C end it."""
        return cancelled_on_signals(self.cancel)

    def submit(self, built: Mapping[str, Any]) -> None:
        """Start it."""
        self._program.start()

    def watch(self) -> JobResult:
        """Pass on its output until it ends."""
        code, status = self._program.wait()
        return JobResult("failed", [self._program.failure(code)], status) if code else JobResult("succeeded")

    def cancel(self) -> None:
        """Tell it to end, and end it if it does not."""
        self._program.cancel()

    def result(self, ending: JobResult) -> None:
        """Raise what a process said, or that it failed."""
        if ending.state != "succeeded":
            raise_failure(ending.outcome, ending.reasons)


def process_count(settings: JobSettings) -> int:
    """Processes of a job on this machine: those of the settings, else one a GPU, else one."""
    return settings.processes or _gpus() or 1


def _gpus() -> int:
    # nvidia-smi's list without importing torch: the launcher needs no torch.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
