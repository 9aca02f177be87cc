"""Dense modules: ``sentence_transformers.models.Dense``, a linear layer and an activation on the pooled vector."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sharpen.errors import InputError
from sharpen.models import model_check
from sharpen.models.architecture.json_files import read_json, short, write_json

# Name in torch.nn -> qualified name, as sentence-transformers writes it. Nothing that a folder names is imported.
ACTIVATIONS = {"Identity": "torch.nn.modules.linear.Identity"}
ACTIVATIONS |= {
    name: f"torch.nn.modules.activation.{name}" for name in ("Tanh", "ReLU", "GELU", "SiLU", "Sigmoid", "LeakyReLU")
}
# The value of a setting that the file does not have.
_DEFAULTS = {"bias": True, "activation_function": ACTIVATIONS["Tanh"], "use_residual": False}
_VECTOR = "sentence_embedding"


@dataclass(frozen=True)
class DenseConfig:
    """A Dense module.

    Attributes:
        path: its folder in the model's.
        in_features, out_features: lengths of what goes in and comes out.
        bias: whether the linear layer has one.
        activation: a key of `ACTIVATIONS`.
        residual: whether what goes in is added to what comes out, through a layer of its own where lengths differ.
    """

    path: str
    in_features: int
    out_features: int
    bias: bool = True
    activation: str = "Tanh"
    residual: bool = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of each weight -> its shape."""
        matrix = (self.out_features, self.in_features)
        found: dict[str, tuple[int, ...]] = {"linear.weight": matrix}
        if self.bias:
            found["linear.bias"] = (self.out_features,)
        if self.residual and self.in_features != self.out_features:
            found["residual.weight"] = matrix
        return found

    def write(self, folder: Path) -> None:
        """Write the module's configuration below the model's `folder`."""
        values = {name: getattr(self, name) for name in ("in_features", "out_features", "bias")}
        values["activation_function"] = ACTIVATIONS[self.activation]
        # versions of sentence-transformers before 5.7 refuse the key
        values |= {"use_residual": True} if self.residual else {}
        write_json(folder / self.path / "config.json", values)


def read_dense(folder: Path, paths: Sequence[str]) -> tuple[DenseConfig, ...]:
    """The Dense modules at some paths in a model's folder, one after another.

    Raises:
        InputError: one is damaged, is not known here, does not fit the one before, or its weights are missing or of
            other shapes than its configuration says.
    """
    found = tuple(_read(folder, path) for path in paths)
    for before, after in itertools.pairwise(found):
        if before.out_features != after.in_features:
            raise InputError(
                f"{folder / after.path / 'config.json'}: in_features is {after.in_features}, but {before.path} before "
                f"it gives {before.out_features}; one of both is wrong"
            )
    return found


def _read(folder: Path, path: str) -> DenseConfig:
    file = folder / path / "config.json"
    if not file.is_file():
        raise InputError(f"{file}: is missing; a Dense module has one")
    values = _DEFAULTS | {"module_input_name": _VECTOR} | read_json(file, {}, dict)
    for name in ("in_features", "out_features"):
        size = values.pop(name, None)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise InputError(f"{file}: {name} must be a whole number above 0, not {short(size)}")
        values[f"_{name}"] = size
    for name in ("bias", "use_residual"):
        if not isinstance(values[name], bool):
            raise InputError(f"{file}: {name} must be true or false, not {short(values[name])}")
    source = values.pop("module_input_name")
    for name, vector in (("module_input_name", source), ("module_output_name", values.pop("module_output_name", None))):
        if vector not in (_VECTOR, None):
            raise InputError(
                f"{file}: {name} is {short(vector)}; Dense modules are read that map the pooled vector, {_VECTOR}"
            )
    config = DenseConfig(
        path,
        values.pop("_in_features"),
        values.pop("_out_features"),
        values.pop("bias"),
        _activation(file, values.pop("activation_function")),
        values.pop("use_residual"),
    )
    if values:
        raise InputError(f"{file}: {short(next(iter(values)))} is not known here; without it embeddings may be others")
    _check_weights(folder / path, config)
    return config


def _activation(file: Path, name: object) -> str:
    known = {qualified: one for one, qualified in ACTIVATIONS.items()} | {f"torch.nn.{one}": one for one in ACTIVATIONS}
    if not isinstance(name, str) or name not in known:
        raise InputError(
            f"{file}: activation_function is {short(name)}; those that are read: torch.nn. {', '.join(ACTIVATIONS)}"
        )
    return known[name]


def _check_weights(folder: Path, config: DenseConfig) -> None:
    file = folder / model_check.WEIGHTS
    if not file.is_file():
        pickle = folder / "pytorch_model.bin"
        why = f"only {pickle.name} is there, a pickle, which is not read" if pickle.exists() else "is missing"
        raise InputError(
            f"{file}: {why}; load the model in sentence-transformers and save it again, which writes the file"
        )
    found = model_check.read_shapes(str(folder), folder, [model_check.WEIGHTS])
    for name, shape in config.shapes.items():
        if name not in found:
            raise InputError(f"{file}: lacks {name}; copy it again")
        if found[name] != shape:
            sizes = [" x ".join(map(str, one)) for one in (found[name], shape)]
            raise InputError(f"{file}: {name} is {sizes[0]}, but {sizes[1]} by config.json; one of both is wrong")
    if more := sorted(found.keys() - config.shapes.keys()):
        raise InputError(f"{file}: has {short(more[0])}, which a Dense module with this config.json does not have")
