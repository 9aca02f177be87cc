"""Commands that mend a cluster. Versions are those of `k8s/install/versions.env` (a test compares the two)."""

from __future__ import annotations

KFP_VERSION = "2.17.0"
TRAINING_OPERATOR_VERSION = "v1.9.4"
TRAINER_VERSION = "v2.3.0"

_KFP = "github.com/kubeflow/pipelines/manifests/kustomize"
INSTALL_KFP = (
    f'kubectl apply -k "{_KFP}/cluster-scoped-resources?ref={KFP_VERSION}" && '
    "kubectl wait crd/applications.app.k8s.io --for condition=established --timeout=120s && "
    f'kubectl apply -k "{_KFP}/env/platform-agnostic?ref={KFP_VERSION}"'
)
INSTALL_TRAINING_OPERATOR = (
    'kubectl apply --server-side --force-conflicts -k "github.com/kubeflow/training-operator.git/manifests/overlays/'
    f'standalone?ref={TRAINING_OPERATOR_VERSION}"'
)
INSTALL_TRAINER = (
    'kubectl apply --server-side --force-conflicts -k "github.com/kubeflow/trainer.git/manifests/overlays/manager?ref='
    f'{TRAINER_VERSION}"'
)


def apply(namespace: str) -> str:
    """The command that gives a namespace what `k8s/base` has."""
    overlay = "kind" if namespace == "kubeflow" else "production"
    return f"kubectl apply --server-side --force-conflicts -k k8s/overlays/{overlay}"


def add_component(name: str, namespace: str) -> str:
    """How a component of `k8s/components` comes into the namespace."""
    overlay = "kind" if namespace == "kubeflow" else "production"
    return f"add ../../components/{name} to components in k8s/overlays/{overlay}/kustomization.yaml, then: " + apply(
        namespace
    )


def bind(role: str, account: str, namespace: str, home: str) -> str:
    """The command that gives a role to an account."""
    return (
        f"kubectl create rolebinding {role}-{account} --namespace {namespace} --role {role} "
        f"--serviceaccount {home}:{account}"
    )
