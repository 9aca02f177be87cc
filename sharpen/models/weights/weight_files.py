"""The weights of a transformer in its folder, read one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from sharpen.models import model_check


@dataclass(frozen=True)
class WeightFiles:
    """The weights of one transformer in safetensors files.

    Attributes:
        address: of the model, for messages.
        files: name of a weight -> its file.
    """

    address: str
    files: Mapping[str, Path]

    @classmethod
    def of_folder(cls, address: str, folder: Path) -> WeightFiles:
        """Those of a `folder` of the model at an `address`.

        Raises:
            InputError: there are none, or a file is damaged.
        """
        model_check.read_tensors(address, folder)
        files: dict[str, Path] = {}
        for name in model_check.weight_files(address, folder):
            with safe_open(folder / name, framework="pt") as file:
                files |= dict.fromkeys(file.keys(), folder / name)
        return cls(address, files)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a weight."""
        with safe_open(self.files[name], framework="pt") as file:
            return tuple(file.get_slice(name).get_shape())

    def dtype(self, name: str) -> str:
        """Of a weight, as the format names it, such as ``BF16``."""
        with safe_open(self.files[name], framework="pt") as file:
            return file.get_slice(name).get_dtype()

    def tensor(self, name: str) -> Tensor:
        """A weight, of a floating type as float32."""
        with safe_open(self.files[name], framework="pt") as file:
            found = file.get_tensor(name)
        return found.float() if found.is_floating_point() else found
