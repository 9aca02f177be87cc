"""Workflows and documentation, by the tools made for them where `make lint-workflows` or `make docs` set them up."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.project.words import ROOT

FORMS = [str(path) for path in sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")) if path.stem != "config"]


def program(environment: str, name: str) -> str:
    path = ROOT / environment / "bin" / name
    if not path.exists():
        pytest.skip(f"{environment} is not set up")
    return str(path)


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing() -> None:
    run(program(".venv-tools", "zizmor"), "--offline", "--pedantic", ".github")


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", [str(path) for path in sorted((ROOT / ".github/workflows").glob("*.yml"))]),
        ("github-issue-forms", FORMS),
        ("github-issue-config", [".github/ISSUE_TEMPLATE/config.yml"]),
        ("dependabot", [".github/dependabot.yml"]),
        ("citation-file-format", ["CITATION.cff"]),
    ],
)
def test_schemas_hold(schema: str, files: list[str]) -> None:
    assert files
    run(program(".venv-tools", "check-jsonschema"), "--builtin-schema", f"vendor.{schema}", *files)


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    run(program(".venv-docs", "mkdocs"), "build", "--strict", "--site-dir", str(tmp_path / "site"))
    assert "finetune" in (tmp_path / "site/api/index.html").read_text(encoding="utf-8")
