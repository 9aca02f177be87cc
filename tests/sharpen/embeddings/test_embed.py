"""The vector cache: what is computed again and what is not, counted at the encoder's forward calls."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sharpen.embeddings import embed, embed_texts, memmap, not_finite, writer
from sharpen.embeddings.encoding import encode
from sharpen.embeddings.pruning import prune
from sharpen.embeddings.shards import KEYS, VECTORS, ShardFolder
from sharpen.errors import InputError
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.store import local_store

pytestmark = pytest.mark.model

WORDS = "river tree moon milk winter train doctor yellow number sugar".split()
TEXTS = [" ".join([WORDS[number % 10], WORDS[number // 10], *["sea"] * (number % 7)]) for number in range(60)]


class Counted:
    """An encoder whose encoded texts are counted."""

    def __init__(self, model: Path, **settings: Any) -> None:
        values = {"precision": "fp32", "passage_max_len": 32, "query_max_len": 32, **settings}
        self.encoder = Encoder.load(str(model), EncoderSettings.checked(values), device="cpu")
        self.texts = 0
        whole = self.encoder.forward

        def forward(input_ids: torch.Tensor, *others: Any, **more: Any) -> torch.Tensor:
            self.texts += len(input_ids)
            return whole(input_ids, *others, **more)

        self.encoder.forward = forward  # type: ignore[method-assign]

    def computed(self, texts: list[str], kind: Any = "passage", instructions: list[str | None] | None = None) -> int:
        """How many texts were computed for these."""
        before = self.texts
        embed_texts(self.encoder, texts, kind, instructions)
        return self.texts - before


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "a cache"))
    monkeypatch.setattr(embed, "MIN_TEXTS_TO_CACHE", 1)
    return tmp_path / "a cache" / "vectors"


def shards(cache: Path, ending: str = VECTORS) -> list[Path]:
    return sorted(cache.glob(f"*/*{ending}"))


def altered(model: Path, folder: Path, change: Callable[[Path], None]) -> Path:
    shutil.copytree(model, folder)
    change(folder)
    return folder


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


def _one_weight(encoder: Encoder) -> None:
    with torch.no_grad():
        encoder.model.embeddings.word_embeddings.weight[7, 3] += 1e-6


def _hidden_weight(encoder: Encoder) -> None:
    encoder.model.encoder.layer[1].output.dense.bias.data[0] += 1e-6  # an optimiser's way, unseen by autograd


def _lower_case(encoder: Encoder) -> None:
    from tokenizers.normalizers import BertNormalizer

    encoder.tokenizer.backend_tokenizer.normalizer = BertNormalizer(lowercase=False)


def _activation(encoder: Encoder) -> None:
    encoder.model.config.hidden_act = "relu"


@pytest.mark.parametrize("change", [_one_weight, _hidden_weight, _lower_case, _activation])
def test_a_changed_model_never_reads_a_stale_vector(tiny_model: Path, change: Callable[[Encoder], None]) -> None:
    assert Counted(tiny_model).computed(TEXTS) == len(TEXTS)
    counted = Counted(tiny_model)
    assert counted.computed(TEXTS) == 0
    change(counted.encoder)
    assert counted.computed(TEXTS) == len(TEXTS)
    np.testing.assert_array_equal(
        embed_texts(counted.encoder, TEXTS, "passage"), encode(counted.encoder, TEXTS, "passage")
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"passage_max_len": 31},
        {"passage_instruction_for_retrieval": "text: "},
        {"sentence_pooling_method": "cls"},
        {"normalize_embeddings": False},
        {"precision": "bf16"},
    ],
)
def test_a_changed_setting_never_reads_a_stale_vector(tiny_model: Path, settings: dict[str, Any]) -> None:
    assert Counted(tiny_model).computed(TEXTS) == len(TEXTS)
    assert Counted(tiny_model, **settings).computed(TEXTS) == len(TEXTS)
    assert Counted(tiny_model, **settings).computed(TEXTS) == 0


@pytest.mark.parametrize(
    "settings",
    [{"query_max_len": 16}, {"query_instruction_for_retrieval": "find: "}, {"batch_tokens": 64}, {"vector_cache": ""}],
)
def test_what_does_not_concern_passages_leaves_theirs_valid(tiny_model: Path, settings: dict[str, Any]) -> None:
    assert Counted(tiny_model).computed(TEXTS) == len(TEXTS)
    assert Counted(tiny_model, **settings).computed(TEXTS) == (len(TEXTS) if "vector_cache" in settings else 0)


def test_queries_and_passages_and_instructions_are_kept_apart(tiny_model: Path) -> None:
    counted = Counted(tiny_model)
    assert counted.computed(["cats"], "passage") == 1
    assert counted.computed(["cats"], "query") == 1
    assert counted.computed(["cats", "cats", "cats"], "query", ["find ", None, ""]) == 1
    assert counted.computed(["cats", "cats"], "query", ["seek ", "find "]) == 1
    found = embed_texts(counted.encoder, ["cats", "cats"], "query", ["find ", None])
    np.testing.assert_allclose(found, encode(counted.encoder, ["find cats", "cats"], "query"), atol=1e-6)


def test_the_same_model_in_another_folder_reads_the_same_vectors(tiny_model: Path, tmp_path: Path) -> None:
    counted = Counted(tiny_model)
    counted.computed(TEXTS)
    assert Counted(altered(tiny_model, tmp_path / "elsewhere", lambda _: None)).computed(TEXTS) == 0
    counted.encoder.save(tmp_path / "saved")
    assert Counted(tmp_path / "saved").computed(TEXTS) == 0


@pytest.mark.parametrize("ending", [KEYS, VECTORS])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_shard_is_noticed_and_made_again(
    tiny_model: Path, cache: Path, capsys: pytest.CaptureFixture[str], ending: str, damage: str
) -> None:
    counted = Counted(tiny_model)
    expected = embed_texts(counted.encoder, TEXTS[:40], "passage")
    (damaged,) = shards(cache, ending)
    counted.computed(TEXTS[40:])
    content = bytearray(damaged.read_bytes())
    content[-5] ^= 1
    damaged.write_bytes(content if damage == "flip" else content[:-8])
    if damage == "gone":
        damaged.unlink()
    capsys.readouterr()
    assert counted.computed(TEXTS) == 40
    said = capsys.readouterr().out
    assert (damage, ending) == ("gone", KEYS) or "removed and made again" in said
    np.testing.assert_allclose(embed_texts(counted.encoder, TEXTS[:40], "passage"), expected, atol=1e-6)
    assert Counted(tiny_model).computed(TEXTS) == 0


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


def test_shards_are_written_as_the_work_goes_and_none_is_half(
    tiny_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was finished when the work broke off is not computed again."""
    monkeypatch.setattr(writer, "SHARD_BYTES", 1)
    monkeypatch.setattr("sharpen.models.micro_batches.CPU_PIECE", 64)
    whole = embed_texts(Counted(tiny_model, vector_cache="off").encoder, TEXTS, "passage")
    counted = Counted(tiny_model)
    forward, calls = counted.encoder.forward, []

    def broken(input_ids: torch.Tensor, *others: Any, **more: Any) -> torch.Tensor:
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(len(input_ids))
        return forward(input_ids, *others, **more)

    counted.encoder.forward = broken  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        embed_texts(counted.encoder, TEXTS, "passage")
    assert len(shards(cache)) == len(shards(cache, KEYS)) == 5
    again = Counted(tiny_model)
    assert again.computed(TEXTS) == len(TEXTS) - sum(calls)
    np.testing.assert_array_equal(embed_texts(again.encoder, TEXTS, "passage"), whole)


def test_leftovers_of_killed_writers_are_no_shards_and_go_when_they_are_old(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path / "shards", {}, 2)
    name = folder.add(np.array([b"k" * 16]), np.ones((1, 2)))
    half, fresh = folder.vectors_path("left-behind"), folder.folder / ".shard.writing-0123"
    shutil.copy(folder.vectors_path(name), half)
    fresh.mkdir()
    folder.collect_garbage()
    assert half.exists() and fresh.exists() and folder.names() == [name]
    for path in (half, fresh):
        os.utime(path, (0, 0))
    folder.collect_garbage()
    assert not half.exists() and not fresh.exists() and folder.names() == [name]


PROGRAM = """
    import sys
    import numpy as np
    from sharpen.models import micro_batches
    from sharpen.models.encoder import Encoder
    from sharpen.settings import EncoderSettings
    from sharpen.embeddings import embed_texts, writer
    from tests.sharpen.embeddings.test_embed import TEXTS

    model, pause, out = sys.argv[1:]
    micro_batches.CPU_PIECE, writer.SHARD_BYTES = 64, 1
    settings = {"precision": "fp32", "passage_max_len": 32, "query_max_len": 32}
    encoder = Encoder.load(model, EncoderSettings.checked(settings), device="cpu")
    whole = encoder.forward
    count = 0

    def forward(input_ids, *others, **more):
        global count
        import time

        count += len(input_ids)
        time.sleep(float(pause))
        return whole(input_ids, *others, **more)

    encoder.forward = forward
    vectors = embed_texts(encoder, TEXTS, "passage")
    np.save(out, vectors)
    print("computed", count)
"""


def started(tmp_path: Path, model: Path, pause: float, out: Path) -> subprocess.Popen[str]:
    program = tmp_path / "encode.py"
    program.write_text(textwrap.dedent(PROGRAM))
    return subprocess.Popen(
        [sys.executable, str(program), str(model), str(pause), str(out)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.processes
def test_a_killed_run_resumes_where_it_was(
    tiny_model: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sharpen.models.micro_batches.CPU_PIECE", 64)
    whole = embed_texts(Counted(tiny_model, vector_cache="off").encoder, TEXTS, "passage")
    first = started(tmp_path, tiny_model, 0.3, tmp_path / "first.npy")
    deadline = time.monotonic() + 60
    while len(shards(cache, KEYS)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=30)
    kept = sum(len(np.load(path)) for path in shards(cache, KEYS))
    assert first.returncode == -signal.SIGKILL and 0 < kept < len(TEXTS)
    counted = Counted(tiny_model)
    assert counted.computed(TEXTS) == len(TEXTS) - kept
    np.testing.assert_array_equal(embed_texts(counted.encoder, TEXTS, "passage"), whole)


@pytest.mark.processes
def test_two_processes_at_once_agree_and_leave_a_sound_cache(tiny_model: Path, tmp_path: Path, cache: Path) -> None:
    outs = [tmp_path / "one.npy", tmp_path / "two.npy"]
    both = [started(tmp_path, tiny_model, 0.02, out) for out in outs]
    assert [process.wait(timeout=600) for process in both] == [0, 0]
    np.testing.assert_array_equal(np.load(outs[0]), np.load(outs[1]))
    counted = Counted(tiny_model)
    np.testing.assert_array_equal(embed_texts(counted.encoder, TEXTS, "passage"), np.load(outs[0]))
    assert counted.texts == 0
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


def folder_used(root: Path, name: str, ago: float, size: int = 1000) -> Path:
    folder = root / name
    ShardFolder(folder, {}, 2)
    (folder / f"x{VECTORS}").write_bytes(b"x" * size)
    os.utime(folder / "encoder.json", (time.time() - ago,) * 2)
    return folder


def test_encoders_that_were_not_used_for_longest_go_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [folder_used(tmp_path, str(hours), hours * 3600) for hours in (5, 3, 2, 0)]
    prune(tmp_path, 10_000)
    assert all(folder.exists() for folder in folders)
    prune(tmp_path, 2_500)
    assert [folder.exists() for folder in folders] == [False, False, True, True]
    assert capsys.readouterr().out.count("note: removed vectors") == 2
    prune(tmp_path, 0)
    assert [folder.exists() for folder in folders] == [False, False, False, True]  # in use


def test_the_cache_stays_below_the_size_that_was_set(tiny_model: Path, cache: Path) -> None:
    Counted(tiny_model).computed(TEXTS)
    (old,) = cache.iterdir()
    os.utime(old / "encoder.json", (0, 0))
    counted = Counted(tiny_model, vector_cache_gib=0.0, passage_max_len=31)
    assert counted.computed(TEXTS) == len(TEXTS)
    assert not old.exists()
    assert counted.computed(TEXTS) == 0


def test_a_run_of_hours_keeps_its_folder(tiny_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that was loaded hours ago and still writes is not removed by another run that makes room."""
    monkeypatch.setattr(writer, "SHARD_BYTES", 1)
    monkeypatch.setattr("sharpen.models.micro_batches.CPU_PIECE", 64)
    whole, written = ShardFolder.add, []

    def add(self: ShardFolder, keys: np.ndarray, vectors: np.ndarray) -> str:
        os.utime(self.folder / "encoder.json", (0, 0))  # the last shard was long ago
        name = whole(self, keys, vectors)
        prune(cache, 0)
        written.append(len(keys))
        return name

    monkeypatch.setattr(ShardFolder, "add", add)
    assert Counted(tiny_model).computed(TEXTS) == sum(written) == len(TEXTS)
    assert len(written) > 3


def test_a_folder_that_vanished_under_a_run_is_made_anew(
    tiny_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SHARD_BYTES", 1)
    monkeypatch.setattr("sharpen.models.micro_batches.CPU_PIECE", 64)
    counted = Counted(tiny_model)
    expected = embed_texts(counted.encoder, TEXTS, "passage")
    (folder,) = cache.iterdir()
    shutil.rmtree(folder)
    whole, written = ShardFolder.add, []

    def add(self: ShardFolder, keys: np.ndarray, vectors: np.ndarray) -> str:
        if len(written) == 2:
            shutil.rmtree(self.folder)
        written.append(len(keys))
        return whole(self, keys, vectors)

    monkeypatch.setattr(ShardFolder, "add", add)
    np.testing.assert_allclose(embed_texts(counted.encoder, TEXTS, "passage"), expected, atol=1e-6)
    assert sum(written) == len(TEXTS) + sum(written[:2])  # what was removed is computed again
    assert counted.computed(TEXTS) == 0 and (folder / "encoder.json").exists()


def test_what_comes_into_use_while_room_is_made_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (folder_used(tmp_path, name, ago) for name, ago in (("first", 8000), ("second", 7000)))
    whole = local_store.delete

    def delete(folder: Path) -> None:
        whole(folder)
        os.utime(second / "encoder.json")

    monkeypatch.setattr(local_store, "delete", delete)
    prune(tmp_path, 0)
    assert (first.exists(), second.exists()) == (False, True)


def test_reading_a_cache_notes_that_it_is_in_use(tiny_model: Path, cache: Path) -> None:
    Counted(tiny_model).computed(TEXTS)
    (folder,) = cache.iterdir()
    os.utime(folder / "encoder.json", (0, 0))
    Counted(tiny_model).computed(TEXTS)
    assert time.time() - (folder / "encoder.json").stat().st_mtime < 100
