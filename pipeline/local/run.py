"""Run the pipeline on this machine: kfp.local, one subprocess a step, and an S3 store."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.images import chosen, put_images
from pipeline.local import step_cache
from pipeline.local.console import StepView
from pipeline.local.containers import steps_in_containers
from pipeline.local.kfp_local import arguments_left_alone, reusing
from pipeline.local.run_folder import run_folder, temporary_folder
from pipeline.parameters import Settings
from pipeline.run_form import run_inputs
from pipeline.store.server import BUCKET, EmbeddedStore
from sharpen import exit_status
from sharpen.errors import InputError, StepFailed
from sharpen.registry.outcome import find_outcome
from sharpen.registry.retention import running
from sharpen.run_context import EMBEDDED_VARIABLE, RUN_VARIABLE
from sharpen.store import local_store, storage

WORK = Path(".sharpen")


@dataclass(frozen=True)
class LocalRun:
    """A finished local run.

    Attributes:
        name: the run's name.
        evaluation: address of the tuned model's evaluation; empty for a skipped run.
        verdict: ``promote``, ``reject``, ``waiting`` for approval, ``overtaken`` where other runs changed the champion,
            or ``skip`` where there was nothing new to train on.
        reasons: why, a line each.
        version: address of the version that was promoted or waits; empty for none.
        store: root address of runs and registry.
        report: local path of the HTML report; None for a skipped run.
        log: local path of the complete log.
        seconds: wall time.
    """

    name: str
    evaluation: str
    verdict: str
    reasons: list[str]
    version: str
    store: str
    report: Path | None
    log: Path
    seconds: float


@contextlib.contextmanager
def opened_store(address: str, *, write: bool = True) -> Iterator[str]:
    """The root address to work under, its store up: the one given, or the embedded store's bucket.

    The block is a user of the embedded store: the last one to end stops it, unless `sharpen store up` started it.

    Args:
        address: as the user gave it; empty: the embedded store.
        write: whether the block writes there; who only reads needs no right to write.

    Raises:
        InputError: the store cannot be reached, or refuses the credentials.
    """
    if address:
        storage.check_access(address, write=write)
        yield address.rstrip("/")
        return
    with EmbeddedStore(WORK / "store") as store, _variables(store.env()):
        yield f"s3://{BUCKET}"


@contextlib.contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """A block with these environment variables besides those that are set."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def run(settings: Settings, *, fresh: bool = False, image: str = "", launcher_image: str = "") -> LocalRun:
    """Run the whole pipeline here and wait for it.

    Args:
        settings: all settings; ``store`` empty means the embedded store under ``.sharpen/store``.
        fresh: do every step again, even where nothing changed, and skip no run.
        image: run the steps in containers of this image; empty: as processes of this environment.
        launcher_image: image of the steps that compute nothing; empty: `image` too.

    Raises:
        InputError: the user's input is wrong (exit code 2).
        StepFailed: a step failed (exit code 1); the line names step, cause and log.
    """
    started = time.monotonic()
    images = chosen(image, launcher_image)
    if fresh:
        settings = settings.model_copy(update={"retraining": settings.retraining.model_copy(update={"force": True})})
    name = f"{settings.model_name}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
    with run_folder((WORK / "runs").absolute(), name) as folder, opened_store(settings.store) as root:
        log = folder / "log.txt"
        arguments = {**run_inputs(settings), "store": root}
        cache = (WORK / "cache" / step_cache.identity(root)).absolute()
        pipeline = _pipeline(settings, images)
        variables = {RUN_VARIABLE: f"{root}/runs/{name}", exit_status.VARIABLE: str(folder / "outcome.json")}
        variables |= {} if settings.store else {EMBEDDED_VARIABLE: "1"}
        with (
            _runner(folder, settings, variables, in_containers=bool(images)) as runner,
            reusing(None if fresh else step_cache.fault),
            running.during(root, name),
        ):
            decision = _execute(pipeline, arguments, runner, folder, cache, log)
        report = None
        if decision["evaluation"]:
            report = folder / "report.html"
            outcome = find_outcome(root, settings.model_name, name)
            source = outcome.report if outcome else storage.join(decision["evaluation"], "report.html")
            local_store.replace(report, storage.read_bytes(source), private=True)
    return LocalRun(
        name=name,
        evaluation=decision["evaluation"],
        verdict=decision["verdict"],
        reasons=list(decision["reasons"]),
        version=decision.get("version", ""),
        store=root,
        report=report,
        log=log,
        seconds=time.monotonic() - started,
    )


def _pipeline(settings: Settings, images: Mapping[str, str]) -> Any:
    # kfp takes a third of a second to import; the other commands do not need it.
    from pipeline.graph import make_pipeline

    pipeline = make_pipeline(settings.mining.rounds, None, **settings.optional_steps())
    put_images(pipeline, images)
    return pipeline


@contextlib.contextmanager
def _runner(folder: Path, settings: Settings, variables: Mapping[str, str], *, in_containers: bool) -> Iterator[Any]:
    """What runs a step: a process of this environment, or a container of its image; both see the variables."""
    if in_containers:
        mined_with = [address.removeprefix("file:") for address in settings.mining.addresses]
        measured = [address.removeprefix("data:") for address in settings.evaluation.addresses]
        inputs = [settings.train_data, settings.eval_data, settings.data.judgements, settings.base_model]
        generated_from = [one.removeprefix("model:") for one in settings.generation.inputs]
        inputs += [*mined_with, *measured, *generated_from, *settings.merging.models, *settings.teachers.addresses]
        with steps_in_containers(folder, inputs, variables) as runner:
            yield runner
        return
    from kfp import local

    temporary = str(temporary_folder(folder))
    with _variables({**variables, "PYTHONUNBUFFERED": "1", "TMPDIR": temporary}):
        yield local.SubprocessRunner(use_venv=False)


def _execute(
    pipeline: Any, arguments: dict[str, Any], runner: Any, folder: Path, cache: Path, log: Path
) -> dict[str, str]:
    from kfp import local

    view, workspace = StepView(sys.stdout, log), folder / "workspace"
    workspace.mkdir()
    try:
        local.init(
            runner,
            pipeline_root=str(folder / "kfp"),
            # nothing uses it, but kfp makes one that it leaves in the temporary folder otherwise
            workspace_root=str(workspace),
            raise_on_error=True,
            enable_caching=True,
            cache_root=str(cache),
        )
        view.titles = _titles(pipeline)
        with contextlib.redirect_stdout(view), _logged(view), arguments_left_alone(), warnings.catch_warnings():
            # that display names and resource limits mean nothing here is no news to a user
            warnings.filterwarnings("ignore", module=r"kfp\.local")
            pipeline(**arguments)
    except RuntimeError as error:
        _raise_reason(
            exit_status.read_exit_status(folder / "outcome.json"),
            view.failed or "of the pipeline",
            view.full_disk,
            error,
            log,
        )
        raise
    finally:
        view.close()
    return _decision(folder)


@contextlib.contextmanager
def _logged(view: StepView) -> Iterator[None]:
    """Let the view see what kfp.local logs between steps too, such as that a step was taken from the cache."""
    logger, handler = logging.getLogger(), logging.StreamHandler(view)
    handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d - %(levelname)s - %(message)s", "%H:%M:%S"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _titles(pipeline: Any) -> dict[str, str]:
    """Task name -> display name, over all levels of the graph."""
    spec = pipeline.pipeline_spec
    dags = [spec.root.dag, *(component.dag for component in spec.components.values())]
    return {name: task.task_info.name for dag in dags for name, task in dag.tasks.items()}


def _decision(folder: Path) -> dict[str, Any]:
    """Verdict, reasons and evaluation address of the last step that decided; of what skipped the run.

    KFP allows no pipeline outputs from inside an exit handler, so they are read from what the steps left in KFP's
    folder.
    """
    for task in ("promotion-2", "promotion"):
        if (decided := _left_by(task, folder)) is not None:
            return decided["artifacts"]["decision_page"]["artifacts"][0]["metadata"]
    for task in ("data-prep", "plan"):
        reason = (_left_by(task, folder) or {}).get("parameterValues", {}).get("reason")
        if reason:
            return {"verdict": "skip", "reasons": [reason], "evaluation": ""}
    raise StepFailed("the run ended, but no step says how; see its log")


def _left_by(task: str, folder: Path) -> dict[str, Any] | None:
    written = next((folder / "kfp").glob(f"*/{task}/executor_output.json"), None)
    return json.loads(written.read_text(encoding="utf-8")) if written else None


def _raise_reason(told: exit_status.ExitStatus | None, step: str, full: str, error: RuntimeError, log: Path) -> None:
    """Say which step failed, why, and where the log is; as the user's fault where the step said so.

    Args:
        told: what the step said; None where it could say nothing.
        step: the step that failed.
        full: the log's line about a full disk, if there is one.
        error: what kfp.local raised.
        log: the run's log.
    """
    if told and told.exit_code == InputError.exit_code:
        raise InputError([f"{told.step}: {line}" for line in told.lines]) from error
    cause = "; ".join(told.lines) if told else full or "it ended without saying why"
    raise StepFailed(f"step {told.step if told else step} failed: {cause}. The whole log: {log}") from error
