"""What the steps of the pipeline import, read from their source: a step's imports are in its function."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from components.kfp_context import IMAGE, LAUNCHER_IMAGE
from tests.images.engine import ROOT

_IMAGES = {"IMAGE": IMAGE, "LAUNCHER_IMAGE": LAUNCHER_IMAGE}


def step_imports() -> dict[str, list[str]]:
    """The image that a component names -> the import statements of all components that name it."""
    found: dict[str, list[str]] = {image: [] for image in _IMAGES.values()}
    for path in sorted([*(ROOT / "components").glob("*/component.py"), *(ROOT / "pipeline").glob("*.py")]):
        for image, function in _components(ast.parse(path.read_text(encoding="utf-8"))):
            found[image] += [
                ast.unparse(node) for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)
            ]
    return found


def _components(module: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The functions that are components, and the image of each."""
    for node in module.body:
        for decorator in node.decorator_list if isinstance(node, ast.FunctionDef) else []:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "dsl.component":
                (image,) = (ast.unparse(word.value) for word in decorator.keywords if word.arg == "base_image")
                yield _IMAGES[image], node  # type: ignore[misc]
