"""The exit task in its pod, which knows the cluster from its service account alone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.exit_handler import finish
from sharpen.jobs.kubernetes.permissions import LAUNCHER, Permission
from sharpen.registry.last_run import record_run
from sharpen.registry.run_record import TrainingInputs
from sharpen.store import storage
from tests.sharpen.jobs.fake_api import FakeApi
from tests.sharpen.jobs.in_pod import service_account

RUN, POD = "0b2f6f5e-run", "sharpen-x1-impl-9"


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """The pod of the exit task of a run, and the API."""
    for name in ("SHARPEN_RUN", "KFP_RUN_ID", "SHARPEN_OUTCOME", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KFP_POD_NAME", POD)
    with service_account(tmp_path, monkeypatch) as api:
        meta = {"name": POD, "labels": {"pipeline/runid": RUN}}
        api.put("", "pods", {"metadata": meta, "spec": {"containers": [{"name": "main", "image": "x"}]}})
        yield api
        assert {Permission(*call) for call in api.calls} <= LAUNCHER


def a_job(api: FakeApi, name: str, run: str = RUN, namespace: str = "team", **status: object) -> None:
    meta = {"name": name, "namespace": namespace, "labels": {"sharpen/run": run}}
    api.put("kubeflow.org", "pytorchjobs", {"metadata": meta, "spec": {}, "status": status})


def finished(folder: Path, overrides: object) -> str:
    """What the exit task of a run that was terminated writes."""
    summary = folder / "summary.md"
    status = SimpleNamespace(state="CANCELLED", error_message="", pipeline_job_resource_name="sharpen-x1")
    output = SimpleNamespace(path=str(summary), uri=str(folder / "kfp" / RUN / "finish" / "summary"))
    finish.python_func("search", str(folder / "store"), overrides, "{}", status, output)
    return summary.read_text()


@pytest.mark.parametrize("form", [{"job": {"namespace": "gpus"}}, {"job.namespace": "gpus"}, {}])
def test_no_job_of_the_run_goes_on(pod: FakeApi, tmp_path: Path, form: dict[str, object]) -> None:
    a_job(pod, "running")
    a_job(pod, "done", conditions=[{"type": "Succeeded", "status": "True"}])
    a_job(pod, "foreign", run="another")
    a_job(pod, "far", namespace="gpus")
    a_job(pod, "far-foreign", run="another", namespace="gpus")
    told = finished(tmp_path, form)
    assert "## search: cancelled" in told
    assert "- training job `running` was still there and was deleted" in told
    assert ("`far`" in told) == bool(form)
    assert {job["metadata"]["name"] for job in pod.all("kubeflow.org", "pytorchjobs")} == {"done", "foreign"}
    left = {job["metadata"]["name"] for job in pod.all("kubeflow.org", "pytorchjobs", "gpus")}
    assert left == ({"far-foreign"} if form else {"far", "far-foreign"})


@pytest.mark.parametrize("overrides", [{"job": {"namespace": "No Name"}}, {"unknown": 1}])
def test_a_run_whose_settings_were_refused_is_told_all_the_same(
    pod: FakeApi, tmp_path: Path, overrides: dict[str, object]
) -> None:
    a_job(pod, "running")
    assert "`running`" in finished(tmp_path, overrides)


def test_an_api_that_refuses_everything_keeps_nobody_from_being_told(
    pod: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pod.tokens = {"another"}
    assert "## search: cancelled" in finished(tmp_path, {})
    assert "warning: the run of this pod is not known (401" in capsys.readouterr().out


def test_what_earlier_runs_left_in_both_stores_goes_after_days(
    pod: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_RUN_ID", RUN)
    runs = [tmp_path / "store" / "models", tmp_path / "kfp" / "another-run", tmp_path / "kfp" / RUN]
    left = [run / "finetuning" / ".model.writing-0123456789ab" for run in runs]
    for folder in left:
        folder.mkdir(parents=True)
        os.utime(folder, (time.time() - 8 * 86_400,) * 2)
    finished(tmp_path, {"retraining.delete_leftovers_days": 9})
    assert all(folder.is_dir() for folder in left)
    finished(tmp_path, {})
    assert [folder.is_dir() for folder in left] == [False, False, True]


def test_empty_fields_are_as_compiled_and_the_store_is_the_clusters(
    pod: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path / "store")
    monkeypatch.setenv("SHARPEN_STORE", root)
    monkeypatch.setenv("KFP_RUN_ID", RUN)
    storage.write_bytes(f"{root}/examples.u64", b"12345678")
    record_run(root, "mine", TrainingInputs({}, "c", 1, f"{root}/examples.u64"), "reject", "", "no gain")
    status = SimpleNamespace(state="SUCCEEDED", error_message="", pipeline_job_resource_name="sharpen-x1")
    summary = SimpleNamespace(path=str(tmp_path / "summary.md"), uri="")
    finish.python_func("", "", {}, '{"defaults": {"model_name": "mine"}}', status, summary)
    assert "mine: not promoted (reject): no gain" in capsys.readouterr().out
