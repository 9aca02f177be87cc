"""`--wait`: what is said of a run while it goes on, why it failed, and how it ended; over HTTP."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cluster.api import client
from sharpen.registry.gate.gains import Gain
from sharpen.registry.outcome import Outcome
from tests.pipeline.cluster.conftest import ON_THE_STORE, Sharpen, branch, follow, only_line, only_run, task
from tests.pipeline.cluster.fake_backend import Object, State
from tests.pipeline.cluster.fake_kfp import FakeKfp
from tests.pipeline.cluster.fake_nodes import node_id
from tests.sharpen.jobs.fake_api import FakeApi

GAINS = {"base": [Gain("ndcg_at_10", 0.5, 0.58, 0.08, 0.05, 0.11, 100, 50, 200)]}
# a step's log begins with the engine's input and ends with what KFP's launcher says
JSON = "[KFP Executor 2026-11-28 12:00:00,000 INFO]: Got executor_input:\n" + '{\n    "inputs": {}\n}\n' * 20
END = "F1128 12:00:01.000000       1 main.go:61] failed to execute component: exit status {}\n"
QUOTA = (
    "the namespace's quota is used up: exceeded quota: jobs, requested: cpu=64; ask for less, or wait for others to end"
)


def failed(reason: str, code: int) -> str:
    """The log of a step that said why it fails."""
    return f"{JSON}error: {reason}\n{END.format(code)}"


_SUBMITTED: list[State] = []


def submitted(kfp: FakeKfp, on: Sharpen, name: str = "nightly") -> Object:
    """A run that is there; what a first submit makes is taken over by later servers."""
    if not _SUBMITTED:
        done = on("submit", *ON_THE_STORE)
        assert done.code == 0, done.err
        _SUBMITTED.append(copy.deepcopy(kfp.state))
    kfp.state = copy.deepcopy(_SUBMITTED[0])
    run = only_run(kfp)
    run["display_name"] = name
    return run


def test_waiting_tells_every_change_once_and_ends_with_success(kfp: FakeKfp, on: Sharpen) -> None:
    follow(
        kfp,
        ("PENDING", ()),
        ("RUNNING", (task("data-prep", "RUNNING"),)),
        ("RUNNING", (task("data-prep", "RUNNING"),)),
        ("RUNNING", (task("data-prep", "SUCCEEDED"), task("hard-negatives", "RUNNING"))),
        ("SUCCEEDED", (task("data-prep", "SUCCEEDED"), task("hard-negatives", "SUCCEEDED"))),
    )
    kfp.misbehave("RunService_GetRun", status=0)
    kfp.misbehave("RunService_GetRun", status=502, body=b"<html>bad gateway</html>", kind="text/html")
    done = on("submit", *ON_THE_STORE, "--wait")
    assert done.code == 0, done.err
    lines = [line for line in done.out.splitlines() if "data-prep" in line or "hard-negatives" in line]
    assert [line.split(None, 1)[1].split(" in ")[0] for line in lines] == [
        "data-prep: runs",
        "data-prep: done",
        "hard-negatives: runs",
        "hard-negatives: done",
    ]
    assert "-driver" not in done.out and "(0)" not in done.out
    assert "the run succeeded" in done.out.splitlines()[-1]


@pytest.mark.parametrize("templates", [False, True])
@pytest.mark.parametrize("pages", [False, True])
def test_the_outcome_of_the_promotion_ends_it(kfp: FakeKfp, on: Sharpen, pages: bool, templates: bool) -> None:
    """Asked of the API and of the server of Kubeflow's pages, whatever the engine's way to name pods is."""
    kfp.pages, kfp.pods_have_templates = pages, templates
    run = submitted(kfp, on)
    ended = Outcome(
        "help", "promote", ["the gain is enough"], "s3://b/v0001", "s3://b/v0001", gains=GAINS, report="r.html"
    )
    kfp.set_log(run, "promotion", JSON + ended.block("s3://b/a b") + "\nI1128 main.go:60] done\n")
    follow(kfp, ("SUCCEEDED", (task("data-prep", "SUCCEEDED"), task("promotion", "SUCCEEDED"))))
    for command in (("status", run["run_id"], "--wait"), ("status", run["run_id"])):
        done = on(*command)
        assert done.code == 0, done.err
        lines = done.out.splitlines()
        (first,) = (number for number, line in enumerate(lines) if line.split()[:2] == ["base", "tuned"])
        assert lines[first:] == [line.rstrip() for line in ended.lines([])[:-1]] + [
            "Next:",
            "  sharpen models show help --store 's3://b/a b'",
            "  sharpen models pull help --to ./help --store 's3://b/a b'",
        ]
    looked = {call.path["node_id"] for call in kfp.made("ReadRunLog")}
    assert all(name.startswith(f"sharpen-{run['run_id'][:5]}-") for name in looked)


def test_the_second_promotion_decides_and_a_retried_step_is_read_from_its_last_try(kfp: FakeKfp, on: Sharpen) -> None:
    run = submitted(kfp, on)
    kfp.set_log(run, "promotion", Outcome("help", "promote", ["first"]).block("s3://b"))
    kfp.set_log(run, "promotion-2", "error: of the first try\n" + END.format(1))
    kfp.set_log(run, "promotion-2", Outcome("help", "promote", ["second"]).block("s3://b"), tries=2)
    follow(kfp, ("SUCCEEDED", (task("promotion", "SUCCEEDED"), task("promotion-2", "SUCCEEDED", tries=2))))
    assert "  - second" in on("status", run["run_id"], "--wait").out.splitlines()


@pytest.mark.parametrize(
    ("verdict", "said"), [("reject", "the gate did not promote"), ("overtaken", "was not promoted")]
)
def test_the_gates_no_gives_its_reasons_and_an_exit_code_of_its_own(
    kfp: FakeKfp, on: Sharpen, verdict: str, said: str
) -> None:
    run = submitted(kfp, on)
    ended = Outcome("help", verdict, ["gain +0.001, less than", "p is 0.4"], champion="s3://b/v0001", gains=GAINS)
    kfp.set_log(run, "promotion", JSON + ended.block("s3://b"))
    follow(kfp, ("SUCCEEDED", (task("promotion", "SUCCEEDED"),)))
    done = on("status", run["run_id"], "--wait")
    assert done.code == 3
    assert "Model:  the champion stays s3://b/v0001" in done.out
    assert said in only_line(done.err) and "gain +0.001, less than; p is 0.4" in done.err
    assert on("status", run["run_id"]).code == 0


def test_a_run_with_nothing_new_says_what_it_compared_and_succeeds(kfp: FakeKfp, on: Sharpen) -> None:
    run = submitted(kfp, on)
    kfp.set_log(run, "plan", Outcome("help", "skip", ["no new examples since v0003"]).block("s3://b"))
    follow(kfp, ("SUCCEEDED", (task("plan", "SUCCEEDED"), task(branch(kfp, "train"), "SKIPPED"))))
    done = on("status", run["run_id"], "--wait")
    assert done.code == 0, done.err
    assert "Verdict: nothing new to train on\n  - no new examples since v0003\n" in done.out
    # without its log, from the branch that was not taken
    kfp.trees.clear()
    assert "the run succeeded: nothing new to train on" in on("status", run["run_id"], "--wait").out


@pytest.mark.parametrize(
    ("log", "code", "said"),
    [
        (
            failed("pod x-worker-0 ran out of memory (OOMKilled; its limit is 8Gi)", 1),
            1,
            "(OOMKilled; its limit is 8Gi)",
        ),
        (failed("pod x-worker-0 cannot pull its image: not found", 1), 1, "cannot pull its image: not found"),
        (failed("pod x-worker-0 finds no node: 0/3 nodes: no GPU", 1), 1, "finds no node: 0/3 nodes"),
        (failed(QUOTA, 1), 1, "exceeded quota: jobs"),
        (
            failed('the namespace\'s Pod Security refuses the pods: violates PodSecurity "x"', 1),
            1,
            "Pod Security",
        ),
        (failed("PyTorchJob x was deleted while it ran", 1), 1, "was deleted while it ran"),
        (
            failed("s3://data/a.jsonl: row 7: query: is empty\nerror: row 9: pos: is no list", 2),
            2,
            "row 7: query",
        ),
        (JSON + "F1128 main.go:61] failed to execute component: signal: killed\n", 1, "ran out of memory: raise pods"),
        (
            "error: of the job, as its log shows\nstep 3\n" + failed("the store is gone", 1),
            1,
            "the store is gone",
        ),
        (JSON + "Traceback\n" + END.format(1), 1, "its log does not say why"),
        (
            JSON
            + "error: of the job, it went on\nF1128 12:00:01.000000       1 main.go:61] failed to execute component: "
            "failed to upload output artifact: no such bucket\n",
            *(1, "Kubeflow: failed to execute component: failed to upload output artifact: no such bucket"),
        ),
    ],
)
def test_a_run_that_fails_says_why(kfp: FakeKfp, on: Sharpen, log: str, code: int, said: str) -> None:
    run = submitted(kfp, on)
    kfp.set_log(run, "finetuning", log, tries=2)
    failed = (
        task("data-prep", "SUCCEEDED"),
        task("finetuning", "FAILED", tries=2),
        task("promotion", "RUNTIME_STATE_UNSPECIFIED"),
    )
    follow(kfp, ("FAILED", failed))
    done = on("status", "nightly", "--wait")
    assert done.code == code
    lines = [line.removeprefix("error: ") for line in done.err.splitlines()]
    assert lines[0].startswith("run nightly failed: finetuning: ") and said in lines[0]
    assert "of the job" not in done.err and "promotion" not in done.out
    # told with the step's end, and not with the run's alone
    assert [said in line for line in done.out.splitlines() if "finetuning: failed" in line] == [True]
    shown = on("status", "nightly")
    assert shown.code == 0 and said in shown.out
    retry = f"sharpen retry {run['run_id']} --endpoint {kfp.url}"
    # wrong input is wrong in the next try too
    assert (retry in done.err, retry in shown.out) == (code == 1, code == 1)
    assert len(lines) == (2 if code == 2 else 1)


def test_a_reason_comes_when_the_step_knows_it_and_not_when_the_engine_gives_up(kfp: FakeKfp, on: Sharpen) -> None:
    """Between a step's end and its failure the engine's back-off may take minutes."""
    run = submitted(kfp, on)
    looks: list[str] = []

    def look(run: Object) -> None:
        looks.append("")
        kfp.set_state(run, "RUNNING" if len(looks) < 6 else "FAILED")
        kfp.set_tasks(run, task("finetuning", "RUNNING" if len(looks) < 6 else "FAILED"))
        if len(looks) == 3:
            kfp.set_log(run, "finetuning", failed("there is no such image", 1))

    kfp.on_get_run = look
    done = on("status", run["run_id"], "--wait")
    lines = [line.split(None, 1)[1] for line in done.out.splitlines()]
    assert lines[:2] == ["finetuning: runs", "finetuning: failed: there is no such image"]
    assert lines[2].startswith("finetuning: failed in ")
    assert len(lines) == 3


def test_what_a_job_waits_for_is_said_once_and_its_progress_while_it_runs(kfp: FakeKfp, on: Sharpen) -> None:
    run = submitted(kfp, on)
    waits = JSON + "note: of the check before\njob sharpen-x1: created in namespace team\njob sharpen-x1: pending\n"
    noted = waits + f"note: {QUOTA}\n"
    runs_now = noted + "job sharpen-x1: running\nTraining:  12 % · 12/100 steps · 3.0 steps/s · 0:29 left · loss 2.34\n"
    logs = iter([waits, noted, noted, runs_now])

    def look(run: Object) -> None:
        log = next(logs, None)
        kfp.set_state(run, "RUNNING" if log else "SUCCEEDED")
        kfp.set_tasks(run, task("finetuning", "RUNNING" if log else "SUCCEEDED"))
        kfp.set_log(run, "finetuning", log or runs_now)

    kfp.on_get_run = look
    lines = [line.split(None, 1)[1] for line in on("status", run["run_id"], "--wait").out.splitlines()[:5]]
    assert lines[:4] == [
        "finetuning: runs",
        "finetuning: job sharpen-x1: pending",
        f"finetuning: {QUOTA}",
        "finetuning: Training:  12 % · 12/100 steps · 3.0 steps/s · 0:29 left · loss 2.34",
    ]
    assert lines[4].startswith("finetuning: done")
    for log, said in ((noted, QUOTA), (runs_now, "12/100 steps"), (failed("no image", 1), "failed: no image")):
        logs = iter([log] * 9)
        shown = on("status", run["run_id"])
        assert shown.code == 0 and f"finetuning: {'' if log != runs_now else 'Training:  12 % · '}{said}" in shown.out


def test_a_run_that_is_cancelled_says_so_with_an_exit_code_of_its_own(kfp: FakeKfp, on: Sharpen) -> None:
    run = submitted(kfp, on)
    kfp.set_log(run, "finetuning", "terminated\n" + END.format(143))
    assert on("cancel", "nightly").code == 0
    follow(kfp, ("FAILED", (task("finetuning", "FAILED"),)))
    done = on("status", "nightly", "--wait")
    assert done.code == 4
    assert only_line(done.err).startswith("run nightly was cancelled; sharpen retry ")
    assert "its log" not in done.out
    assert on("status", "nightly").out.splitlines()[0] == "nightly: cancelled"
    assert on("status").out.splitlines()[1].split()[:2] == ["nightly", "cancelled"]
    assert on("cancel", "nightly").out == "nightly: had ended already (cancelled)\n"
    # tried again, and failed by itself
    kfp.set_state(run, "RUNNING")
    kfp.set_state(run, "FAILED")
    assert on("status", "nightly", "--wait").code == 1


@pytest.mark.parametrize("templates", [False, True])
def test_a_log_without_end_is_read_for_a_limited_time(
    kfp: FakeKfp, on: Sharpen, monkeypatch: pytest.MonkeyPatch, templates: bool
) -> None:
    """The API may go on with a log as long as the pod runs."""
    monkeypatch.setattr(client, "LOG_SECONDS", 0.3)
    monkeypatch.setattr(client, "LOG_BYTES", 4096)
    kfp.pods_have_templates = templates
    run = submitted(kfp, on)

    def write(send: Callable[[bytes], None]) -> None:
        for number in range(10_000):
            send(f"Training:  12 % · {number:,}/10,000 steps · 9 steps/s · 0:29 left\n".encode() * 8)
            time.sleep(0.005)

    kfp.set_log(run, "finetuning", write)
    follow(kfp, ("RUNNING", (task("finetuning", "RUNNING"),)))
    began = time.monotonic()
    done = on("status", run["run_id"])
    assert time.monotonic() - began < 30
    assert "finetuning: Training:  12 %" in done.out


def test_a_step_that_kubeflow_cannot_prepare_is_named(kfp: FakeKfp, on: Sharpen) -> None:
    run = submitted(kfp, on)
    tree = kfp.tree(run)
    driver = node_id(tree.workflow, f"{tree.root}.finetuning-driver")
    said = "KFP driver: driver.Container(pipelineName=sharpen) failed: no such bucket"
    tree.logs[driver.rpartition("-")[2]] = (
        f"I1128 12:00:01.000000       1 main.go:60] starts\nF1128 12:00:02.000000       1 main.go:79] {said}\n"
    )
    kfp.set_tasks(run, task("data-prep", "SUCCEEDED"), task("finetuning", "RUNTIME_STATE_UNSPECIFIED", driver="FAILED"))
    kfp.set_state(run, "FAILED")
    done = on("status", run["run_id"], "--wait")
    assert done.code == 1 and f"finetuning: Kubeflow: {said}" in only_line(done.err)


def test_logs_that_cannot_be_read_are_no_reason_to_stop(kfp: FakeKfp, on: Sharpen) -> None:
    run = submitted(kfp, on)
    follow(kfp, ("RUNNING", (task("finetuning", "RUNNING"),)), ("FAILED", (task("finetuning", "FAILED"),)))
    done = on("status", run["run_id"], "--wait")
    assert done.code == 1
    assert "finetuning: its log does not say why" in only_line(done.err)


def test_pods_say_what_steps_cannot(kfp: FakeKfp, on: Sharpen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step whose image is not there has no log; who may see pods is told."""
    run = submitted(kfp, on)
    node = kfp.tree(run).pod("indexing")
    pull = {"reason": "ErrImagePull", "message": 'image "x:1" not found'}
    waits = {"phase": "Pending", "containerStatuses": [{"name": "main", "state": {"waiting": pull}}]}
    container = {"name": "main", "image": "x:1", "resources": {"limits": {"memory": "8Gi"}}}
    killed = {"name": "main", "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
    with FakeApi() as cluster:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(tmp_path)))
        for name, annotation in (("other", "sharpen-1"), ("mine", node)):
            meta = {
                "name": name,
                "namespace": "kubeflow",
                "labels": {"pipeline/runid": run["run_id"]},
                "annotations": {"workflows.argoproj.io/node-id": annotation},
            }
            spec = {"containers": [container]}
            cluster.put("", "pods", {"metadata": meta, "spec": spec, "status": waits if name == "mine" else {}})
        follow(kfp, ("RUNNING", (task("indexing", "RUNNING"),)))
        assert (
            'pod mine cannot pull its image x:1: image "x:1" not found; check the image that'
            in on("status", run["run_id"]).out
        )
        cluster.objects[("", "pods", "kubeflow")]["mine"]["status"] = {"phase": "Failed", "containerStatuses": [killed]}
        follow(kfp, ("FAILED", (task("indexing", "FAILED"),)))
        done = on("status", run["run_id"], "--wait")
        assert "pod mine ran out of memory (OOMKilled; its limit is 8Gi): raise pods.memory" in only_line(done.err)
        # one that the quota does not let be made
        del cluster.objects[("", "pods", "kubeflow")]["mine"]
        about = {"kind": "Workflow", "name": kfp.tree(run).workflow}
        event = {"involvedObject": about, "type": "Warning", "message": "pods is forbidden: exceeded quota: pods"}
        cluster.put("", "events", {"metadata": {"name": "e", "namespace": "kubeflow"}, **event})
        assert "the namespace's quota is used up: exceeded quota: pods" in on("status", run["run_id"]).out


@pytest.mark.processes
def test_ctrl_c_stops_the_waiting_and_not_the_run(kfp: FakeKfp, on: Sharpen) -> None:
    on("submit", *ON_THE_STORE)
    run = only_run(kfp)
    follow(kfp, ("RUNNING", (task("data-prep", "RUNNING"),)))
    command = [sys.executable, "-m", "pipeline.cli", "status", run["run_id"], "--wait"]
    environment = {**os.environ, "KFP_ENDPOINT": kfp.url, "PYTHONPATH": str(Path(__file__).parents[3])}
    waiting = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert waiting.stdout is not None
    first = waiting.stdout.readline()
    waiting.send_signal(signal.SIGINT)
    out, err = waiting.communicate(timeout=30)
    assert "data-prep: runs" in first
    assert (waiting.returncode, err) == (130, "")
    assert f"sharpen cancel {run['run_id']}\n" in out
    assert run["state"] == "RUNNING"
    assert not kfp.made("RunService_TerminateRun")
