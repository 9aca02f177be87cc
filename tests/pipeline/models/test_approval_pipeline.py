"""The pipeline that a person starts in Kubeflow's UI to approve or reject a version."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from pipeline.models.approval_pipeline import decide_approval
from pipeline.parameters import Settings
from sharpen.registry import registry
from tests.models_command import sharpen_models
from tests.pipeline.models.test_commands import NAME, root
from tests.sharpen.reports.html_pages import check_page

__all__ = ["root"]


def decide(root: str, folder: Path, decision: str) -> str:
    page = SimpleNamespace(path=str(folder / "page.html"))
    message = decide_approval.python_func(NAME, "v0002", decision, "Ann", "", "slack", root, page)
    assert message in check_page((folder / "page.html").read_text())
    return message


def test_it_approves_and_says_so(root: str, tmp_path: Path) -> None:
    assert decide(root, tmp_path, "approve") == f"{NAME}: champion is now v0002"
    assert "approved by Ann" in sharpen_models("show", NAME, "--store", root).out
    assert registry.champion_address(root, NAME).endswith("v0002")
    with pytest.raises(SystemExit) as ended:
        decide(root, tmp_path, "approv")
    assert ended.value.code == 2


def test_it_is_compiled_with_choices_and_the_secret_of_the_webhook(tmp_path: Path) -> None:
    from pipeline.cluster.compiling import compile_pipeline

    file = tmp_path / "approval.yaml"
    compile_pipeline(Settings.checked({"model_name": "search"}), file, image="registry/cpu:1", approval=True)
    spec, platform = yaml.safe_load_all(file.read_text())
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    assert inputs["decision"]["literals"] == ["approve", "reject"]
    assert inputs["model_name"]["defaultValue"] == "search"
    assert {name for name, one in inputs.items() if "defaultValue" not in one} == {"version", "decided_by"}
    (executor,) = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    secrets = [one["secretName"] for one in executor["secretAsEnv"]]
    assert "sharpen-webhook" in secrets
