"""The whole pipeline, with a real store that goes away for 90 s in every step: `make test-outages` (an hour).

A first run counts the calls that each step makes of the store. In two more the store is stopped, or paused, in the
middle of each process of each step, and in the training also while a checkpoint and while the model is uploaded.
`SHARPEN_TEST_OUTAGE_SECONDS` sets another length.
"""

from __future__ import annotations

import collections
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.store.server import EmbeddedStore
from tests.pipeline.local.runs import sharpen, write_inputs
from tests.store_outages import KINDS, Call, Watched, own_store

pytestmark = [pytest.mark.model, pytest.mark.store, pytest.mark.processes]

SECONDS = float(os.environ.get("SHARPEN_TEST_OUTAGE_SECONDS", "90"))
TRAINING = "components.finetuning"
UPLOADS = ["-checkpoints/.*/model[.]safetensors$", "/finetuning/model[.]safetensors$"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    with own_store(tmp_path_factory.mktemp("outages")) as one:
        yield one


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("workshop")
    write_inputs(folder, tiny_model, "save_steps: 10")
    return folder


def run(store: EmbeddedStore, workshop: Path, name: str, watched: Watched) -> str:
    """A run in a root of its own, so that each promotes; what it printed."""
    root = f"store={store.root}/{name}"
    variables = {**store.env(), **watched.environment()}
    done = sharpen(workshop, "run", "--config", "my.yaml", "--fresh", "--set", root, timeout=7200, **variables)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def calls(store: EmbeddedStore, workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Call]:
    """The calls of a run that nothing happens to, but for those of the command itself."""
    watched = Watched(tmp_path_factory.mktemp("calls"))
    run(store, workshop, "undisturbed", watched)
    return [call for call in watched.calls() if call.step != "pipeline.cli"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_survives(
    store: EmbeddedStore, workshop: Path, calls: list[Call], tmp_path: Path, kind: str
) -> None:
    counts: dict[str, dict[int, int]] = collections.defaultdict(lambda: collections.defaultdict(int))
    for call in calls:
        counts[call.step][call.process] += 1
    stops: dict[str, list[int | str]] = {
        step: [max(1, min(processes.values()) // 2)] for step, processes in counts.items()
    }
    stops[TRAINING] += UPLOADS
    watched = Watched(tmp_path, stops)
    began = time.monotonic()
    with watched.outages_of(store, kind, SECONDS):
        said = run(store, workshop, kind, watched)
    took = time.monotonic() - began
    print(f"\nstore {kind} {len(watched.outages)} times for {SECONDS:.0f} s; the run took {took:.0f} s")
    for outage in watched.outages:
        print(f"  {outage.step} (call {outage.number}): {outage.uri}")
    assert {outage.step for outage in watched.outages} == set(counts)
    assert sum("model.safetensors" in outage.uri for outage in watched.outages) >= len(UPLOADS)
    assert "promoted" in said
