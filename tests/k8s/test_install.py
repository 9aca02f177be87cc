"""The install scripts, with stand-ins for docker, kind, minikube and kubectl that write down how they are called.

No cluster can be made here; what the scripts ask for, in which order, and what they say when it fails, can be seen.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline.cluster.submitting import check_submittable
from pipeline.parameters import load
from sharpen.jobs import check_job
from tests.k8s.rendered import K8S, of_kind, render
from tests.tools import tool

STAND_IN = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >> "$CALLS"
for rule in ${FAILING:-}; do
    case "$(basename "$0")-$*" in ${rule//+/ }*) exit 1 ;; esac
done
case "$(basename "$0") $*" in
    "kind get clusters") echo "${CLUSTERS:-}" ;;
    "kubectl get pods"*) echo "ml-pipeline-x 0/1 CrashLoopBackOff 3 1m" ;;
    "kubectl logs"*) echo "cannot reach mysql" ;;
    "sharpen submit"*) exit "${ENDS:-0}" ;;
    "kubectl port-forward"*) exec sleep "${FORWARD:-30}" ;;
esac
"""
# A cluster that nobody serves.
NOWHERE = """
apiVersion: v1
kind: Config
clusters: [{name: nowhere, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: nobody, user: {}}]
contexts: [{name: kind-sharpen, context: {cluster: nowhere, user: nobody}}]
current-context: kind-sharpen
"""
# What the scripts take from every Linux; a real kubectl beside them must not be found.
ORDINARY = (
    "awk basename bash cat cut date dirname env find grep head mktemp rm sed seq sha256sum sleep sort tail xargs"
).split()


def run(folder: Path, script: str, *arguments: str, missing: str = "", **variables: str) -> tuple[int, str, list[str]]:
    """Exit code, output and the calls of the stand-ins."""
    programs = folder / "bin"
    programs.mkdir()
    for name in {"docker", "kind", "kubectl", "minikube", "sharpen", "curl"} - {missing}:
        (programs / name).write_text(STAND_IN)
        (programs / name).chmod(0o755)
    for name in ORDINARY:
        (programs / name).symlink_to(str(shutil.which(name)))
    calls = folder / "calls"
    calls.touch()
    environment = {"PATH": str(programs), "CALLS": str(calls), "HOME": str(folder), **variables}
    done = subprocess.run(
        ["bash", str(K8S / "install" / script), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout + done.stderr, calls.read_text().splitlines()


def first(calls: list[str], *parts: str) -> int:
    """The place of the first call that has all the parts."""
    return next(number for number, call in enumerate(calls) if all(part in call for part in parts))


@pytest.mark.parametrize("script", ["kind.sh", "minikube.sh"])
def test_cluster_images_kubeflow_and_sharpen_in_this_order(tmp_path: Path, script: str) -> None:
    failing = "minikube-status" if script == "minikube.sh" else ""
    code, said, calls = run(tmp_path, script, "up", FAILING=failing)
    assert code == 0, said
    made = first(calls, "kind create cluster") if script == "kind.sh" else first(calls, "minikube start")
    steps = [
        made,
        first(calls, "docker buildx bake", "--load"),
        first(calls, "sharpen-python-cpu:", "load"),
        first(calls, "cluster-scoped-resources?ref=2.17.0"),
        first(calls, "env/platform-agnostic?ref=2.17.0"),
        first(calls, "training-operator.git", "?ref=v1.9.4"),
        first(calls, "wait --for=condition=Available deployment --all"),
        first(calls, "apply", "k8s/overlays/kind"),
        first(calls, "--from=cronjob/sharpen-store-check"),
    ]
    assert steps == sorted(steps)
    assert not [call for call in calls if "trainer.git" in call]
    assert "make kind-run" in said


def test_a_cluster_that_is_there_is_used(tmp_path: Path) -> None:
    code, _, calls = run(tmp_path, "kind.sh", "up", CLUSTERS="sharpen")
    assert code == 0
    assert not [call for call in calls if "kind create" in call]


@pytest.mark.parametrize("script", ["kind.sh", "minikube.sh"])
def test_trainer_comes_with_its_runtimes_and_the_rights_to_its_jobs(tmp_path: Path, script: str) -> None:
    code, said, calls = run(tmp_path, script, "up", TRAINER="v2")
    assert code == 0, said
    steps = [
        first(calls, "overlays/standalone"),
        first(calls, "trainer.git/manifests/overlays/manager?ref=v2.3.0"),
        first(calls, "wait --for=condition=Available deployment --all --namespace kubeflow-system"),
        first(calls, "trainer.git/manifests/overlays/runtimes?ref=v2.3.0"),
        first(calls, "apply", "k8s/overlays/kind-trainer-v2"),
    ]
    assert steps == sorted(steps)
    assert not [call for call in calls if call.endswith("k8s/overlays/kind")]
    # what it says to do next makes a TrainJob, of the runtime that the overlay brings
    (told,) = (line for line in said.splitlines() if "job.backend" in line)
    words = told.partition("RUN='")[2].rstrip("'").split()
    settings = load(K8S / "kind/run.yaml", words[1::2])
    check_job(settings.job)
    overlay = render(K8S / "overlays/kind-trainer-v2")
    assert settings.job.runtime in of_kind(overlay, "ClusterTrainingRuntime")
    assert settings.job.service_account in of_kind(overlay, "ServiceAccount")


def test_a_trainer_that_is_not_known_is_refused(tmp_path: Path) -> None:
    code, said, calls = run(tmp_path, "kind.sh", "up", TRAINER="v3")
    assert (code, calls) == (2, [])
    assert said.startswith("error: TRAINER=v3: write v2")


def test_real_kubectl_takes_every_call(tmp_path: Path) -> None:
    """With the real program and no cluster: each call is refused for the missing server, none for its words."""
    (tmp_path / "up").mkdir()
    (tmp_path / "run").mkdir()
    calls = run(tmp_path / "up", "kind.sh", "up", TRAINER="v2")[2]
    calls += run(tmp_path / "run", "run.sh", ENDS="1")[2]
    (tmp_path / "kubeconfig").write_text(NOWHERE)
    asked = {call.removeprefix("kubectl ") for call in calls if call.startswith("kubectl ")}
    # overlays of other projects are fetched with git: here ours stand for them
    # a folder of this checkout may have spaces in its name, and the calls are written down without quotes
    local = {re.sub(r"-k github\S+", "-k K8S/overlays/kind", call.replace(str(K8S), "K8S")) for call in asked}
    assert len(local) > 12
    for call in sorted(local):
        words = [word.replace("K8S", str(K8S)) for word in shlex.split(call)] + ["--request-timeout=5s"]
        environment = {"KUBECONFIG": str(tmp_path / "kubeconfig"), "HOME": str(tmp_path), "PATH": "/usr/bin"}
        done = subprocess.run([tool("kubectl"), *words], env=environment, capture_output=True, text=True, timeout=600)
        expected = "Switched to context" if call.startswith("config ") else "127.0.0.1:1"
        assert expected in done.stdout + done.stderr, f"{call}: {done.stderr}"


def test_the_tag_covers_what_the_images_are_built_from() -> None:
    function = (K8S / "install/common.sh").read_text().partition("tag() {")[2].partition("}")[0]
    hashed = re.findall(r"find (.*) -type f", function)[0].split()
    copied = {
        line[1:].split("/")[0] for line in (K8S.parent / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    assert copied - {"LICENSE", "README.md"} == set(hashed)


def test_the_tag_follows_what_the_images_are_built_from(tmp_path: Path) -> None:
    def tag(name: str) -> str:
        (tmp_path / name).mkdir()
        calls = run(tmp_path / name, "kind.sh", "up")[2]
        call = calls[first(calls, "kind load")]
        return next(word for word in call.split() if word.startswith("localhost/sharpen-python-cpu:"))

    assert tag("one") == tag("two")
    assert len(tag("three").rpartition(":")[2]) == 12


@pytest.mark.parametrize("missing", ["docker", "kind", "kubectl"])
def test_a_missing_program_is_named_before_anything_is_done(tmp_path: Path, missing: str) -> None:
    code, said, calls = run(tmp_path, "kind.sh", "up", missing=missing)
    assert code == 2
    assert said.startswith(f"error: {missing} is not installed: http")
    assert not [call for call in calls if call.startswith(("kind create", "kubectl"))]


def test_docker_that_does_not_answer_is_told(tmp_path: Path) -> None:
    code, said, _ = run(tmp_path, "kind.sh", "up", FAILING="docker-info")
    assert code == 2
    assert "start it, or add yourself to the group docker" in said


def test_when_kubeflow_does_not_come_up_it_is_said_why(tmp_path: Path) -> None:
    failing = "kubectl-wait+--for=condition=Available"
    code, said, calls = run(tmp_path, "kind.sh", "up", FAILING=failing, WAIT_SECONDS="0")
    assert code == 1
    for part in (
        "---- nodes",
        "---- pods that do not run",
        "ml-pipeline-x",
        "---- latest warnings",
        "cannot reach mysql",
    ):
        assert part in said
    assert "error: Kubeflow was not ready after 0 s" in said
    assert not [call for call in calls if "overlays/kind" in call]


def test_a_store_that_no_pod_can_use_is_told(tmp_path: Path) -> None:
    code, said, calls = run(tmp_path, "kind.sh", "up", FAILING="kubectl-wait+--for=condition=complete")
    assert code == 1
    assert len([call for call in calls if "--from=cronjob/sharpen-store-check" in call]) == 6
    assert "error: a pod cannot use the object store" in said


def test_down_and_a_word_that_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert run(tmp_path / "a", "kind.sh", "down")[2] == ["kind delete cluster --name sharpen"]
    code, said, calls = run(tmp_path / "b", "kind.sh", "start")
    assert (code, said.strip(), calls) == (2, "error: kind.sh up | down", [])


def test_a_run_uses_the_images_that_the_cluster_has_and_its_end_is_told(tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()
    (tmp_path / "run").mkdir()
    handed_over = run(tmp_path / "up", "kind.sh", "up")[2]
    loaded = handed_over[first(handed_over, "kind load")].split()
    code, said, calls = run(tmp_path / "run", "run.sh", "--set", "training.max_steps=9")
    assert code == 0, said
    submitted = calls[first(calls, "sharpen submit")].split()
    assert {submitted[submitted.index(option) + 1] for option in ("--image", "--launcher-image")} <= set(loaded)
    assert submitted[submitted.index("--set") + 1] == "training.max_steps=9"
    assert submitted[submitted.index("--endpoint") + 1] == "http://localhost:8888"
    assert "--wait" in submitted
    assert first(calls, "kubectl port-forward", "8888:80") < first(calls, "sharpen submit")
    assert not [call for call in calls if call.startswith("kfp ")]


@pytest.mark.parametrize(("ends", "diagnosed"), [(1, True), (2, False), (3, False)])
def test_a_run_that_fails_fails_the_command(tmp_path: Path, ends: int, diagnosed: bool) -> None:
    code, said, _ = run(tmp_path, "run.sh", ENDS=str(ends))
    assert (code, "---- pods that do not run" in said) == (ends, diagnosed)


def test_what_the_script_submits_can_be_submitted() -> None:
    check_submittable(load(K8S / "kind/run.yaml", []))


def test_a_way_to_the_api_that_ends_is_told(tmp_path: Path) -> None:
    code, said, calls = run(tmp_path, "run.sh", FORWARD="0", FAILING="curl-")
    assert code == 1
    assert "error: no way to Kubeflow's API" in said
    assert not [call for call in calls if call.startswith("sharpen")]


def test_the_settings_of_the_run_are_those_of_the_demo_and_hold() -> None:
    demo = yaml.safe_load((K8S.parent / "pipeline/demo.yaml").read_text())
    settings = yaml.safe_load((K8S / "kind/run.yaml").read_text())
    store = yaml.safe_load_all((K8S / "base/store.yaml").read_text())
    assert settings.pop("store") in [document["data"].get("SHARPEN_STORE") for document in store]
    settings.pop("job")
    # the demo shows its result each time; a run in the cluster may have nothing to do
    demo.pop("retraining")
    assert settings == demo
    load(K8S / "kind/run.yaml", [])


def test_scripts_can_be_run() -> None:
    assert all(os.access(K8S / "install" / name, os.X_OK) for name in ("kind.sh", "minikube.sh", "run.sh"))
