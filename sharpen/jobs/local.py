"""A job on this machine: one plain process, or several under torchrun."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharpen import exit_status
from sharpen.errors import InputError, StepFailed
from sharpen.jobs.job import Ending, Job
from sharpen.jobs.settings import OF_ONE_POD
from sharpen.parent_death import dies_with_parent
from sharpen.run_context import JOB_IMAGE_VARIABLE

logger = logging.getLogger(__name__)

# A job that is told to end has this long to do so.
GRACE_SECONDS = 30
# The settings that mean something here; the others are about a cluster's pods.
_HERE = frozenset({"backend", "processes", "threads", "nodes"})


class LocalBackend:
    """One job on this machine. Its output is passed on line by line."""

    def __init__(self, job: Job) -> None:
        settings = job.settings
        if os.environ.get(JOB_IMAGE_VARIABLE):
            raise InputError(
                "job.backend: this step was compiled to launch a job elsewhere, in an image that cannot train; compile "
                "with job.backend=local, or without --launcher-image"
            )
        self._job = job
        self._processes = settings.processes or _gpus() or 1
        # a pod sees every core of its node and is told by this variable how many are its own
        # (of a list, one for each level of nesting, the first counts)
        told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
        cores = int(told) if told.isdecimal() else len(os.sched_getaffinity(0))
        self._threads = settings.threads or max(1, cores // self._processes)
        self._running: subprocess.Popen[str] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def build(self) -> dict[str, Any]:
        """The command and the variables that it gets besides those of this process."""
        job = self._job
        used = _HERE | OF_ONE_POD if os.environ.get("KUBERNETES_SERVICE_HOST") else _HERE
        if unused := sorted(job.settings.model_fields_set - used):
            logger.warning(f"note: of no effect on this machine: {', '.join(f'job.{name}' for name in unused)}")
        # -P: the working folder may hold a folder `components` that is not ours
        python = [sys.executable, "-P", "-m"]
        program = [*python, job.module, *job.options]
        if self._processes == 1:
            command = program
        else:
            torchrun = [*python, "torch.distributed.run", "--standalone", f"--nproc-per-node={self._processes}"]
            # torchrun's children end with torchrun, and torchrun with this process
            command = [*torchrun, "--no-python", *dies_with_parent(program)]
        environment = {
            "OMP_NUM_THREADS": str(self._threads),
            "PYTHONUNBUFFERED": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        return {"command": command, "environment": environment}

    def submit(self, built: Mapping[str, Any]) -> None:
        """Start it."""
        self._folder = tempfile.TemporaryDirectory(prefix="sharpen-job-")
        self._running = subprocess.Popen(
            dies_with_parent(built["command"]),
            env={**os.environ, exit_status.VARIABLE: str(self._told), **built["environment"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def watch(self) -> Ending:
        """Pass on its output until it ends."""
        assert self._running is not None
        assert self._running.stdout is not None
        with self._running.stdout as lines:
            for line in lines:
                # Once a process has told why it fails, torchrun's own traceback adds nothing.
                if not self._told.exists():
                    logger.info(line.removesuffix("\n"))
        code = self._running.wait()
        told = exit_status.read_exit_status(self._told)
        self._clean_up()
        if code == 0:
            return Ending("succeeded")
        reason = f"the job of {self._processes} process(es) ended with exit code {code}; its output above says why"
        return Ending("failed", [reason], told)

    def cancel(self) -> None:
        """Tell it to end, and end it if it does not."""
        if self._running is not None and self._running.poll() is None:
            self._running.terminate()
            try:
                rest, _ = self._running.communicate(timeout=GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self._running.kill()
                rest, _ = self._running.communicate()
            if rest:
                logger.info(rest.removesuffix("\n"))
        self._clean_up()

    def result(self, ending: Ending) -> None:
        """Raise what a process told, or that it failed."""
        if ending.state == "succeeded":
            return
        if ending.outcome and ending.outcome.exit_code == InputError.exit_code:
            raise InputError(ending.outcome.lines)
        raise StepFailed("; ".join(ending.outcome.lines if ending.outcome else ending.reasons))

    @property
    def _told(self) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / "outcome.json"

    def _clean_up(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def _gpus() -> int:
    # nvidia-smi's list without importing torch: the launcher needs no torch.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
