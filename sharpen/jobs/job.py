"""What a job is, whatever runs it: build, submit or adopt, watch, cancel, result."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from sharpen.exit_status import ExitStatus
from sharpen.jobs.settings import JobSettings

# pod names get "-worker-511" and more behind the job's, and no label may be longer than 63
_TASK_LENGTH = 20


@dataclass(frozen=True)
class Job:
    """A step's program and how it is to be run.

    Attributes:
        module: the program, for example ``components.finetuning``.
        arguments: option name -> value, as its command line takes them; `output` is the address of its output.
        settings: processes, machines, limits.
        task_config: what the pipeline's author set on the task, as the fields of ``kfp.dsl.TaskConfig``.
        local_models: arguments that may name a model by a hub id or a package, besides an address.
    """

    module: str
    arguments: Mapping[str, str]
    settings: JobSettings
    task_config: Mapping[str, Any] = field(default_factory=dict)
    local_models: tuple[str, ...] = ("model",)

    @property
    def task(self) -> str:
        """The step's name."""
        return self.module.rpartition(".")[2]

    @property
    def output(self) -> str:
        """Address of the output; empty when the program has none."""
        return self.arguments.get("output", "")

    @property
    def options(self) -> list[str]:
        """The program's command line."""
        return [text for name, value in self.arguments.items() for text in (f"--{name}", value)]


@dataclass(frozen=True)
class JobResult:
    """How a job ended.

    Attributes:
        state: stopped means that the watcher gave it up.
        reasons: why, a line each.
        outcome: what a process of the job told before it failed.
        tails: pod -> its last lines of output, for pods that failed.
        disrupted: it failed only since the cluster ended its pods.
    """

    state: Literal["succeeded", "failed", "vanished", "stopped"]
    reasons: list[str] = field(default_factory=list)
    outcome: ExitStatus | None = None
    tails: dict[str, list[str]] = field(default_factory=dict)
    disrupted: bool = False


class Backend(Protocol):
    """Runs one job. The methods are called in this order; `cancel` at any time after `submit` began."""

    @property
    def logs(self) -> str:
        """Address of the output that its processes left, after its end; empty: it was only passed on."""
        ...

    def build(self) -> dict[str, Any]:
        """What will be started, as plain values without secrets.

        Raises:
            InputError: the settings ask for what this backend cannot do.
        """
        ...

    def cancelled_on_signals(self) -> AbstractContextManager[None]:
        """Within the block SIGTERM and Ctrl-C stop the job; they then raise StepFailed and KeyboardInterrupt."""
        ...

    def submit(self, built: Mapping[str, Any]) -> None:
        """Start the job, or go on with the one that an earlier attempt of this step started."""
        ...

    def watch(self) -> JobResult:
        """Pass on its output until it ended."""
        ...

    def cancel(self) -> None:
        """Stop it; nothing to stop is no fault."""
        ...

    def result(self, ending: JobResult) -> None:
        """Return if the job did its work.

        Raises:
            InputError: a process said that the user's input is wrong.
            StepFailed: it failed otherwise.
        """
        ...


def job_name(task: str, run: str, output: str) -> str:
    """A name that every attempt of a step finds again and no other step has: DNS-1035, at most 41 characters.

    Args:
        task: the step.
        run: the run.
        output: address of the output, which tells two steps of one kind in a run apart.
    """
    digest = hashlib.sha256(f"{task}\n{run}\n{output}".encode()).hexdigest()[:12]
    plain = re.sub(r"[^a-z0-9]+", "-", task.lower()).strip("-")[:_TASK_LENGTH].strip("-")
    return f"sharpen-{plain}-{digest}"
