"""What may import what, and how fast: measured in a fresh interpreter, not read from the source."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "faiss", "datasets", "accelerate", "scipy")
FACES = sorted(
    str(p.relative_to(ROOT).with_suffix("")).replace("/", ".") for p in ROOT.glob("components/*/component.py")
)
SETTINGS = sorted(
    str(p.relative_to(ROOT).with_suffix("")).replace("/", ".") for p in ROOT.glob("sharpen/**/settings.py")
)
PIPELINE = sorted(
    ".".join(p.relative_to(ROOT).with_suffix("").parts) for p in ROOT.glob("pipeline/**/*.py") if p.stem != "__init__"
)

PROGRAM = """
import json, sys
{before}
earlier = set(sys.modules)
import {module}
print(json.dumps(sorted({{name.partition(".")[0] for name in set(sys.modules) - earlier}})))
"""
# What a face may load beside kfp and Python's own modules.
LIGHT = {"annotated_types", "components", "pydantic", "pydantic_core", "sharpen", "typing_inspection"}


def imported(module: str, before: str = "") -> set[str]:
    """Top-level packages that an interpreter has loaded for the module, and had not after `before`."""
    program = PROGRAM.format(module=module, before=before)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


FIRST_WITH = """
import importlib, sys
for module in {modules}:
    importlib.import_module(module)
    if found := sorted({heavy} & set(sys.modules)):
        sys.exit(f"{{module}} imports {{', '.join(found)}}")
"""


def test_settings_and_pipeline_import_nothing_heavy() -> None:
    """One interpreter imports them one after another: what all of them load together, none loads alone."""
    assert len(SETTINGS) > 5 and len(PIPELINE) > 30
    program = FIRST_WITH.format(modules=SETTINGS + PIPELINE, heavy=set(HEAVY))
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", FACES)
def test_a_components_face_adds_only_light_packages_to_kfp(module: str) -> None:
    assert imported(module, before="import kfp.dsl") - sys.stdlib_module_names <= LIGHT


def test_there_is_a_face_for_every_step() -> None:
    steps = {path.parent.name for path in ROOT.glob("components/*/__init__.py")}
    assert {face.split(".")[1] for face in FACES} == steps
    assert {path.parent.name for path in ROOT.glob("components/*/__main__.py")} == steps


WITHOUT = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
for module in {modules}:
    importlib.import_module(module)
"""


def test_promotion_imports_without_what_the_launchers_image_lacks() -> None:
    rooms = ["components/promotion", "sharpen/registry", "sharpen/registry/report", "sharpen/training/report"]
    rooms += ["sharpen/diagnosis", "sharpen/diagnosis/causes", "sharpen/diagnosis/report"]
    modules = [f"{room.replace('/', '.')}.{path.stem}" for room in rooms for path in (ROOT / room).glob("*.py")]
    modules = [name for name in modules if name.rpartition(".")[2] not in ("__init__", "__main__", "component")]
    modules.append("pipeline.run_end")
    program = WITHOUT.format(absent={*HEAVY, "numpy", "polars", "safetensors"}, modules=modules)
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
