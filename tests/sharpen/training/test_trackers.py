"""Trackers are checked before data are read, and what they write outlives the training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from transformers.trainer_callback import TrainerCallback

from sharpen.errors import InputError
from sharpen.store import storage
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import check_settings, train
from sharpen.training.watching import trackers
from tests.sharpen.training.small_data import ENCODER, small_data


def test_a_tracker_that_is_unknown_or_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> TrainerCallback:
        raise RuntimeError("MLflowCallback requires mlflow to be installed. Run `pip install mlflow`.")

    monkeypatch.setitem(trackers.INTEGRATION_TO_CALLBACK, "mlflow", missing)
    with pytest.raises(InputError) as told:
        check_settings(TrainingSettings(report_to=["tensorbord", "mlflow"]))
    assert len(told.value.faults) == 2
    assert told.value.faults[0].startswith("report_to: transformers has no tracker tensorbord; there are ")
    assert "tensorboard" in told.value.faults[0]
    assert told.value.faults[1] == (
        "report_to: mlflow cannot be used here: MLflowCallback requires mlflow to be installed. "
        "Run `pip install mlflow`."
    )
    check_settings(TrainingSettings(report_to=["none"]))


def test_it_is_told_in_one_line_with_exit_code_2() -> None:
    """Before any data are read: there are none."""
    command = [sys.executable, "-m", "components.finetuning", "--report_to", '["no_such_tracker"]']
    command += ["--data", "nowhere", "--model", "nowhere", "--output", "nowhere"]
    root = Path(__file__).parents[3]
    ended = subprocess.run(
        command, capture_output=True, text=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert ended.returncode == 2
    (line,) = [line for line in ended.stderr.splitlines() if line.strip()]
    assert "report_to: transformers has no tracker no_such_tracker" in line


def test_where_the_logs_are(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    one = TrainingSettings(report_to=["tensorboard"])
    assert trackers.log_folder(TrainingSettings(), "/models/out", "x") is None
    assert trackers.log_folder(TrainingSettings(report_to=["mlflow"]), "/models/out", "x") is None
    assert trackers.log_folder(one, "/models/out/", "x") == Path("/models/out-logs")
    assert trackers.log_folder(one, "s3://bucket/out", "x") == own_cache / "logs" / "x"
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "/boards")
    assert trackers.log_folder(one, "s3://bucket/out", "x") == Path("/boards")
    chosen = TrainingSettings(report_to=["tensorboard"], logging_dir="/mine")
    assert trackers.log_folder(chosen, "/models/out", "x") == Path("/mine")
    with pytest.raises(InputError, match="no effect without a tracker that writes files"):
        TrainingSettings.checked({"logging_dir": "/mine"})


class _WritesFiles(TrainerCallback):
    """A tracker that knows no other place than the Trainer's folder, as codecarbon does."""

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        (Path(args.output_dir) / "emissions.csv").write_text("grams\n")


@pytest.mark.model
def test_logs_outlive_the_training(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    monkeypatch.setitem(trackers.INTEGRATION_TO_CALLBACK, "codecarbon", _WritesFiles)
    with storage.publish(str(tmp_path / "set"), producer="test") as place:
        small_data().save(place)
    values = {"train_batch_size": 4, "train_group_size": 2, "max_steps": 4, "save_steps": 2, "logging_steps": 2}
    values |= {"report_to": ["tensorboard", "codecarbon"], "checkpoint_folder": str(tmp_path / "local")}
    facts = train(
        str(tmp_path / "set"),
        None,
        str(tiny_model),
        str(tmp_path / "out"),
        TrainingSettings.checked(values),
        ENCODER,
    )
    logs = tmp_path / "out-logs"
    assert f"logs of tensorboard, codecarbon: {logs}" in capsys.readouterr().out
    assert list((tmp_path / "local").iterdir()) == []
    assert (logs / "emissions.csv").read_text() == "grams\n"
    (board,) = {path.parent for path in logs.glob("*/events*")}
    found = events.EventAccumulator(str(board)).Reload()
    shown = [(point.step, pytest.approx(point.value)) for point in found.Scalars("train/loss")]
    assert shown == [(point["step"], point["loss"]) for point in facts["log"] if "loss" in point]


@pytest.mark.model
def test_a_trainjobs_progress_is_reported_to_its_controller(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Kubeflow Trainer 2.3 sets a pod up; its variable switches it off."""
    received: list[tuple[str, dict[str, Any]]] = []

    class Controller(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.append((self.headers["Authorization"], body["trainerStatus"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with storage.publish(str(tmp_path / "set"), producer="test") as folder:
        small_data().save(folder)
    (tmp_path / "token").write_text("of-the-pod")
    values = {"train_batch_size": 4, "train_group_size": 2, "max_steps": 2, "save_steps": 0, "logging_steps": 1}

    def run(output: str) -> None:
        train(
            *(str(tmp_path / "set"), None, str(tiny_model), str(tmp_path / output)),
            TrainingSettings.checked(values),
            ENCODER,
        )

    with HTTPServer(("127.0.0.1", 0), Controller) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("KUBEFLOW_TRAINER_SERVER_URL", f"http://127.0.0.1:{server.server_address[1]}/status")
        monkeypatch.setenv("KUBEFLOW_TRAINER_SERVER_TOKEN", str(tmp_path / "token"))
        run("reported")
        assert {token for token, _ in received} == {"Bearer of-the-pod"}
        assert [status["progressPercentage"] for _, status in (received[0], received[-1])] == [0, 100]
        assert "loss" in {metric["name"] for metric in received[-1][1]["metrics"]}
        received.clear()
        monkeypatch.setenv("DISABLE_KUBEFLOW_INTEGRATION", "TRUE")
        run("silent")
        assert received == []
        server.shutdown()
