"""A small run as a user starts it: its inputs, and the command in a process of its own."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.store.server import EmbeddedStore
from sharpen.store import storage

ROOT = Path(__file__).parents[3]
NOUNS = "cats dogs birds fish horses cows sheep goats ducks mice frogs bears wolves foxes lions tigers".split()
VERBS = "eat see hear chase find like follow hide".split()


def write_examples(path: Path, rows: int = 240) -> None:
    """Queries and passages that share a pair of words: a model can learn to match them."""
    draw = random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            noun, verb, other = draw.choice(NOUNS), draw.choice(VERBS), draw.choice(NOUNS)
            query = f"what do {noun} {verb} {other} {number}"
            passage = f"many {noun} {verb} the {other} and this is passage {number} of the book"
            file.write(json.dumps({"query": query, "pos": [passage], "neg": []}) + "\n")


def write_inputs(folder: Path, base_model: Path, training: str) -> None:
    """Examples, and settings of a run on them that is over soon.

    Args:
        folder: takes both.
        base_model: folder of the model.
        training: settings of the training besides, as YAML.
    """
    write_examples(folder / "examples.jsonl")
    (folder / "my.yaml").write_text(
        f"""
train_data: examples.jsonl
base_model: {base_model}
model_name: tiny
encoder: {{precision: fp32, query_max_len: 32, passage_max_len: 64}}
data: {{test_share: 0.25, dev_share: 0.1}}
mining: {{range_for_sampling: 1-40, negative_number: 4, relative_margin: null}}
training: {{train_group_size: 3, train_batch_size: 32, max_steps: 30, learning_rate: 0.01, {training}}}
promotion: {{min_queries: 10}}
job: {{processes: 2}}
"""
    )


def as_a_user(folder: Path, *arguments: str, **variables: str) -> dict[str, Any]:
    """How the command is started: from the folder, with no AWS variables but those that are given."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {"OMP_NUM_THREADS": "1", "SHARPEN_CACHE": str(folder / "cache"), **variables}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [variables.get("PYTHONPATH"), str(ROOT)]))
    # -P as in the installed command: what is in the working folder is the user's
    command = [sys.executable, "-P", "-m", "pipeline.cli", *arguments]
    return {"args": command, "cwd": folder, "env": environment, "text": True}


def sharpen(folder: Path, *arguments: str, timeout: float = 1800, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command as a user starts it, when it has ended."""
    return subprocess.run(**as_a_user(folder, *arguments, **variables), capture_output=True, timeout=timeout)


def add_examples(folder: Path, rows: int) -> None:
    """The first so many of a list that never changes, newest first, as an export that is sorted by date has them."""
    write_examples(folder / "all.jsonl", 400)
    lines = (folder / "all.jsonl").read_text().splitlines(keepends=True)[:rows]
    (folder / "examples.jsonl").write_text("".join(reversed(lines)))


@contextmanager
def opened(folder: Path) -> Iterator[str]:
    """The runs' embedded store, to look into; its root."""
    with EmbeddedStore(folder / ".sharpen" / "store") as embedded, pytest.MonkeyPatch.context() as patch:
        for name, value in embedded.env().items():
            patch.setenv(name, value)
        yield embedded.root


def steps(told: str) -> list[str]:
    """Names of the steps that were begun, as the screen heads them."""
    return re.findall(r"^ +\d+:\d\d  (.+)$", told, flags=re.MULTILINE)


def written(store: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """Address of the newest run's folder, and what its steps told KFP."""
    newest = max((folder / ".sharpen" / "runs").iterdir(), key=lambda path: path.stat().st_mtime)
    outputs = {path.parent.name: json.loads(path.read_text()) for path in newest.glob("kfp/*/*/executor_output.json")}
    return storage.join(store, "runs", newest.name), outputs


def overtaken_by(folder: Path, store: str, model: Path) -> str:
    """A folder for PYTHONPATH: as soon as a run's promotion starts, this model is promoted by somebody else."""
    with storage.publish(storage.join(store, "others", "finetuning"), producer="finetuning") as target:
        shutil.copytree(model, target, dirs_exist_ok=True)
    (folder / "overtaking").mkdir()
    (folder / "overtaking" / "sitecustomize.py").write_text(
        f"""import sys
if "promotion" in sys.orig_argv:
    sys.path.insert(0, {str(ROOT)!r})
    from sharpen.registry import registry
    if not registry.champion_address({store!r}, "tiny"):
        registry.register({store!r}, "tiny", {store!r} + "/others/finetuning", {{}}, run_id="another")
        registry.promote({store!r}, "tiny", "v0001", reason="was first")
"""
    )
    return str(folder / "overtaking")
