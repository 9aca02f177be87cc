"""Each check finds what is wrong, says so in a line, and names what mends it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.doctor.run_checks import CHECKS
from sharpen.jobs.kubernetes.permissions import LAUNCHER
from tests.pipeline.doctor.cluster import ADMINISTRATOR, STORE_PASSWORD, Applied
from tests.pipeline.doctor.conftest import Examine, of
from tests.sharpen.jobs.fake_api import Call, Fault

pytestmark = pytest.mark.store


def no_kueue(cluster: Applied) -> None:
    del cluster.api.versions["kueue.x-k8s.io"]


def a_queue(status: str, message: str = "") -> Callable[[Applied], None]:
    def act(cluster: Applied) -> None:
        conditions = [{"type": "Active", "status": status, "message": message}] if status else []
        queue = {"kind": "LocalQueue", "metadata": {"name": "sharpen"}, "spec": {"clusterQueue": "all"}}
        cluster.put({**queue, "status": {"conditions": conditions}})

    return act


def trainer(cluster: Applied) -> None:
    cluster.api.known.add(("trainer.kubeflow.org", "trainjobs"))


def a_runtime(cluster: Applied) -> None:
    trainer(cluster)
    cluster.put({"kind": "ClusterTrainingRuntime", "metadata": {"name": "sharpen-torch"}})


def launcher_config(**data: str) -> Callable[[Applied], None]:
    return lambda cluster: cluster.get("configmaps", "kfp-launcher").update(data=data)


def dropped(plural: str, name: str) -> Callable[[Applied], None]:
    return lambda cluster: cluster.drop(plural, name)


def forbidden(verb: str, resource: str, group: str = "") -> Callable[[Applied], None]:
    return lambda cluster: cluster.api.forbidden.add(Call(group, resource, verb))


def refused(resource: str, message: str, status: int = 403, times: int = 9) -> Callable[[Applied], None]:
    fault = Fault("create", resource, times, status, "Forbidden", message)
    return lambda cluster: cluster.api.faults.append(fault)


def may_not(*verbs: tuple[str, str], user: str = ADMINISTRATOR) -> Callable[[Applied], None]:
    def act(cluster: Applied) -> None:
        before = cluster.api.rights

        def rights(asking: str, call: dict[str, str]) -> bool:
            resource = "/".join(filter(None, (call["resource"], call.get("subresource"))))
            return before(asking, call) and not (asking.endswith(user) and (call["verb"], resource) in verbs)

        cluster.api.rights = rights

    return act


def health(**answer: Any) -> Callable[[Applied], None]:
    return lambda cluster: cluster.api.services.update({"kubeflow/ml-pipeline/8888/apis/v2beta1/healthz": answer})


def warned_of(name: str, reason: str, message: str) -> Callable[[Applied], None]:
    def act(cluster: Applied) -> None:
        meta = {"name": f"{name}.17", "namespace": "kubeflow"}
        event = {"metadata": meta, "type": "Warning", "reason": reason, "message": message, "count": 3}
        cluster.api.put("", "events", {**event, "involvedObject": {"kind": "Pod", "name": name}})

    return act


def nothing(cluster: Applied) -> None:
    pass


# name: (what happened to the cluster, settings, check, state, detail, remedy)
CASES: dict[str, tuple[Callable[[Applied], Any], list[str], str, str, str, str]] = {
    "no namespace": (
        dropped("namespaces", "kubeflow"), [], "namespace", "fail", "kubeflow does not exist",
        "kubectl create namespace kubeflow",
    ),
    "a namespace that goes": (
        lambda c: c.get("namespaces", "kubeflow").update(status={"phase": "Terminating"}), [], "namespace", "fail",
        "is being deleted", "kubectl get namespace kubeflow",
    ),
    "a namespace that may not be seen": (
        forbidden("get", "namespaces"), [], "namespace", "not checked", "answered 403.*namespaces is forbidden", "",
    ),
    "no Argo": (
        lambda c: c.api.known.discard(("argoproj.io", "workflows")), [], "Argo Workflows", "fail", "not installed",
        r"kubectl apply -k .*\?ref=2.17.0",
    ),
    "an old Kubeflow": (
        health(tag_name="2.3.0"), [], "Kubeflow Pipelines", "warn", "version 2.3.0.*made for 2.17",
        "2.17.0",
    ),
    "Kubeflow elsewhere": (
        lambda c: c.api.services.clear(), [], "Kubeflow Pipelines", "not checked", "no service kubeflow/ml-pipeline",
        "--endpoint",
    ),
    "no PyTorchJobs": (
        lambda c: c.api.known.discard(("kubeflow.org", "pytorchjobs")), [], "PyTorchJob", "fail",
        r"pytorchjobs.kubeflow.org v1 is not served; of kubeflow.org there is v1", "training-operator.git.*ref=v1.9.4",
    ),
    "no TrainJobs": (
        nothing, ["job.backend=trainjob", "job.service_account=sharpen-training"], "TrainJob", "fail",
        "trainjobs.trainer.kubeflow.org v1alpha1 is not served", "trainer.git.*ref=v2.3.0",
    ),
    "no runtime": (
        trainer, ["job.backend=trainjob", "job.runtime=sharpen-torch", "job.service_account=sharpen-training"],
        "training runtime", "fail", "no ClusterTrainingRuntime sharpen-torch", "overlays/kind-trainer-v2",
    ),
    "a runtime": (
        a_runtime, ["job.backend=trainjob", "job.runtime=sharpen-torch", "job.service_account=sharpen-training"],
        "training runtime", "pass", "ClusterTrainingRuntime sharpen-torch", "",
    ),
    "what a TrainJob cannot say": (
        a_runtime, ["job.backend=trainjob"], "job", "fail", "job.service_account: a TrainJob cannot keep", "correct",
    ),
    "no Kueue": (no_kueue, ["job.queue=sharpen"], "queue", "fail", "Kueue is not installed", "kueue.sigs.k8s.io"),
    "no queue": (nothing, ["job.queue=sharpen"], "queue", "fail", "no LocalQueue sharpen", "components/kueue"),
    "a queue that is stopped": (
        a_queue("False", "Can't submit new workloads to clusterQueue"), ["job.queue=sharpen"], "queue", "fail",
        "not active: Can't submit", "kubectl describe localqueue sharpen --namespace kubeflow",
    ),
    "a queue that nobody looks at": (
        a_queue(""), ["job.queue=sharpen"], "queue", "fail", "does its controller run",
        "kubectl",
    ),
    "a queue": (a_queue("True"), ["job.queue=sharpen"], "queue", "pass", "sharpen, active, of ClusterQueue all", ""),
    "no account": (
        dropped("serviceaccounts", "sharpen-pipeline"), [], "service account", "fail", "is not in namespace kubeflow",
        "kubectl apply --server-side --force-conflicts -k k8s/overlays/kind",
    ),
    "no account for TrainJobs": (
        lambda c: (a_runtime(c), c.drop("serviceaccounts", "sharpen-pipeline")),
        ["job.backend=trainjob", "job.runtime=sharpen-torch"], "service account", "fail", "is not in namespace",
        "-k k8s/overlays/kind-trainer-v2 ",
    ),
    "retries of deleted pods only": (
        nothing, ["pods.retries=4"], "retries", "pass",
        r"OnError: a step whose pod was deleted .* again \(pods.retries=4\); .* `sharpen retry RUN`", "",
    ),
    "retries of everything": (
        lambda c: c.put_retry_policy("spec: {templateDefaults: {retryStrategy: {retryPolicy: Always}}}"), [], "retries",
        "pass", "Always: every step that fails .* wrong input too", "",
    ),
    "retries as Argo has them": (
        lambda c: c.put_retry_policy("spec: {activeDeadlineSeconds: 5}"), [], "retries", "pass", "OnFailure", "",
    ),
    "retries that nobody can read": (
        lambda c: c.put_retry_policy("spec: ["), [], "retries", "warn", "Argo does not know it", "",
    ),
    "retries that may not be seen": (
        dropped("configmaps", "workflow-controller-configmap"), [], "retries", "not checked", "namespace kubeflow", "",
    ),
    "a namespace that enforces restricted": (
        lambda c: c.get("namespaces", "kubeflow")["metadata"].update(
            labels={"pod-security.kubernetes.io/enforce": "restricted"}
        ), [], "namespace", "pass", "^kubeflow$", "",
    ),
    "rights that a person lacks": (
        may_not(("list", "pods"), ("get", "pods/log")), [], "your rights", "warn", "may not list pods, get pods/log",
        "kubeflow-view",
    ),
    "rights that a launcher lacks": (
        may_not(("create", "pytorchjobs"), ("list", "events"), user=":sharpen-pipeline"), [], "rights of the launcher",
        "fail", "may not list events, create pytorchjobs.kubeflow.org", "k8s/overlays/kind",
    ),
    "rights that a step lacks": (
        may_not(("create", "workflowtaskresults"), user=":sharpen-pipeline"), [], "rights of the steps", "fail",
        "may not create workflowtaskresults.argoproj.io", "k8s/overlays/kind",
    ),
    "rights that may not be asked for": (
        forbidden("create", "subjectaccessreviews", "authorization.k8s.io"), [], "rights of the steps", "warn",
        "may not ask what sharpen-pipeline may do", "administrator",
    ),
    "a launcher without TrainJobs": (
        a_runtime, ["job.backend=trainjob", "job.runtime=sharpen-torch", "job.service_account=sharpen-training"],
        "rights of the launcher", "fail", "trainjobs.trainer.kubeflow.org", "overlays/kind-trainer-v2",
    ),
    "no kfp-launcher": (
        dropped("configmaps", "kfp-launcher"), [], "artifacts", "warn", "by default",
        "kubectl apply",
    ),
    "a kfp-launcher that is no YAML": (
        launcher_config(providers="a: [", defaultPipelineRoot="minio://b/k"), [], "artifacts", "fail", "not valid YAML",
        "kubectl apply",
    ),
    "a kfp-launcher without credentials": (
        launcher_config(providers="minio: {default: {endpoint: e}}", defaultPipelineRoot="minio://b/k"), [],
        "artifacts",
        "fail", "providers.minio.default.credentials needs", "kubectl apply",
    ),
    "no sharpen-store": (
        dropped("configmaps", "sharpen-store"), [], "store's address", "fail", "pods there do not know where",
        "kubectl apply",
    ),
    "no secret": (
        dropped("secrets", "mlpipeline-minio-artifact"), [], "secret", "fail", "no secret mlpipeline-minio-artifact",
        "kubectl create secret --namespace kubeflow generic mlpipeline-minio-artifact --from-literal=accesskey=",
    ),
    "a secret without a key": (
        lambda c: c.put_secret("mlpipeline-minio-artifact", accesskey=STORE_PASSWORD), [], "secret", "fail",
        "has no key secretkey; it has accesskey", "kubectl create secret .* kubectl apply -f -",
    ),
    "a secret that may not be seen": (
        forbidden("get", "secrets"), [], "secret", "not checked", "may not look at secret mlpipeline-minio-artifact",
        "",
    ),
    "rights without a secret": (
        launcher_config(providers="s3: {default: {credentials: {fromEnv: true}}}", defaultPipelineRoot="s3://b/k"), [],
        "secret", "pass", "none is needed", "",
    ),
    "no store": (
        dropped("configmaps", "sharpen-store"), ["store="], "store", "fail", "store is not set",
        "--set store=s3://BUCKET/KEY",
    ),
    "a store on this machine": (nothing, ["store=/tmp/x"], "store", "fail", "on this machine only", "s3://BUCKET"),
    "data on this machine": (
        nothing, ["train_data=./rows.jsonl"], "train_data", "fail", "on this machine only",
        "upload",
    ),
    "data that are not there": (
        nothing, ["train_data=s3://sharpen/nowhere/x.jsonl"], "train_data", "fail",
        "nothing is at s3://sharpen/nowhere",
        "upload it",
    ),
    "a job that is refused": (
        refused("pytorchjobs", 'admission webhook "q" denied the request: no team label', 400), [], "job", "fail",
        "no team label", "",
    ),
    "a pod that is refused": (
        refused("pods", 'pods "p" is forbidden: violates PodSecurity "x"'), [], "pod of the job", "fail",
        "violates PodSecurity", "",
    ),
    "a job that may not be made": (
        may_not(("create", "pytorchjobs")), [], "job", "not checked", "may not create pytorchjobs", "",
    ),
    "a job over the quota": (
        refused("pods", 'pods "p" is forbidden: exceeded quota: share, requested: requests.memory=8Gi, limited: 4Gi'),
        [], "pod of the job", "fail", "exceeded quota: share, requested: requests.memory=8Gi", "see what it names",
    ),
    "steps over the limit": (
        refused("pods", 'pods "p" is forbidden: maximum cpu usage per Container is 1, but request is 2', times=1),
        ["job.backend=local"], "pods of steps", "fail",
        "refuses the Pod of .*: pods \"p\" is forbidden: maximum cpu usage per Container is 1", "see what it names",
    ),
    "steps that may not be tried": (
        may_not(("create", "pods")), [], "pods of steps", "not checked", "may not create pods in namespace kube", "",
    ),
    "an image that moves": (nothing, ["job.image=r.example/x:latest"], "job", "fail", "latest moves", "correct"),
    "an event": (
        warned_of("sharpen-69psn-2", "FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu."), [], "events",
        "warn", r"FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu. \(sharpen-69psn-2, 3 times\)", "names",
    ),
    "an event of somebody else's": (
        warned_of("other-1", "FailedScheduling", "no"), [], "events", "pass", "no warnings about Sharpen", "",
    ),
    "events that may not be seen": (forbidden("list", "events"), [], "events", "not checked", "is forbidden", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_reported_with_its_remedy(cluster: Applied, examine: Examine, name: str) -> None:
    act, settings, check, state, detail, remedy = CASES[name]
    act(cluster)
    of_store = check in ("store", "train_data")
    finding = of(examine(*settings, without=() if of_store else ("store",)), check)
    assert finding.state == state
    assert re.search(detail, finding.detail)
    assert re.search(remedy, finding.remedy)
    if state == "fail":
        assert finding.remedy
    assert "\n" not in finding.detail + finding.remedy
    assert STORE_PASSWORD not in repr(finding)


def test_the_case_table_reaches_every_permission_of_a_launcher(cluster: Applied, examine: Examine) -> None:
    """Take each right away: the check must miss exactly that one."""
    for permission in sorted(p for p in LAUNCHER if p.group != "trainer.kubeflow.org"):
        api = cluster.api
        before = api.rights
        may_not((permission.verb, permission.resource), user=":sharpen-pipeline")(cluster)
        others = tuple(name for name in CHECKS if name != "permissions")
        finding = of(examine(without=others), "rights of the launcher")
        api.rights = before
        group = f".{permission.group}" if permission.group else ""
        assert (
            finding.detail
            == f"sharpen-pipeline may not {permission.verb} {permission.resource}{group} in namespace kubeflow"
        )


def test_the_account_of_kubeflow_itself_reads_every_secret(cluster: Applied, examine: Examine) -> None:
    """pipeline-runner has more from Kubeflow's own manifests, which are not ours to render."""
    before = cluster.api.rights
    of_kubeflow = ":pipeline-runner"
    cluster.api.rights = lambda user, call: (
        before(user, call) or (user.endswith(of_kubeflow) and call["resource"] in ("secrets", "workflowtaskresults"))
    )
    cluster.put({"kind": "ServiceAccount", "metadata": {"name": "pipeline-runner"}})
    findings = examine(account="pipeline-runner")
    assert of(findings, "rights of the launcher").state == "pass"
    assert of(findings, "rights to secrets").state == "warn"
    assert of(findings, "rights of the steps").remedy == (
        "kubectl create rolebinding sharpen-step-pipeline-runner --namespace kubeflow --role sharpen-step "
        "--serviceaccount kubeflow:pipeline-runner"
    )
