"""A store that goes away while checkpoints and the model are uploaded: nothing that was trained is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.store.server import EmbeddedStore
from sharpen.retry import at_most
from sharpen.store import storage
from sharpen.training.checkpoints.checkpoints import Checkpoints
from sharpen.uri import StoreUnavailable
from tests.sharpen.training.small_data import small_data
from tests.sharpen.training.test_checkpoints import make, run, settings, stored
from tests.store_outages import begin, end, outage_at, own_store

pytestmark = pytest.mark.store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    with own_store(tmp_path_factory.mktemp("outages")) as one:
        yield one


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outage data") / "set"
    with storage.publish(str(folder), producer="test") as place:
        small_data().save(place)
    return folder


@pytest.mark.model
def test_checkpoints_and_the_model_arrive_although_the_store_was_away(
    store: EmbeddedStore, data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped in the middle of a checkpoint's copy; then paused in the middle of the model's upload."""
    output = storage.join(store.root, "trained")
    with (
        outage_at(store, "paused", 1, lambda remote: remote.key == "trained/model.safetensors") as paused,
        outage_at(store, "stopped", 1, lambda remote: remote.key.endswith("step-6/model.safetensors")) as stopped,
    ):
        facts = run(data, tiny_model, output, settings(tmp_path))
    assert len(paused) == len(stopped) == 1
    assert (storage.open_artifact(output) / "model.safetensors").is_file() and facts["steps"] == 8
    assert not storage.list_files(f"{output}-checkpoints")
    said = capsys.readouterr()
    assert "error" not in said.out + said.err and "Traceback" not in said.err


@pytest.mark.model
def test_a_model_that_cannot_be_uploaded_fails_the_run_and_is_not_trained_again(
    store: EmbeddedStore,
    data: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = storage.join(store.root, "kept")
    chosen = settings(tmp_path, save_steps=4)
    at_the_upload = outage_at(store, "stopped", 2, lambda remote: remote.key == "kept/model.safetensors")
    with monkeypatch.context() as patch, at_the_upload, pytest.raises(StoreUnavailable) as caught:
        patch.setenv("SHARPEN_STORE_TIMEOUT", "1")
        run(data, tiny_model, output, chosen)
    assert caught.value.exit_code == 1 and "cannot reach the object store" in str(caught.value)
    assert not storage.is_complete(output)
    capsys.readouterr()
    run(data, tiny_model, output, chosen)
    assert "going on from" in (out := capsys.readouterr().out) and "checkpoint-8" in out
    assert storage.open_artifact(output).is_dir()


def test_training_does_not_wait_for_a_store_that_is_away(
    store: EmbeddedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its checkpoints stay on the disk, and the newest one's copy, which is tried until the store is back, brings all.

    A training that begins does wait: beginning anew would throw away what was trained.
    """
    address = storage.join(store.root, "copies")
    written = Checkpoints(tmp_path / "local", address, limit=3)
    make(written, 2)
    written.wait()
    begin(store, "stopped")
    try:
        began = time.monotonic()
        make(written, 4)
        make(written, 6)
        assert time.monotonic() - began < 30
        other: Any = Checkpoints(tmp_path / "other", address).copy
        with at_most(0.3), pytest.raises(StoreUnavailable):
            other.steps()
        with at_most(0.3), pytest.raises(StoreUnavailable):
            other.fetch(2)
    finally:
        end(store, "stopped")
    written.wait(patience=30)
    assert {name.split("/")[0] for name in stored(address)} == {"step-2", "step-4", "step-6"}
    assert capsys.readouterr().out.count("training goes on") == 1
    assert other.steps() == {2, 4, 6} and other.fetch(2)
