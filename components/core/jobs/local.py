"""A job on this machine: one plain process, or several under torchrun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from components.core import outcome
from components.core.errors import InputError, StepFailed
from components.core.jobs.settings import JobSettings


def run_job(module: str, arguments: Mapping[str, str], settings: JobSettings) -> None:
    """Run ``python -m <module> --name value ...`` on as many processes as asked, and wait for it.

    Output of the processes is passed on line by line. SIGTERM and Ctrl-C are passed to the job.

    Args:
        module: a step, for example ``components.finetuning``.
        arguments: option name -> value, as the step's command line takes them.
        settings: processes and threads.

    Raises:
        InputError: a process said that the user's input is wrong.
        StepFailed: the job failed for another reason.
    """
    processes = settings.processes or _gpus() or 1
    threads = settings.threads or max(1, len(os.sched_getaffinity(0)) // processes)
    options = [text for name, value in arguments.items() for text in (f"--{name}", value)]
    if processes == 1:
        command = [sys.executable, "-m", module, *options]
    else:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [*torchrun, "-m", module, *options]
    with tempfile.TemporaryDirectory(prefix="sharpen-job-") as folder:
        told = Path(folder) / "outcome.json"
        environment = {
            **os.environ,
            outcome.VARIABLE: str(told),
            "OMP_NUM_THREADS": str(threads),
            "PYTHONUNBUFFERED": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        code = _run(command, environment, told)
        reason = outcome.read(told)
    if code == 0:
        return
    if reason and reason.exit_code == InputError.exit_code:
        raise InputError(reason.lines)
    if reason:
        raise StepFailed("; ".join(reason.lines))
    raise StepFailed(f"the job of {processes} process(es) ended with exit code {code}; its output above says why")


def _run(command: list[str], environment: dict[str, str], told: Path) -> int:
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as job:

        def pass_on(number: int, _: FrameType | None) -> None:
            job.send_signal(number)

        before = signal.signal(signal.SIGTERM, pass_on)
        try:
            assert job.stdout is not None
            for line in job.stdout:
                # Once a process has told why it fails, torchrun's own traceback adds nothing.
                if not told.exists():
                    print(line, end="", flush=True)
            return job.wait()
        except KeyboardInterrupt:
            job.send_signal(signal.SIGINT)
            job.wait()
            raise
        finally:
            signal.signal(signal.SIGTERM, before)


def _gpus() -> int:
    # nvidia-smi's list without importing torch: the launcher needs no torch.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
