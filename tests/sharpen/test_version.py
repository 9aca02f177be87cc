"""The code version of a step: of its own code and all that it imports, and of nothing else."""

from __future__ import annotations

from pathlib import Path

import grimp
import pytest

import sharpen
from sharpen.version import code_version, source_files

ROOT = Path(sharpen.__file__).parent
STEPS = ("sharpen.training.train", "sharpen.training.inputs", "sharpen.evaluation.evaluate")


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("sharpen", cache_dir=None)


@pytest.mark.parametrize("module", STEPS)
def test_the_files_are_those_of_the_import_graph(graph: grimp.ImportGraph, module: str) -> None:
    # what the package imports for type checkers is no import of everyone's
    for imported in graph.find_modules_directly_imported_by("sharpen"):
        graph.remove_import(importer="sharpen", imported=imported)
    names = {module}
    # an import of a module runs its packages, which import more
    while more := {
        other
        for name in names
        for other in {name.rpartition(".")[0], *graph.find_modules_directly_imported_by(name)} - {""}
        if other not in names
    }:
        names |= more
    found = {path.relative_to(ROOT.parent).with_suffix("") for path in source_files(module)}
    assert {".".join(path.parts).removesuffix(".__init__") for path in found} == names


def test_another_steps_code_does_not_count() -> None:
    training = {path.relative_to(ROOT).parts[0] for path in source_files("sharpen.training.train")}
    assert {"training", "losses", "models", "hardware", "data", "version.py"} <= training
    assert not training & {"mining", "evaluation", "registry", "retraining", "jobs"}
    assert "index/build.py" not in {str(path.relative_to(ROOT)) for path in source_files("sharpen.training.train")}
    evaluation = {path.relative_to(ROOT).parts[0] for path in source_files("sharpen.evaluation.evaluate")}
    assert not evaluation & {"training", "mining", "losses"}


def test_versions_differ_by_what_is_counted() -> None:
    assert len({code_version(), *(code_version(step) for step in STEPS)}) == 4
    assert code_version(STEPS[0]) == code_version(STEPS[0])
