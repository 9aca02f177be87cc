"""Where components put their outputs: inside of the pipeline's root, or KFP's launcher ends the step as failed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

FACES = sorted((Path(__file__).parents[2] / "components").glob("*/component.py"))


def moved(source: str) -> list[str]:
    """Assignments to the ``uri`` of an artifact, which is KFP's: a step writes a card there, and its bulk elsewhere."""
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr == "uri" and isinstance(node.ctx, ast.Store)
    ]


@pytest.mark.parametrize("face", FACES, ids=lambda path: path.parent.name)
def test_no_component_moves_an_artifact_out_of_the_pipelines_root(face: Path) -> None:
    assert moved(face.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "index.uri = result.address",
        "index.uri = result.address or index.uri",
        "index.uri, index.metadata = result.address, {}",
        "index.uri = output_uri(index.uri, name)",
        "index.uri += '/index'",
    ],
)
def test_an_artifact_that_is_moved_is_found(line: str) -> None:
    assert moved(f"def component():\n    address = output_uri(index.uri, name)\n    {line}\n") == ["line 3: index.uri"]


def test_every_component_was_looked_at() -> None:
    assert len(FACES) >= 6
