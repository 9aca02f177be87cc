"""The `sharpen` command in this process, against the fake Kubeflow Pipelines API."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from components.command_line import run as run_with_exit_code
from pipeline.cli import app
from pipeline.cluster import compiling, versions, waiting
from pipeline.cluster.api import client
from pipeline.cluster.api.settings import ConnectionSettings, variable
from pipeline.cluster.steps import pods
from tests.pipeline.cluster.fake_backend import Object
from tests.pipeline.cluster.fake_kfp import FakeKfp

IMAGE = "registry.example/sharpen-python@sha256:" + "0" * 64
ON_THE_STORE = (
    *("--image", IMAGE, "--set", "train_data=s3://data/train.jsonl"),
    *("--set", "base_model=BAAI/bge-small-en-v1.5", "--set", "store=s3://models/sharpen"),
)


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Sharpen = Callable[..., Done]


def only_line(text: str) -> str:
    """The one line that a fault is told in."""
    (line,) = text.splitlines()
    return line.removeprefix("error: ")


def only_run(kfp: FakeKfp) -> Object:
    (run,) = kfp.state.runs.values()
    return run


def task(name: str, state: str, **more: object) -> Object:
    """A task as `set_tasks` takes it."""
    return {"display_name": name, "state": state, **more}


def follow(kfp: FakeKfp, *states: tuple[str, tuple[Object, ...]]) -> None:
    """What a run's state and tasks are at each look; the last stays."""
    left = list(states)

    def act(run: Object) -> None:
        state, tasks = left.pop(0) if len(left) > 1 else left[0]
        kfp.set_state(run, state)
        kfp.set_tasks(run, *(dict(task) for task in tasks))

    kfp.on_get_run = act


def branch(kfp: FakeKfp, condition: str) -> str:
    """The name that the compiler gave to a condition of the uploaded pipeline."""
    spec = next(iter(kfp.state.versions.values()))["pipeline_spec"]["pipeline_spec"]
    dags = [part["dag"] for part in (spec["root"], *spec["components"].values()) if "dag" in part]
    (name,) = (name for dag in dags for name, task in dag["tasks"].items() if task["taskInfo"]["name"] == condition)
    return name


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No long waits, no settings from outside, and each shape of the graph compiled once."""
    monkeypatch.setattr(client, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.01)
    for name in ("LOG_SECONDS", "PROGRESS_SECONDS", "SILENT_SECONDS"):
        monkeypatch.setattr(waiting, name, 0.0)
    monkeypatch.setattr(waiting, "LOG_SHARE", 1e6)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    pods._cluster.cache_clear()
    monkeypatch.setattr(versions, "compile_pipeline", _compile_once)
    for field in ConnectionSettings.model_fields.values():
        monkeypatch.delenv(variable(field), raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv("CRON_SCHEDULE_TIMEZONE", raising=False)
    monkeypatch.chdir(tmp_path)


@functools.cache
def _compiled(settings: str, image: str, launcher_image: str, trial: bool) -> bytes:
    import tempfile

    from pipeline.parameters import Settings

    # kfp writes with PyYAML's slow half, which takes most of a compilation
    written = functools.partial(yaml.dump_all, Dumper=yaml.CDumper)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml, "dump_all", written)
        target = Path(folder) / "pipeline.yaml"
        compiling.compile_pipeline(
            Settings.model_validate_json(settings), target, image=image, launcher_image=launcher_image, trial=trial
        )
        return target.read_bytes()


def _compile_once(
    settings: object, output: Path, *, image: str = "", launcher_image: str = "", trial: bool = False
) -> None:
    text = settings.model_dump_json(exclude_unset=True)  # type: ignore[attr-defined]
    output.write_bytes(_compiled(text, image, launcher_image, trial))


@pytest.fixture
def sharpen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Sharpen:
    """Run `sharpen` here, with the exit code that a shell sees."""

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["sharpen", *arguments])
        capsys.readouterr()
        code: object = 0
        try:
            run_with_exit_code(app, "sharpen")
        except SystemExit as ended:
            code = ended.code or 0
        said = capsys.readouterr()
        assert isinstance(code, int)
        return Done(code, said.out, said.err)

    return call


@pytest.fixture
def on(sharpen: Sharpen, kfp: FakeKfp) -> Sharpen:
    """Run `sharpen` against the fake."""
    return lambda *arguments: sharpen(*arguments, "--endpoint", kfp.url)
