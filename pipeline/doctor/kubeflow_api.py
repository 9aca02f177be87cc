"""The Kubeflow Pipelines API that a cluster has: asked once, at the endpoint or through the API server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.cluster.api.settings import ConnectionSettings
from pipeline.cluster.steps.pods import ONE_USER_NAMESPACE
from pipeline.doctor.cluster_probe import ClusterProbe
from sharpen.errors import SharpenError
from sharpen.jobs.kubernetes.errors import KubernetesError

# Where Kubeflow is installed; with one user its runs execute there too.
HOME, SERVICE, PORT = ONE_USER_NAMESPACE, "ml-pipeline", 8888
_HEALTH = f"/api/v1/namespaces/{HOME}/services/{SERVICE}:{PORT}/proxy/apis/v2beta1/healthz"
_NAME_IT = "name its address with --endpoint, or KFP_ENDPOINT"
_FORWARD = (
    f"kubectl port-forward --namespace {HOME} service/{SERVICE} 8888:{PORT}, and --endpoint http://localhost:8888"
)


@dataclass(frozen=True)
class KubeflowAnswer:
    """What the API says of itself, or why it says nothing.

    Attributes:
        address: where it was asked.
        served: its answer; empty: there was none.
        fault: why there was none.
        remedy: what to do then.
        unknown: without an answer: it was not to be seen from here, so it may be well.
    """

    address: str
    served: dict[str, Any]
    fault: str = ""
    remedy: str = ""
    unknown: bool = False

    @property
    def several_users(self) -> bool:
        """True where each user has a namespace of their own."""
        # the pages' server, asked in the API's stead, has names of its own
        return bool(self.served.get("multi_user") or self.served.get("apiServerMultiUser"))

    @property
    def one_user(self) -> bool:
        """True where all runs execute in Kubeflow's own namespace; False too where nothing is known."""
        return bool(self.served) and not self.several_users

    @property
    def version(self) -> str:
        """The release; `unknown` where the answer does not name it."""
        return str(self.served.get("tag_name") or self.served.get("apiServerTagName") or "unknown")


def ask_kubeflow(connection: ConnectionSettings, probe: ClusterProbe) -> KubeflowAnswer:
    """Ask the API whether it is well.

    Args:
        connection: as `sharpen submit` would reach it; without an endpoint it is asked through the API server.
        probe: the cluster.

    Raises:
        KubernetesError: the API server does not answer, or does not let one in.
    """
    return _at_endpoint(connection, probe) if connection.endpoint else _through_api_server(probe)


def _through_api_server(probe: ClusterProbe) -> KubeflowAnswer:
    service = f"service {HOME}/{SERVICE}"
    try:
        answer = probe.read(_HEALTH)
    except KubernetesError as error:
        if error.status in (0, 401):
            raise
        if error.status == 403:
            return KubeflowAnswer(service, {}, f"you may not ask {service} through the API server", _NAME_IT, True)
        look = f"kubectl get pods --namespace {HOME} --selector app={SERVICE}"
        return KubeflowAnswer(service, {}, f"{service} does not answer ({error.message or error.reason})", look)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and answer:
        return KubeflowAnswer(service, answer)
    return KubeflowAnswer(service, {}, f"no {service} that answers as the API does", _NAME_IT, True)


def _at_endpoint(connection: ConnectionSettings, probe: ClusterProbe) -> KubeflowAnswer:
    from pipeline.cluster.api.connection import connect

    try:
        api = connect(connection.model_copy(update={"namespace": connection.namespace or probe.namespace}))
    except SharpenError as error:
        return KubeflowAnswer(connection.endpoint, {}, str(error), _FORWARD)
    return KubeflowAnswer(api.endpoint, api.served)
