"""The files are those of safetensors, to the byte, though one tensor at a time is in memory."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sharpen.models.weights import DTYPES, TensorForm, WeightFiles, save_tensors, write_tensors


def tensors() -> dict[str, torch.Tensor]:
    """Of every type and of odd shapes, in no order: none of them is aligned to the ones after it by chance."""
    dtypes = [*DTYPES, torch.float32, torch.bool]
    shapes = [(3,), (), (2, 5), (0, 4), (7,), (1, 1, 3), (5,), (3, 3), (2,), (1,), (4, 2), (9,)]
    named = {
        f"{'zyx'[n % 3]}.größe{n}": (dtype, shape) for n, (dtype, shape) in enumerate(zip(dtypes, shapes, strict=True))
    }
    draw = torch.Generator().manual_seed(1)
    return {
        name: torch.randint(0, 2 if dtype == torch.bool else 100, shape, generator=draw).to(dtype)
        for name, (dtype, shape) in named.items()
    }


def test_a_file_is_that_of_safetensors_to_the_byte(tmp_path: Path) -> None:
    given = tensors()
    save_tensors(given, tmp_path / "written.safetensors")
    save_file(given, tmp_path / "expected.safetensors", {"format": "pt"})
    assert (tmp_path / "written.safetensors").read_bytes() == (tmp_path / "expected.safetensors").read_bytes()
    loaded = load_file(tmp_path / "written.safetensors")
    assert loaded.keys() == given.keys() and all(torch.equal(loaded[name], one) for name, one in given.items())


def test_one_tensor_at_a_time_is_in_memory_and_a_process_that_writes_nothing_makes_them_too(tmp_path: Path) -> None:
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    made: list[str] = []

    def make(name: str) -> torch.Tensor:
        # the one before may still be in the writer's hand
        assert len(alive) <= 1
        tensor = torch.full((2, 3), float(len(made)))
        alive.add(tensor)
        made.append(name)
        return tensor

    forms = {name: TensorForm(torch.float32, (2, 3)) for name in "cab"}
    write_tensors(tmp_path / "model.safetensors", forms, make)
    write_tensors(None, forms, make)
    assert made == list("abc") * 2
    files = WeightFiles.of_folder("model", tmp_path)
    assert files.tensor("b").unique().tolist() == [1.0] and (files.dtype("b"), files.shape("b")) == ("F32", (2, 3))
    save_tensors({"a": torch.zeros(1)}, tmp_path / "none", first=False)
    assert not (tmp_path / "none").exists()


def test_a_tensor_of_another_form_than_was_said_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a is torch\.float32 \(2,\), not"):
        write_tensors(tmp_path / "x", {"a": TensorForm(torch.float32, (3,))}, lambda name: torch.zeros(2))


def test_tensors_are_written_over_the_file_that_they_were_loaded_from(tmp_path: Path) -> None:
    """As a checkpoint is that is gone on from and written once more, after an evaluation that was made up for."""
    path = tmp_path / "state.safetensors"
    save_tensors({"a": torch.arange(300_000.0), "b": torch.ones(3)}, path)
    loaded = load_file(path)
    save_tensors(loaded, path)
    assert torch.equal(load_file(path)["a"], torch.arange(300_000.0))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
