"""Registration in a real MLflow server, where `SHARPEN_TEST_MLFLOW` names its command or it is on the path."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sharpen.errors import InputError, StepFailed
from sharpen.registry import registry
from sharpen.registry.lineage import mlflow
from sharpen.store import storage
from tests.sharpen.registry.test_registry import NAME

COMMAND = os.environ.get("SHARPEN_TEST_MLFLOW") or shutil.which("mlflow")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not COMMAND:
        pytest.skip("needs the mlflow package; SHARPEN_TEST_MLFLOW names its command")
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        COMMAND,
        "server",
        "--port",
        str(port),
        "--workers",
        "1",
        "--backend-store-uri",
        f"sqlite:///{folder}/db",
    ]
    with (folder / "log").open("wb") as log:
        started = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 180
        while not _answers(address):
            assert time.monotonic() < deadline and started.poll() is None, (folder / "log").read_text()[-2000:]
            time.sleep(0.5)
        yield address
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        started.wait(60)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def asked(server: str, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{server}/api/2.0/mlflow/{path}", timeout=60) as answer:
        return json.load(answer)


def registered(root: str, model: str, weights: str) -> registry.Version:
    facts = {
        "metrics": {"ndcg_at_10": 0.58, "recall_at_100": 0.91},
        "data_fingerprint": "data-1",
        "settings": {f"setting_{i}": i for i in range(150)} | {"long": "x" * 9000},
        "gate": {"verdict": "promote", "reasons": ["nDCG@10 +.080"]},
    }
    return registry.register(root, NAME, model, facts, run_id=f"run-{weights}")


S3 = pytest.mark.parametrize("root", [pytest.param("s3", marks=pytest.mark.store)], indirect=True)


@S3
def test_a_version_is_registered_once_with_lineage_figures_and_aliases(
    server: str, root: str, make_model: Callable[..., str]
) -> None:
    first, second = (registered(root, make_model(weights), weights) for weights in ("w1", "w2"))
    registry.promote(root, NAME, second.version, reason="better")
    registry.set_alias(root, NAME, first.version, "staging")
    numbers = [mlflow.register(root, NAME, version, server) for version in ("v0001", "champion", "v0001")]
    assert numbers == ["1", "2", "1"]
    champion = asked(server, f"registered-models/alias?name={NAME}&alias=champion")["model_version"]
    assert (champion["version"], champion["source"]) == ("2", second.address)
    tags = {tag["key"]: tag["value"] for tag in champion["tags"]}
    assert tags["sharpen.content"] == second.content and tags["sharpen.data_fingerprint"] == "data-1"
    assert tags["sharpen.verdict"] == "promote" and champion["description"] == "nDCG@10 +.080"
    assert asked(server, f"registered-models/alias?name={NAME}&alias=staging")["model_version"]["version"] == "1"
    run = asked(server, f"runs/get?run_id={champion['run_id']}")["run"]
    assert {one["key"]: one["value"] for one in run["data"]["metrics"]} == second.metrics
    parameters = {one["key"]: one["value"] for one in run["data"]["params"]}
    assert len(parameters) == 151 and parameters["promotion.setting_149"] == "149"
    assert run["info"]["status"] == "FINISHED"
    registry.promote(root, NAME, first.version, reason="by hand")
    assert mlflow.register(root, NAME, "champion", server) == "1"
    assert asked(server, f"registered-models/alias?name={NAME}&alias=champion")["model_version"]["version"] == "1"


@S3
def test_a_server_that_is_none_is_said_in_a_line(
    root: str, make_model: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(root, make_model("w1"), "w1")
    monkeypatch.setenv("SHARPEN_API_TIMEOUT", "1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(StepFailed, match="MLflow: no answer"):
        mlflow.register(root, NAME, "v0001", nobody)
    with pytest.raises(InputError, match="MLflow refuses: the address does not begin"):
        mlflow.register(root, NAME, "v0001", "somewhere")


def test_weights_that_only_this_machine_has_are_not_registered(
    tmp_path: Path,
) -> None:
    with storage.publish(str(tmp_path / "made"), producer="finetuning", run_id="r") as folder:
        (folder / "model.safetensors").write_text("w")
    registered(str(tmp_path), str(tmp_path / "made"), "w")
    with pytest.raises(InputError, match=r"only versions in an s3:// registry"):
        mlflow.register(str(tmp_path), NAME, "v0001", "http://127.0.0.1:1")
