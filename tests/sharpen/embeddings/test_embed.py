"""Encoding with the vector cache: what is computed again and what is not, counted at forward calls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sharpen.embeddings import embed, embed_texts, memmap, not_finite
from sharpen.embeddings.encoding import encode
from sharpen.embeddings.shards import KEYS, VECTORS
from sharpen.errors import InputError
from sharpen.settings import EncoderSettings
from tests.sharpen.embeddings.counting import TEXTS, Counted, cache, shards

__all__ = ["cache"]  # the fixture
pytestmark = pytest.mark.model


def test_an_unchanged_corpus_is_computed_once_and_is_bit_for_bit_the_same(tiny_model: Path) -> None:
    off = embed_texts(Counted(tiny_model, vector_cache="off").encoder, TEXTS, "passage")
    first = Counted(tiny_model)
    kept = embed_texts(first.encoder, TEXTS, "passage")
    assert first.texts == len(TEXTS)
    second = Counted(tiny_model)
    assert second.computed(TEXTS) == 0
    read = embed_texts(second.encoder, TEXTS[::-1], "passage")
    assert second.texts == 0
    assert read.dtype == np.float32 and read.shape == (len(TEXTS), second.encoder.dimension)
    np.testing.assert_array_equal(kept, off)
    np.testing.assert_array_equal(read[::-1], off)
    np.testing.assert_array_equal(off, encode(second.encoder, TEXTS, "passage"))


def test_a_changed_corpus_computes_only_what_is_new(tiny_model: Path) -> None:
    counted = Counted(tiny_model)
    assert counted.computed(TEXTS[:50]) == 50
    assert counted.computed([*TEXTS[40:], TEXTS[0], TEXTS[59]]) == 10
    assert counted.computed(TEXTS) == 0
    expected = encode(counted.encoder, TEXTS, "passage")
    # the last bits depend on the texts that shared a micro-batch
    np.testing.assert_allclose(embed_texts(counted.encoder, TEXTS, "passage"), expected, atol=1e-6)


def test_duplicates_are_computed_once_with_and_without_a_cache(tiny_model: Path) -> None:
    assert Counted(tiny_model).computed(TEXTS * 3) == len(TEXTS)
    off = Counted(tiny_model, vector_cache="off")
    assert off.computed(TEXTS * 3) == len(TEXTS)
    assert off.computed(TEXTS) == len(TEXTS)


def test_a_few_texts_are_encoded_without_a_look_at_the_cache(
    tiny_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "MIN_TEXTS_TO_CACHE", 5)
    counted = Counted(tiny_model)
    assert counted.computed(TEXTS[:4] * 3) == counted.computed(TEXTS[:4]) == 4
    assert not cache.exists()
    assert (counted.computed(TEXTS[:5]), counted.computed(TEXTS[:5])) == (5, 0)


def test_rows_that_are_not_numbers_are_found_in_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memmap, "_ROWS_AT_ONCE", 4)
    vectors = np.ones((10, 3), dtype=np.float32)
    assert not_finite(vectors).tolist() == not_finite(vectors[:0]).tolist() == []
    vectors[[3, 4, 9], [0, 2, 1]] = [np.nan, np.inf, -np.inf]
    assert not_finite(vectors).tolist() == [3, 4, 9]


def test_nothing_to_encode(tiny_model: Path, cache: Path) -> None:
    counted = Counted(tiny_model)
    assert embed_texts(counted.encoder, [], "query").shape == (0, counted.encoder.dimension)
    assert counted.texts == 0 and not shards(cache)


def test_another_length_of_vectors_is_one_clear_line(tiny_model: Path, cache: Path) -> None:
    counted = Counted(tiny_model)
    counted.computed(TEXTS)
    (folder,) = cache.iterdir()
    description = folder / "encoder.json"
    description.write_text(description.read_text().replace('"dimension": 32', '"dimension": 64'))
    with pytest.raises(InputError, match=r"have 64 numbers, the model gives 32; delete the folder") as caught:
        embed_texts(counted.encoder, TEXTS, "passage")
    assert len(caught.value.faults) == 1 and str(folder) in caught.value.faults[0]


def test_vectors_that_are_not_numbers_are_returned_and_never_kept(tiny_model: Path) -> None:
    counted = Counted(tiny_model)
    number = counted.encoder.tokenizer.convert_tokens_to_ids("zero")
    counted.encoder.model.embeddings.word_embeddings.weight.data[number] = float("nan")
    texts = [*TEXTS, "zero", "sea zero"]
    vectors = embed_texts(counted.encoder, [*texts, "zero"], "passage")
    assert np.flatnonzero(np.isnan(vectors).any(axis=1)).tolist() == [60, 61, 62]
    assert counted.computed(texts) == 2


def test_a_large_result_is_a_file_that_leaves_nothing_behind(
    tiny_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memmap, "IN_MEMORY_BYTES", 1000)
    counted = Counted(tiny_model)
    found = embed_texts(counted.encoder, [*TEXTS, *TEXTS], "passage")
    off = embed_texts(Counted(tiny_model, vector_cache="off").encoder, [*TEXTS, *TEXTS], "passage")
    assert isinstance(found, np.memmap) and isinstance(off, np.memmap)
    np.testing.assert_array_equal(found, off)
    np.testing.assert_array_equal(found[:60], encode(counted.encoder, TEXTS, "passage"))
    assert {path.name.partition(".")[2] for path in cache.glob("*/*")} == {"json", KEYS[1:], VECTORS[1:]}


def test_a_disk_where_nothing_may_be_written_is_a_note_and_an_address_of_the_users_a_fault(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "file" / "cache"))
    counted = Counted(tiny_model)
    assert counted.computed(TEXTS) == counted.computed(TEXTS) == len(TEXTS)
    assert "note: vectors are not kept" in capsys.readouterr().out
    with pytest.raises(InputError, match="not a usable path"):
        Counted(tiny_model, vector_cache=str(tmp_path / "file" / "x")).computed(TEXTS)
    with pytest.raises(InputError, match="vector_cache: must be auto, off, a folder or an s3:// address"):
        EncoderSettings.checked({"vector_cache": "gs://bucket/x"})


def test_a_folder_of_the_users_is_the_cache(tiny_model: Path, tmp_path: Path, cache: Path) -> None:
    shared = str(tmp_path / "shared folder")
    assert Counted(tiny_model, vector_cache=shared).computed(TEXTS) == len(TEXTS)
    assert Counted(tiny_model, vector_cache=shared).computed(TEXTS) == 0
    assert not cache.exists()
