"""Imports of a program: without collections, and left out of later ones."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sharpen.processes.lasting_imports import lasting_imports


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """As it was; what the test froze can be collected again."""
    yield
    gc.unfreeze()
    gc.enable()


def test_what_is_imported_is_left_out_of_collections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported_once.py").write_text("import gc\nwas_on = gc.isenabled()\n")
    monkeypatch.syspath_prepend(tmp_path)
    gc.unfreeze()
    with lasting_imports():
        import imported_once  # type: ignore[import-not-found]
    assert not imported_once.was_on and gc.isenabled()
    frozen = gc.get_freeze_count()
    assert frozen > 0
    # where nothing is left to import, what the caller has made meanwhile stays as it is
    with lasting_imports():
        import imported_once
    assert gc.get_freeze_count() <= frozen
    del sys.modules["imported_once"]


def test_a_collector_that_was_off_stays_off_and_a_fault_turns_it_on_again() -> None:
    with pytest.raises(ModuleNotFoundError), lasting_imports():
        import no_such_module_anywhere  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled()
    gc.disable()
    with lasting_imports():
        pass
    assert not gc.isenabled()
