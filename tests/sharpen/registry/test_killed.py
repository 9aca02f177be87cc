"""kill -9 at every write of a promotion, and the very same call once more."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sharpen.registry import registry
from sharpen.store import storage
from sharpen.store.local_store import is_internal_file

Make = Callable[..., str]


@pytest.mark.processes
def test_a_promotion_that_is_killed_at_any_write_is_completed_by_the_next(root: str, make_evaluation: Make) -> None:
    # few files: each is one more write
    model = storage.join(root, "runs", "1", "finetuning")
    with storage.publish(model, producer="finetuning") as folder:
        (folder / "model.safetensors").write_text("w1")
    program = Path(__file__).with_name("killed_promotions.py")
    command = [sys.executable, str(program), root, model, make_evaluation(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    ends = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    *killed, last = ends
    assert {end["killed"] for end in killed} == {-9} and last["killed"] == 0
    assert len(killed) >= 12
    for end in ends:
        assert end["again"] == 0, (end, done.stderr)
        # nobody waits for a promoter that can be seen to be dead
        assert end["seconds"] < 20
        name = end["name"]
        assert registry.list_versions(root, name) == ["v0001"]
        champion = registry.read_champion(root, name)
        assert champion and (champion.version, champion.history) == ("v0001", [])
        versions = storage.join(root, "models", name, "versions")
        marker = storage.read_manifest(champion.address)
        # whole, and nothing half-written beside it
        storage.open_artifact(champion.address)
        there = {file.name for file in storage.list_files(versions)} - {"v0001/_WRITING.json"}
        assert there == {f"v0001/{name}" for name in ["_SUCCESS.json", *(file["name"] for file in marker.files)]}
        if not storage.is_remote(root):
            # a look whether a folder can be written may leave its file of 4 KB
            hidden = [path for path in Path(versions).iterdir() if is_internal_file(path.name)]
            assert {path.name.partition(".writing-")[0] for path in hidden} <= {".check"}


@pytest.mark.processes
def test_what_people_decide_is_finished_by_the_next_call_after_a_kill_at_any_write(root: str) -> None:
    models = [storage.join(root, "runs", str(number)) for number in range(3)]
    for number, model in enumerate(models):
        with storage.publish(model, producer="finetuning") as folder:
            (folder / "model.safetensors").write_text(f"w{number}")
    command = [sys.executable, "-m", "tests.sharpen.registry.killed_decisions", root, *models]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    ends = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for what, least in (("approve", 2), ("alias", 1), ("delete", 5)):
        *killed, last = [end for end in ends if end["what"] == what]
        assert {end["killed"] for end in killed} == {-9} and last["killed"] == 0, (what, done.stderr)
        assert len(killed) >= least, (what, killed)
    assert {end["again"] for end in ends} == {0}, done.stderr
