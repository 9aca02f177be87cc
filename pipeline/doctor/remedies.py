"""Commands that mend a cluster. Versions are those of `k8s/install/versions.env` (a test compares the two)."""

from __future__ import annotations

KFP_VERSION = "2.17.0"
TRAINING_OPERATOR_VERSION = "v1.9.4"
TRAINER_VERSION = "v2.3.0"

_KFP = "github.com/kubeflow/pipelines/manifests/kustomize"
_APPLY = "kubectl apply --server-side --force-conflicts -k"
INSTALL_KFP = (
    f'kubectl apply -k "{_KFP}/cluster-scoped-resources?ref={KFP_VERSION}" && '
    "kubectl wait crd/applications.app.k8s.io --for condition=established --timeout=120s && "
    f'kubectl apply -k "{_KFP}/env/platform-agnostic?ref={KFP_VERSION}"'
)
_OPERATOR = "github.com/kubeflow/training-operator.git/manifests/overlays/standalone"
INSTALL_TRAINING_OPERATOR = f'{_APPLY} "{_OPERATOR}?ref={TRAINING_OPERATOR_VERSION}"'
INSTALL_TRAINER = f'{_APPLY} "github.com/kubeflow/trainer.git/manifests/overlays/manager?ref={TRAINER_VERSION}"'


def apply(namespace: str, *, trainer: bool = False) -> str:
    """The command that gives a namespace what `k8s/base` has, and with `trainer` what jobs of Kubeflow Trainer need."""
    overlay = "production" if namespace != "kubeflow" else "kind-trainer-v2" if trainer else "kind"
    return f"{_APPLY} k8s/overlays/{overlay}"


def add_component(name: str, namespace: str) -> str:
    """How a component of `k8s/components` comes into the namespace."""
    if (name, namespace) == ("trainer-v2", "kubeflow"):
        return apply(namespace, trainer=True)
    file = f"{apply(namespace).rpartition(' ')[2]}/kustomization.yaml"
    return f"add ../../components/{name} to components in {file}, then: {apply(namespace)}"


def bind(role: str, account: str, namespace: str, home: str) -> str:
    """The command that gives a role to a service account.

    Args:
        role: name of the role.
        account: name of the account.
        namespace: where the role is.
        home: where the account is.
    """
    return (
        f"kubectl create rolebinding {role}-{account} --namespace {namespace} --role {role} "
        f"--serviceaccount {home}:{account}"
    )
