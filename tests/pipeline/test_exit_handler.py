"""The exit task in its pod, which knows the cluster from its service account alone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.exit_handler import finish
from sharpen.jobs.kubernetes.permissions import LAUNCHER, Permission
from sharpen.registry.last_run import record_skip, remember
from sharpen.registry.run_record import TrainingInputs
from sharpen.reports.html_page import message_page
from sharpen.store import storage
from tests.sharpen.jobs.fake_api import FakeApi
from tests.sharpen.jobs.in_pod import service_account
from tests.sharpen.reports.html_pages import check_page
from tests.sharpen.reports.sample_pages import an_outcome

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


def finished(folder: Path, overrides: object = None, state: str = "CANCELLED") -> str:
    """What the exit task of a run that ended so writes; its report is beside it."""
    given = ("search", str(folder / "store"), overrides or {}, "{}")
    return written(folder, *given, state=state)


def written(folder: Path, *given: object, state: str) -> str:
    status = SimpleNamespace(state=state, error_message="", pipeline_job_resource_name="sharpen-x1")
    uri = str(folder / "kfp" / RUN / "finish" / "summary")
    summary, report = (SimpleNamespace(path=str(folder / f"{name}.html"), uri=uri) for name in ("summary", "report"))
    finish.python_func(*given, status, summary, report)
    check_page((folder / "report.html").read_text())
    return check_page((folder / "summary.html").read_text())


def test_a_run_on_one_machine_is_called_as_its_folder(
    pod: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARPEN_RUN", "s3://sharpen/runs/search-1")
    assert finished(tmp_path).startswith("search search run search-1 Cancelled")


@pytest.mark.parametrize("form", [{"job": {"namespace": "gpus"}}, {"job.namespace": "gpus"}, {}])
def test_no_job_of_the_run_goes_on(pod: FakeApi, tmp_path: Path, form: dict[str, object]) -> None:
    a_job(pod, "running")
    a_job(pod, "done", conditions=[{"type": "Succeeded", "status": "True"}])
    a_job(pod, "foreign", run="another")
    a_job(pod, "far", namespace="gpus")
    a_job(pod, "far-foreign", run="another", namespace="gpus")
    told = finished(tmp_path, form)
    assert told.startswith("search search run sharpen-x1 Cancelled")
    assert "training job running was still there and was deleted" in told
    assert ("training job far was" in told) == bool(form)
    assert {job["metadata"]["name"] for job in pod.all("kubeflow.org", "pytorchjobs")} == {"done", "foreign"}
    left = {job["metadata"]["name"] for job in pod.all("kubeflow.org", "pytorchjobs", "gpus")}
    assert left == ({"far-foreign"} if form else {"far", "far-foreign"})


@pytest.mark.parametrize("overrides", [{"job": {"namespace": "No Name"}}, {"unknown": 1}])
def test_a_run_whose_settings_were_refused_is_told_all_the_same(
    pod: FakeApi, tmp_path: Path, overrides: dict[str, object]
) -> None:
    a_job(pod, "running")
    assert "training job running was" in finished(tmp_path, overrides)


def test_an_api_that_refuses_everything_keeps_nobody_from_being_told(
    pod: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pod.tokens = {"another"}
    assert "Cancelled" in finished(tmp_path)
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


def a_failed_pod(api: FakeApi, step: str, end: dict[str, object]) -> None:
    node = {"workflows.argoproj.io/node-name": f"sharpen-x1.root.run.{step}(0).executor"}
    meta = {"name": f"sharpen-x1-{step}", "namespace": "team", "labels": {"pipeline/runid": RUN}, "annotations": node}
    containers = [{"name": "main", "state": {"terminated": end}}]
    api.put("", "pods", {"metadata": meta, "spec": {}, "status": {"phase": "Failed", "containerStatuses": containers}})


def test_a_failed_run_is_told_by_its_step_and_cause(
    pod: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KFP_RUN_ID", RUN)
    words = json.dumps({"step": "finetuning", "exit_code": 1, "lines": ["the loss is <not> a number"]})
    a_failed_pod(pod, "finetuning", {"exitCode": 1, "message": words})
    told = finished(tmp_path, state="FAILED")
    assert "Failed in step finetuning the loss is <not> a number" in told and f"sharpen retry {RUN}" in told
    assert "search: failed in step finetuning; the loss is <not> a number" in capsys.readouterr().out
    assert "there is no report" in (tmp_path / "report.html").read_text()


def test_a_run_that_kubeflow_calls_failed_though_it_was_ended_from_outside(pod: FakeApi, tmp_path: Path) -> None:
    a_failed_pod(pod, "hard-negatives", {"exitCode": 143, "reason": "Error"})
    told = finished(tmp_path, state="FAILED")
    assert "Cancelled in step hard-negatives" in told and "the run was cancelled, or the pod's node went" in told


def test_a_finished_run_shows_what_it_came_to_and_its_report(
    pod: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_RUN_ID", RUN)
    (tmp_path / "tuned.html").write_text(message_page("Report", "query by query"))
    an_outcome(report=str(tmp_path / "tuned.html"), model_name="search").save(str(tmp_path / "store"), RUN)
    told = finished(tmp_path, state="SUCCEEDED")
    assert "Promoted as v0003" in told and "+.050 … +.110" in told and "sharpen models pull search" in told
    assert "query by query" in (tmp_path / "report.html").read_text()
    (tmp_path / "store" / "models" / "search" / "outcomes" / f"{RUN}.json").write_text("{")
    told = finished(tmp_path, state="SUCCEEDED")
    assert "Succeeded" in told and "what it came to is not known" in told and "damaged" in told


def test_empty_fields_are_as_compiled_and_the_store_is_the_clusters(
    pod: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path / "store")
    monkeypatch.setenv("SHARPEN_STORE", root)
    monkeypatch.setenv("KFP_RUN_ID", RUN)
    storage.write_bytes(f"{root}/examples.u64", b"12345678")
    remember(root, "mine", TrainingInputs({}, "c", 1, f"{root}/examples.u64"), verdict="reject", version="", run_id="x")
    record_skip(root, "mine", reason="skipped: nothing is new", sources="s", least=1)
    told = written(tmp_path, "", "", {}, '{"defaults": {"model_name": "mine"}}', state="SUCCEEDED")
    assert "Nothing new to train on skipped: nothing is new" in told
    assert "mine: skipped: nothing is new" in capsys.readouterr().out
