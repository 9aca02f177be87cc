"""Which cluster, which images: the variables of the suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def _variable(name: str, default: str | None, meaning: str) -> Any:
    """A field that comes from a variable; without a default it must be set."""
    metadata = {"variable": name, "default": default, "meaning": meaning}
    return field(metadata=metadata) if default is None else field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Environment:
    """The cluster that the tests run on, from environment variables."""

    kubeconfig: str = _variable("KUBECONFIG", None, "kubeconfig of the cluster")
    endpoint: str = _variable("KFP_ENDPOINT", None, "address of Kubeflow's pages or API that outlives its restart")
    image: str = _variable("SHARPEN_TEST_IMAGE", None, "image of the steps, which the cluster can pull")
    launcher_image: str = _variable("SHARPEN_TEST_LAUNCHER_IMAGE", "", "smaller image of the launcher's steps")
    namespace: str = _variable("SHARPEN_TEST_NAMESPACE", "kubeflow", "namespace that runs execute in")
    kubeflow: str = _variable("SHARPEN_TEST_KUBEFLOW", "kubeflow", "namespace of Kubeflow Pipelines")
    account: str = _variable("SHARPEN_TEST_ACCOUNT", "sharpen-pipeline", "service account of the steps")
    store: str = _variable("SHARPEN_TEST_STORE", "", "address below which the tests write; empty: the cluster's own")
    store_deployment: str = _variable(
        "SHARPEN_TEST_STORE_DEPLOYMENT", "seaweedfs", "Deployment of the store, in Kubeflow's namespace"
    )
    config: str = _variable("SHARPEN_TEST_CONFIG", str(ROOT / "tests/cluster/run.yaml"), "settings of the runs")
    disruptive: str = _variable(
        "SHARPEN_TEST_DISRUPTIVE", "", "1: also stop the store and restart Kubeflow's API, which everybody notices"
    )
    patience: str = _variable("SHARPEN_TEST_PATIENCE", "1", "factor of all limits, for a busy machine")
    results: str = _variable(
        "SHARPEN_TEST_RESULTS", str(ROOT / "build/test-cluster.md"), "file that the table is written to"
    )


def missing(variables: Mapping[str, str]) -> str:
    """Why there is no cluster to test on, in one line; empty: there is one."""
    absent = [
        found.metadata["variable"]
        for found in fields(Environment)
        if found.metadata["default"] is None and not variables.get(found.metadata["variable"])
    ]
    return f"set {', '.join(absent)}: tests/cluster/README.md" if absent else ""


def from_variables(variables: Mapping[str, str]) -> Environment:
    """The environment; an empty variable is one that is not set. Raises KeyError when `missing` says why."""
    values: dict[str, Any] = {}
    for found in fields(Environment):
        given = variables.get(found.metadata["variable"]) or found.metadata["default"]
        if given is None:
            raise KeyError(found.metadata["variable"])
        values[found.name] = given
    return Environment(**values)
