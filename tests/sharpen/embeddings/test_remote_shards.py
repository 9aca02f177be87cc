"""The vector cache in an object store that several machines share, against a real store."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharpen.embeddings import embed, embed_texts
from sharpen.embeddings.shards import KEYS, VECTORS
from sharpen.errors import InputError, StepFailed
from sharpen.store import object_store, storage
from sharpen.uri import parse_remote
from tests.sharpen.embeddings.counting import TEXTS, Counted

pytestmark = [pytest.mark.model, pytest.mark.store]


class Machines:
    """Machines with a cache of their own each and one address in common."""

    def __init__(self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
        self.model, self.tmp_path, self.monkeypatch, self.address = model, tmp_path, monkeypatch, address

    def at(self, name: str) -> Counted:
        """An encoder on one of them."""
        self.monkeypatch.setenv("SHARPEN_CACHE", str(self.tmp_path / name))
        return Counted(self.model, vector_cache=self.address)

    def local(self, name: str, ending: str = VECTORS) -> list[Path]:
        return sorted((self.tmp_path / name).glob(f"vectors/*/*{ending}"))

    def stored(self, ending: str = VECTORS) -> list[storage.StoredFile]:
        return [file for file in storage.list_files(self.address) if file.name.endswith(ending)]


@pytest.fixture
def machines(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: str) -> Machines:
    monkeypatch.setattr(embed, "MIN_TEXTS_TO_CACHE", 1)
    return Machines(tiny_model, tmp_path, monkeypatch, f"{s3}/{tmp_path.name}/vectors")


def test_what_one_machine_computed_another_reads_bit_for_bit(machines: Machines) -> None:
    one = machines.at("one")
    expected = embed_texts(one.encoder, TEXTS, "passage")
    assert one.texts == len(TEXTS)
    assert {file.name.partition("/")[2].partition(".")[2] for file in storage.list_files(machines.address)} == {
        "json",
        KEYS[1:],
        VECTORS[1:],
    }
    two = machines.at("two")
    np.testing.assert_array_equal(embed_texts(two.encoder, TEXTS, "passage"), expected)
    assert two.texts == 0
    # and reads it from its own disk from then on
    fetched = machines.local("two")
    assert [path.name for path in fetched] == [path.name for path in machines.local("one")]


def test_only_shards_that_are_wanted_are_fetched(machines: Machines) -> None:
    machines.at("one").computed(TEXTS[:30])
    machines.at("one").computed(TEXTS[30:])
    assert machines.at("two").computed(TEXTS[:10]) == 0
    assert len(machines.local("one")) == 2 and len(machines.local("two")) == 1
    assert machines.at("two").computed([*TEXTS, "something new"]) == 1
    assert machines.at("one").computed([*TEXTS, "something new"]) == 0


def test_what_was_made_without_the_store_is_shared_later(machines: Machines) -> None:
    machines.monkeypatch.setenv("SHARPEN_CACHE", str(machines.tmp_path / "one"))
    Counted(machines.model).computed(TEXTS)
    assert machines.at("one").computed(TEXTS) == 0
    assert machines.at("two").computed(TEXTS) == 0


@pytest.mark.parametrize("ending", [KEYS, VECTORS])
def test_a_damaged_shard_in_the_store_is_noticed_and_made_again(
    machines: Machines, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    machines.at("one").computed(TEXTS)
    (stored,) = machines.stored(ending)
    storage.write_bytes(stored.uri, storage.read_bytes(stored.uri)[:-8])
    assert machines.at("two").computed(TEXTS) == len(TEXTS)
    assert "damaged or cut off; the shard is removed and made again" in capsys.readouterr().out
    assert machines.at("three").computed(TEXTS) == 0


def test_a_shard_that_is_damaged_here_is_fetched_again(machines: Machines) -> None:
    machines.at("one").computed(TEXTS)
    (local,) = machines.local("one")
    local.write_bytes(local.read_bytes()[:-8])
    assert machines.at("one").computed(TEXTS) == 0
    assert [path.name for path in machines.local("one")] == [local.name] and len(machines.stored()) == 1


def test_vectors_without_keys_are_no_shard(machines: Machines) -> None:
    """An upload that was killed half-way."""
    machines.at("one").computed(TEXTS)
    (keys,) = machines.stored(KEYS)
    storage.delete(keys.uri)
    assert machines.at("two").computed(TEXTS) == len(TEXTS)
    assert len(machines.stored(KEYS)) == len(machines.stored(VECTORS)) == 1


def test_a_store_that_fails_half_way_is_a_note_and_leaves_nothing_half_written(
    machines: Machines, capsys: pytest.CaptureFixture[str]
) -> None:
    upload = object_store.upload

    def failing(remote: Any, path: Path, done: Any = None) -> None:
        if path.name.endswith(KEYS):
            raise StepFailed(f"{remote.uri}: the object store answered 500: Internal Error")
        upload(remote, path, done)

    machines.monkeypatch.setattr(object_store, "upload", failing)
    one = machines.at("one")
    expected = embed_texts(one.encoder, TEXTS, "passage")
    said = [line for line in capsys.readouterr().out.splitlines() if "answered 500" in line]
    assert len(said) == 1 and said[0].startswith("note: the vector cache is used on this machine only from here on")
    assert machines.stored(KEYS) == []
    assert one.computed(TEXTS) == 0  # what was computed is kept on the machine
    machines.monkeypatch.setattr(object_store, "upload", upload)
    two = machines.at("two")
    np.testing.assert_array_equal(embed_texts(two.encoder, TEXTS, "passage"), expected)
    assert two.texts == len(TEXTS)
    assert machines.at("three").computed(TEXTS) == 0


def test_an_address_that_cannot_be_used_is_told_before_any_text_is_computed(machines: Machines, s3: str) -> None:
    machines.address = "s3://no-such-bucket-here/vectors"
    counted = machines.at("one")
    with pytest.raises(InputError, match="no bucket 'no-such-bucket-here'") as caught:
        embed_texts(counted.encoder, TEXTS, "passage")
    assert len(caught.value.faults) == 1 and counted.texts == 0


def test_another_length_of_vectors_in_the_store_is_one_clear_line(machines: Machines) -> None:
    machines.at("one").computed(TEXTS)
    (description,) = machines.stored(".json")
    storage.write_json(description.uri, {**storage.read_json(description.uri), "dimension": 64})
    with pytest.raises(InputError, match="have 64 numbers, the model gives 32") as caught:
        machines.at("two").computed(TEXTS)
    assert parse_remote(machines.address).bucket in caught.value.faults[0]


def test_a_local_copy_that_is_gone_is_fetched_again(machines: Machines) -> None:
    machines.at("one").computed(TEXTS)
    shutil.rmtree(machines.tmp_path / "one")
    assert machines.at("one").computed(TEXTS) == 0
