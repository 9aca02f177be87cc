"""Each check finds what is wrong, says so in a line, and names what mends it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.doctor.examine import CHECKS
from sharpen.jobs.permissions import LAUNCHER
from sharpen.jobs.plan import APP_LABEL
from tests.pipeline.doctor.cluster import ADMINISTRATOR, STORE_PASSWORD, Applied
from tests.pipeline.doctor.conftest import Examine, of
from tests.sharpen.jobs.fake_api import Call, Fault

pytestmark = pytest.mark.store

TOLERATED = '[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]'
GPU_TAINT = [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]


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


def a_quota(used: dict[str, str] | None = None, **hard: str) -> Callable[[Applied], None]:
    def act(cluster: Applied) -> None:
        names = {name.replace("__", "/").replace("_", "."): value for name, value in hard.items()}
        cluster.put(
            {
                "kind": "ResourceQuota",
                "metadata": {"name": "share"},
                "spec": {"hard": names},
                "status": {"used": used or {}},
            }
        )

    return act


def a_limit(**limit: Any) -> Callable[[Applied], None]:
    def act(cluster: Applied) -> None:
        spec = {"limits": [{"type": "Container", **limit}]}
        cluster.put({"kind": "LimitRange", "metadata": {"name": "limits"}, "spec": spec})

    return act


def a_policy(**spec: Any) -> Callable[[Applied], None]:
    """Instead of ours, since policies add up."""

    def act(cluster: Applied) -> None:
        cluster.drop("networkpolicies", "sharpen-training", "networking.k8s.io")
        cluster.put({"kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": {"podSelector": {}, **spec}})

    return act


def only_dns(cluster: Applied) -> None:
    cluster.drop("networkpolicies", "sharpen-step", "networking.k8s.io")
    a_policy(policyTypes=["Egress"], egress=[{"ports": [{"protocol": "UDP", "port": 53}]}])(cluster)


def nodes(*given: dict[str, Any]) -> Callable[[Applied], None]:
    def act(cluster: Applied) -> None:
        cluster.drop("nodes", "worker-1")
        cluster.drop("nodes", "worker-2")
        for number, node in enumerate(given):
            cluster.put_node(f"n{number}", **node)

    return act


def labelled(level: str) -> Callable[[Applied], None]:
    def act(cluster: Applied) -> None:
        labels = {"pod-security.kubernetes.io/enforce": level}
        cluster.get("namespaces", "kubeflow")["metadata"]["labels"] = labels

    return act


def launcher_config(**data: str) -> Callable[[Applied], None]:
    return lambda cluster: cluster.get("configmaps", "kfp-launcher").update(data=data)


def dropped(plural: str, name: str) -> Callable[[Applied], None]:
    return lambda cluster: cluster.drop(plural, name)


def forbidden(verb: str, resource: str, group: str = "") -> Callable[[Applied], None]:
    return lambda cluster: cluster.api.forbidden.add(Call(group, resource, verb))


def refused(resource: str, message: str, status: int = 403) -> Callable[[Applied], None]:
    fault = Fault("create", resource, 9, status, "Forbidden", message)
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


def nothing(cluster: Applied) -> None:
    pass


# name: (what happened to the cluster, settings, check, state, found, mend)
CASES: dict[str, tuple[Callable[[Applied], Any], list[str], str, str, str, str]] = {
    "no namespace": (
        dropped("namespaces", "kubeflow"), [], "namespace", "fail", "kubeflow does not exist",
        "kubectl create namespace kubeflow",
    ),
    "a namespace that goes": (
        lambda c: c.get("namespaces", "kubeflow").update(status={"phase": "Terminating"}), [], "namespace", "fail",
        "is being deleted", "kubectl get namespace kubeflow",
    ),
    "a restricted namespace": (
        labelled("restricted"), [], "namespace", "warn", "enforces restricted",
        "enforce=baseline",
    ),
    "a baseline namespace": (labelled("baseline"), [], "namespace", "pass", "Pod Security: baseline", ""),
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
    "TrainJobs that are not needed": (nothing, [], "TrainJob", "not checked", "not needed with job.backend auto", ""),
    "no TrainJobs": (
        nothing, ["job.backend=trainjob", "job.service_account=sharpen-training"], "TrainJob", "fail",
        "trainjobs.trainer.kubeflow.org v1alpha1 is not served", "trainer.git.*ref=v2.3.0",
    ),
    "no runtime": (
        trainer, ["job.backend=trainjob", "job.runtime=sharpen-torch", "job.service_account=sharpen-training"],
        "training runtime", "fail", "no ClusterTrainingRuntime sharpen-torch", "components/trainer-v2",
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
        "rights of the launcher", "fail", "trainjobs.trainer.kubeflow.org", "components/trainer-v2",
    ),
    "no kfp-launcher": (
        dropped("configmaps", "kfp-launcher"), [], "artifacts", "warn", "default place",
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
        dropped("configmaps", "sharpen-store"), [], "place of the store", "fail", "pods there do not know where",
        "kubectl apply",
    ),
    "no secret": (
        dropped("secrets", "mlpipeline-minio-artifact"), [], "secret", "fail", "no secret mlpipeline-minio-artifact",
        "kubectl create secret generic mlpipeline-minio-artifact --namespace kubeflow --from-literal=accesskey=",
    ),
    "a secret without a key": (
        lambda c: c.put_secret("mlpipeline-minio-artifact", accesskey=STORE_PASSWORD), [], "secret", "fail",
        "has no key secretkey; it has accesskey", "kubectl patch secret",
    ),
    "a secret that may not be seen": (
        forbidden("get", "secrets"), [], "secret", "not checked", "may not look at secret mlpipeline-minio-artifact",
        "",
    ),
    "rights without a secret": (
        launcher_config(providers="s3: {default: {credentials: {fromEnv: true}}}", defaultPipelineRoot="s3://b/k"), [],
        "secret", "pass", "none is needed", "",
    ),
    "no store": (nothing, ["store="], "store", "fail", "store is not set", "--set store=s3://mlpipeline/sharpen"),
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
    "an image that moves": (nothing, ["job.image=r.example/x:latest"], "job.image", "fail", "latest moves", "a digest"),
    "no GPU": (
        nothing, ["job.gpus_per_node=1"], "nodes", "fail",
        r"0 of 2 nodes fit.*\(no nvidia.com/gpu: worker-1, worker-2\)",
        "device plugin",
    ),
    "a GPU behind a taint": (
        nodes({"gpus": 8, "taints": GPU_TAINT}), ["job.gpus_per_node=1"], "nodes", "fail",
        "taint nvidia.com/gpu=present:NoSchedule is not tolerated: n0",
        r"job.tolerations=\[\{\"key\": \"nvidia.com/gpu\"",
    ),
    "a GPU behind a taint that the queue's flavor tolerates": (
        nodes({"gpus": 8, "taints": GPU_TAINT}), ["job.gpus_per_node=1", "job.queue=q"], "nodes", "warn", "taint",
        "job.tol",
    ),
    "a GPU behind a taint that is tolerated": (
        nodes({"gpus": 8, "taints": GPU_TAINT}, {}), ["job.gpus_per_node=2", f"job.tolerations={TOLERATED}"], "nodes",
        "pass",
        r"1 of 2 nodes fit a pod with cpu 2, memory 8Gi, nvidia.com/gpu 2; room for 3 pods, 1 wanted", "",
    ),
    "nodes that are cordoned": (
        nodes({"unschedulable": True}, {}), ["job.nodes=9"], "nodes", "fail",
        r"room for 3 pods, 9 wanted \(cordoned: n0\)",
        "autoscaler",
    ),
    "nodes without the label": (
        nodes({"labels": {"zone": "a"}}, {}), ['job.node_selector={"zone": "b"}'], "nodes", "fail",
        "no label zone=b: n0, n1",
        "ask for less",
    ),
    "nodes without the label of the topology": (
        nodes({"labels": {"rack": "a"}}, {}), ["job.same_topology=rack", "job.nodes=4"], "nodes", "fail",
        r"room for 3 pods, 4 wanted \(no label rack: n1\)", "ask for less",
    ),
    "nodes without the label that pods are spread over": (
        nothing, ['job.topology_spread=[{"topologyKey": "zone"}]'], "nodes", "fail", "no label zone: worker-1", "ask",
    ),
    "nodes that are too small": (
        nothing, ["job.memory=64Gi"], "nodes", "fail", "memory 32779416Ki is too little",
        "job.memory",
    ),
    "nodes that may not be seen": (forbidden("list", "nodes"), [], "nodes", "not checked", "nodes is forbidden", ""),
    "a quota that is too small": (
        a_quota(requests_memory="4Gi"), [], "quota", "fail", "share allows requests.memory 4Gi, 1 pods need 8.0Gi",
        "kubectl edit resourcequota share --namespace kubeflow",
    ),
    "a quota that is used up": (
        a_quota({"count/pytorchjobs.kubeflow.org": "20"}, count__pytorchjobs_kubeflow_org="20"), [], "quota", "warn",
        "20 are used", "wait for others",
    ),
    "a quota on what pods do not name": (
        a_quota(limits_cpu="64"), [], "quota", "fail", "counts limits.cpu",
        "LimitRange",
    ),
    "a limit on containers": (
        a_limit(max={"memory": "4Gi"}), [], "limits", "fail", "may have memory 4Gi, the job's pods want 8Gi",
        "--set job.memory=4Gi",
    ),
    "no priority class": (
        nothing, ["job.priority_class=high"], "priority class", "fail", "no PriorityClass high",
        "kubectl get priorityclasses",
    ),
    "a network without rules": (
        a_policy(policyTypes=["Ingress", "Egress"]), ["job.nodes=2"], "network policies", "fail",
        r"p: training pods cannot reach DNS \(UDP 53\) nor the store \(TCP 8333\) nor each other", "kubectl apply",
    ),
    "a network that only lets DNS out": (
        a_policy(policyTypes=["Egress"], egress=[{"ports": [{"protocol": "UDP", "port": 53}]}]), [], "network policies",
        "fail", r"cannot reach the store \(TCP 8333\)", "kubectl apply",
    ),
    "a network among themselves": (
        a_policy(policyTypes=["Egress"], egress=[{"to": [{"podSelector": {"matchLabels": {APP_LABEL: "sharpen"}}}]}]),
        [],
        "network policies", "fail", r"cannot reach DNS \(UDP 53\) nor the store", "kubectl apply",
    ),
    "a network that is open": (a_policy(egress=[{}]), [], "network policies", "pass", "reach what they need", ""),
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
    "training in a step that no node has a GPU for": (
        nothing, ["job.backend=local", "job.gpus_per_node=1"], "nodes", "fail", "no nvidia.com/gpu: worker-1, worker-2",
        "device plugin",
    ),
    "training in a step that no node is large enough for": (
        nothing, ["job.backend=local", "job.memory=64Gi"], "nodes", "fail", "memory 32779416Ki is too little",
        "ask for less with --set job.cpu, job.memory; or",
    ),
    "training in a step over the quota": (
        a_quota(requests_memory="4Gi"), ["job.backend=local"], "quota", "fail",
        "share allows requests.memory 4Gi, 1 pods need 8.0Gi", "--set job.cpu, job.memory",
    ),
    "training in a step over the limit": (
        a_limit(max={"memory": "4Gi"}), ["job.backend=local"], "limits", "fail",
        "may have memory 4Gi, the pod of the step that trains want 8Gi", "--set job.memory=4Gi",
    ),
    "training in a step that the network cuts off": (
        only_dns, ["job.backend=local"], "network policies of steps", "fail",
        r"p: step pods cannot reach the store \(TCP 8333\)", "kubectl apply",
    ),
    "steps without a GPU": (
        nothing, ["pods.gpus=1"], "nodes of steps", "fail",
        r"cpu 2, memory 8Gi, nvidia.com/gpu 1; room for 0 pods, 1 wanted \(no nvidia.com/gpu", "job.gpu_resource=",
    ),
    "steps whose pods tolerate the taint of GPUs": (
        nodes({"gpus": 8, "taints": GPU_TAINT}), ["pods.gpus=2"], "nodes of steps", "pass",
        "1 of 1 nodes fit.*room for 3 pods, 1 wanted", "",
    ),
    "steps behind another taint": (
        nodes({"taints": [{"key": "team", "effect": "NoSchedule"}]}), [], "nodes of steps", "fail",
        "taint team:NoSchedule is not tolerated: n0", "kubectl taint nodes NODE team:NoSchedule-",
    ),
    "steps that no node is large enough for": (
        nothing, ["pods.memory=64Gi"], "nodes of steps", "fail", "memory 32779416Ki is too little",
        "--set pods.cpu, pods.memory; or",
    ),
    "steps over the quota": (
        a_quota(requests_nvidia_com__gpu="1"), ["pods.gpus=2"], "quota of steps", "fail",
        "share allows requests.nvidia.com/gpu 1, 1 pods need 2",
        r"--set pods.cpu, pods.memory, pods.gpus\), .* share --namespace kubeflow",
    ),
    "steps over the limit": (
        a_limit(max={"cpu": "1"}), [], "limits of steps", "fail",
        "may have cpu 1, pods of steps that compute want 2", "--set pods.cpu=1",
    ),
    "training in the step": (nothing, ["job.backend=local"], "job", "pass", "in the step's own pod", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_found_and_what_mends_it_is_named(cluster: Applied, examine: Examine, name: str) -> None:
    act, settings, check, state, found, mend = CASES[name]
    act(cluster)
    of_store = check in ("store", "train_data")
    finding = of(examine(*settings, without=() if of_store else ("store",)), check)
    assert finding.state == state
    assert re.search(found, finding.found)
    assert re.search(mend, finding.mend)
    if state == "fail":
        assert finding.mend
    assert "\n" not in finding.found + finding.mend
    assert STORE_PASSWORD not in repr(finding)


def test_the_case_table_reaches_every_permission_of_a_launcher(cluster: Applied, examine: Examine) -> None:
    """Take each right away: the check must miss exactly that one."""
    for permission in sorted(p for p in LAUNCHER if p.group != "trainer.kubeflow.org"):
        api = cluster.api
        before = api.rights
        may_not((permission.verb, permission.resource), user=":sharpen-pipeline")(cluster)
        others = tuple(name for name in CHECKS if name != "rights of the steps")
        finding = of(examine(without=others), "rights of the launcher")
        api.rights = before
        group = f".{permission.group}" if permission.group else ""
        assert finding.found == f"sharpen-pipeline may not {permission.verb} {permission.resource}{group}"


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
    assert of(findings, "rights of the steps").mend == (
        "kubectl create rolebinding sharpen-step-pipeline-runner --namespace kubeflow --role sharpen-step "
        "--serviceaccount kubeflow:pipeline-runner"
    )
