"""`sharpen doctor` as a user calls it: exit codes, output, addresses of Kubeflow, and no secret anywhere."""

from __future__ import annotations

import base64
import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.doctor import remedies
from sharpen.errors import InputError
from tests.k8s.rendered import K8S
from tests.pipeline.doctor.cluster import STORE_PASSWORD, Applied
from tests.pipeline.doctor.conftest import CHECKS, Examine, Invoke, of
from tests.sharpen.jobs.fake_api import Call, FakeApi

pytestmark = pytest.mark.store
ROOT = Path(__file__).parents[3]


def program(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", "doctor", *options]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, timeout=600
    )


def test_exit_code_0_when_nothing_failed_and_1_when_something_did(cluster: Applied, sharpen: Invoke) -> None:
    ready = sharpen()
    assert ready.exit_code == 0, ready.output
    assert ready.output.splitlines()[-1].startswith("ready: ")
    assert ready.output.splitlines()[0].startswith(
        "pass         API server               Kubernetes v1.35.0 at http://"
    )
    cluster.drop("secrets", "mlpipeline-minio-artifact")
    broken = sharpen()
    assert broken.exit_code == 1
    assert broken.output.splitlines()[-1].startswith("not ready: 1 failed")


def test_machines_get_json_and_nobody_gets_a_secret(cluster: Applied, sharpen: Invoke) -> None:
    told = sharpen("--format", "json")
    assert told.exit_code == 0
    assert json.loads(told.stdout)["ready"] is True
    password = os.environ["AWS_SECRET_ACCESS_KEY"]
    for output in (told.output, sharpen().output):
        assert STORE_PASSWORD not in output
        assert password not in output


def test_bad_input_is_one_line_and_exit_code_2(served: FakeApi, tmp_path: Path) -> None:
    def one_line(done: subprocess.CompletedProcess[str]) -> str:
        assert done.returncode == 2
        # an API that does not answer is tried again, which is warned of when it happens three times
        assert not done.stdout
        (line,) = (line for line in done.stderr.splitlines() if not line.startswith("warning: "))
        return line

    assert "no cluster to run on" in one_line(program(KUBECONFIG=str(tmp_path / "none")))
    (tmp_path / "broken").write_text("a: [")
    assert "no cluster to run on" in one_line(program(KUBECONFIG=str(tmp_path / "broken")))
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    config["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:9"
    (tmp_path / "nobody").write_text(yaml.safe_dump(config))
    assert "http://127.0.0.1:9: the API server cannot be reached" in one_line(
        program(KUBECONFIG=str(tmp_path / "nobody"))
    )
    assert "job.nodez: unknown setting; did you mean nodes?" in one_line(program("--set", "job.nodez=2"))
    assert "write the whole address" in one_line(program("--endpoint", "localhost:8888"))


def test_a_server_that_may_not_be_asked_for_its_version_is_no_traceback(cluster: Applied, sharpen: Invoke) -> None:
    cluster.api.forbidden |= {
        Call("", resource, verb) for resource in ("events", "secrets") for verb in ("get", "list")
    }
    told = sharpen()
    assert told.exit_code == 0, told.output
    assert "not checked  events" in told.output


def test_kubeflow_at_an_address(cluster: Applied, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake API stands in for Kubeflow's: what matters is the path and the answer."""
    without = ("store",)
    proxy = f"http://127.0.0.1:{cluster.api.port}/api/v1/namespaces/kubeflow/services/ml-pipeline:8888/proxy"
    monkeypatch.setenv("KFP_TOKEN", "first-token")
    finding = of(examine(endpoint=proxy, without=without), "Kubeflow Pipelines")
    assert (finding.state, finding.detail) == ("pass", f"version 2.17.0 at {proxy}, one user")
    finding = of(examine(endpoint="http://127.0.0.1:9", without=without), "Kubeflow Pipelines")
    assert finding.state == "fail"
    assert "http://127.0.0.1:9" in finding.detail
    assert "kubectl port-forward --namespace kubeflow service/ml-pipeline 8888:8888" in finding.remedy
    # the credentials are those of `sharpen submit`, and a wrong one is told by the variable that holds it
    monkeypatch.setenv("KFP_TOKEN", "another-token")
    finding = of(examine(endpoint=proxy, without=without), "Kubeflow Pipelines")
    assert finding.state == "fail"
    assert "KFP_TOKEN" in finding.detail and "another-token" not in finding.detail


def test_who_is_not_let_in_is_told_so_and_where(cluster: Applied, sharpen: Invoke) -> None:
    cluster.api.tokens.clear()
    told = sharpen()
    assert isinstance(told.exception, InputError)
    assert "the API server does not let you in (401); renew your login" in str(told.exception)


def test_a_store_that_only_the_cluster_reaches_is_not_checked_from_here(
    cluster: Applied, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    cluster.get("configmaps", "sharpen-store")["data"]["AWS_ENDPOINT_URL_S3"] = "http://127.0.0.1:9"
    finding = of(examine(), "store")
    assert finding.state == "not checked"
    assert "--from=cronjob/sharpen-store-check" in finding.remedy
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    assert of(examine(), "store").state == "fail"


def test_a_store_is_asked_with_the_keys_in_the_clusters_secret_where_none_are_set_here(
    cluster: Applied, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    values = [base64.b64encode(value.encode()).decode() for value in real.values()]
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in real:
        monkeypatch.delenv(name)
    others = tuple(name for name in CHECKS if name != "store")

    def states() -> set[str]:
        findings = examine(without=others)
        assert not any(value in repr(findings) for value in real.values())
        return {finding.state for finding in findings if finding.check.startswith("store")}

    # those of the secret are no keys of this store
    assert "pass" not in states()
    cluster.put_secret("mlpipeline-minio-artifact", accesskey=values[0], secretkey=values[1])
    assert states() == {"pass"}
    assert not any(name in os.environ for name in real)
    # only the cluster knows the store: keys that are set here are for another one
    for name in real:
        monkeypatch.setenv(name, "of-another-store")
    cluster.get("configmaps", "sharpen-store")["data"]["AWS_ENDPOINT_URL_S3"] = os.environ["AWS_ENDPOINT_URL_S3"]
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    assert states() == {"pass"}
    assert os.environ["AWS_ACCESS_KEY_ID"] == "of-another-store"
    # who may not read the secret is where they were
    cluster.api.forbidden.add(Call("", "secrets", "get"))
    assert "pass" not in states()


def test_a_namespace_of_jobs_of_their_own(cluster: Applied, examine: Examine) -> None:
    findings = examine("job.namespace=elsewhere", without=("store",))
    assert [f.detail for f in findings if f.check == "namespace"][1] == "elsewhere does not exist"
    rights = of(findings, "rights of the launcher")
    assert rights.state == "fail"
    assert rights.remedy == (
        "kubectl create rolebinding sharpen-launcher-sharpen-pipeline --namespace elsewhere --role sharpen-launcher "
        "--serviceaccount kubeflow:sharpen-pipeline"
    )
    assert of(findings, "rights to its own pod").state == "pass"
    # the pods of a job take the store's place and keys from the namespace that they are in
    missing = [f.detail for f in findings if f.check in ("store's address", "secret") and f.state == "fail"]
    assert missing == [
        "no ConfigMap sharpen-store in namespace elsewhere: pods there do not know where the store is",
        "there is no secret mlpipeline-minio-artifact in namespace elsewhere",
    ]


def test_a_namespace_of_jobs_that_has_everything(cluster: Applied, examine: Examine) -> None:
    """What k8s/README.md says: the overlay there too, its secret, and the role for the account of the runs."""
    api, before = cluster.api, cluster.api.rights
    api.put("", "namespaces", {"metadata": {"name": "elsewhere", "namespace": ""}})
    for plural, name in (("configmaps", "sharpen-store"), ("secrets", "mlpipeline-minio-artifact")):
        there = copy.deepcopy(cluster.get(plural, name))
        there["metadata"]["namespace"] = "elsewhere"
        api.put("", plural, there)

    def rights(user: str, call: dict[str, str]) -> bool:
        # sharpen-launcher holds the same rules in both namespaces
        return before(user, {**call, "namespace": "kubeflow"})

    api.rights = rights
    findings = examine("job.namespace=elsewhere", without=("store",))
    assert [f for f in findings if f.state not in ("pass", "not checked")] == []
    api.rights = lambda user, call: rights(user, call) and (user == "me" or call["namespace"] == "elsewhere")
    finding = of(examine("job.namespace=elsewhere", without=("store",)), "rights to its own pod")
    assert finding.detail == "sharpen-pipeline may not get pods in namespace kubeflow"
    assert finding.remedy.endswith("-k k8s/overlays/kind")


def test_versions_in_commands_are_those_of_the_install_scripts() -> None:
    lines = (K8S / "install/versions.env").read_text().splitlines()
    pinned = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    for name in ("KFP_VERSION", "TRAINING_OPERATOR_VERSION", "TRAINER_VERSION"):
        assert getattr(remedies, name) == pinned[name]
    script = (K8S / "install/common.sh").read_text()
    for command in (remedies.INSTALL_TRAINING_OPERATOR, remedies.INSTALL_TRAINER):
        url = command.split('"')[1].partition("?")[0]
        assert url in script
    for overlay in ("kind", "production"):
        assert (K8S / "overlays" / overlay / "kustomization.yaml").is_file()
    for component in ("kueue", "trainer-v2"):
        assert (K8S / "components" / component).is_dir()
