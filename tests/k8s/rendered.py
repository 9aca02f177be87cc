"""What kustomize makes of the manifests."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.tools import tool

K8S = Path(__file__).parents[2] / "k8s"
COMPONENTS = sorted(path.name for path in (K8S / "components").iterdir())
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())


@cache
def render(folder: Path) -> list[dict[str, Any]]:
    """All documents of a kustomization."""
    done = subprocess.run([tool("kubectl"), "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def with_component(name: str, folder: Path) -> list[dict[str, Any]]:
    """The base with one component, in an overlay made in an empty folder."""
    shutil.copytree(K8S, folder / "k8s")
    overlay = folder / "k8s" / "overlays" / "one"
    overlay.mkdir()
    names = ("launcher", "cpu", "cuda")
    kustomization = {
        "namespace": "team",
        "resources": ["../../base"],
        "components": [f"../../components/{name}"],
        "images": [{"name": f"sharpen-python-{name}", "newName": f"r.example/{name}", "newTag": "1"} for name in names],
    }
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return render(overlay)


def pods(document: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Metadata and spec of every pod template in a document, however deep."""
    if isinstance(document, dict):
        spec = document.get("spec")
        if isinstance(spec, dict) and isinstance(spec.get("containers"), list):
            yield document.get("metadata") or {}, spec
        for inner in document.values():
            yield from pods(inner)
    elif isinstance(document, list):
        for inner in document:
            yield from pods(inner)


def of_kind(documents: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """name -> document, of one kind."""
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}
