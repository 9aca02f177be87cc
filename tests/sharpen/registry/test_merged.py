"""A merged model in the registry: what it was merged from is its lineage, and no part of its content."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sharpen.registry import copies, registry
from sharpen.registry.lineage import read_lineage
from sharpen.store import storage

pytestmark = pytest.mark.parametrize("root", ["disk"], indirect=True)
NAME = "merged"


def merged(root: str, make_model: Callable[..., str], weight: float) -> str:
    """The address of a model with a merging.json."""
    address = storage.join(root, "runs", f"merged-{weight}")
    facts = {"method": "task_arithmetic", "weight": weight, "reason": "as set"}
    roles = [("base", "hub/base", 1 - 2 * weight), ("tuned", "runs/a", weight), ("tuned", "runs/b", weight)]
    facts["models"] = [{"role": role, "address": of, "coefficient": value} for role, of, value in roles]
    with storage.publish(address, producer="merging") as folder:
        for file in storage.list_files(tuned := make_model("w")):
            (folder / file.name).parent.mkdir(exist_ok=True, parents=True)
            (folder / file.name).write_bytes(storage.read_bytes(storage.join(tuned, file.name)))
        (folder / storage.MARKER).unlink()
        (folder / "merging.json").write_text(json.dumps(facts))
    return address


def test_what_it_was_merged_from_is_its_lineage(root: str, make_model: Callable[..., str], tmp_path: Path) -> None:
    made = [registry.register(root, NAME, merged(root, make_model, weight), {}, run_id="r") for weight in (0.3, 0.4)]
    lineage = read_lineage(root, NAME, "v0001")
    assert lineage.parents == {
        "merged 0.4 x base": "hub/base",
        "merged 0.3 x tuned 1": "runs/a",
        "merged 0.3 x tuned 2": "runs/b",
    }
    assert lineage.settings["merging"] == {"method": "task_arithmetic", "weight": 0.3, "reason": "as set"}
    # equal weights are one version, however they came about; a hub learns no addresses of this store
    assert made[0].content == made[1].content and made[1].version == "v0001"
    copies.export(root, NAME, "v0001", tmp_path / "hub")
    assert not (tmp_path / "hub" / "merging.json").exists()
