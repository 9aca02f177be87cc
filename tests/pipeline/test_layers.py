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
import json, sys, time
{before}
start = time.perf_counter()
import {module}
print(json.dumps([time.perf_counter() - start, [m for m in {heavy} if m in sys.modules]]))
"""


def imported(module: str, before: str = "") -> tuple[float, list[str]]:
    program = PROGRAM.format(module=module, before=before, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    seconds, heavy = json.loads(done.stdout.splitlines()[-1])
    return seconds, heavy


@pytest.mark.parametrize("module", FACES + SETTINGS + PIPELINE)
def test_faces_settings_and_pipeline_import_nothing_heavy(module: str) -> None:
    _, heavy = imported(module)
    assert heavy == []


@pytest.mark.parametrize("module", FACES)
def test_a_components_face_imports_in_half_a_second_of_processor_time(module: str) -> None:
    # kfp itself takes most of half a second; the rule is about what the face adds.
    timings = sorted(imported(module, before="import kfp.dsl")[0] for _ in range(3))
    assert timings[0] < 0.5


def test_there_is_a_face_for_every_step() -> None:
    assert len(FACES) >= 5


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
    rooms = [ROOT / "components/promotion", ROOT / "sharpen/registry"]
    modules = [f"{room.parent.name}.{room.name}.{path.stem}" for room in rooms for path in room.glob("*.py")]
    modules = [name for name in modules if name.rpartition(".")[2] not in ("__init__", "__main__", "component")]
    program = WITHOUT.format(absent={*HEAVY, "numpy", "polars", "safetensors", "jinja2"}, modules=modules)
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
