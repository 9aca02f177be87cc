"""Whether a model folder can be read safely: looked at before anything in it is loaded. Nothing here imports torch.

A folder comes from anywhere. What it says must be whole, must not lead out of it, and must agree with the weights that
it holds: a configuration of 10^9 layers would otherwise be built layer by layer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharpen.errors import InputError

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
# Any of these is a whole vocabulary; all tokenizers of transformers read one of them.
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")
VOCABULARIES += ("sentencepiece.bpe.model", "sentencepiece.model", "spm.model", "bpe.codes", "tekken.json")
_LARGEST_JSON = 16 * 2**20
_MOST_POSITIONS = 2**24
# Names that configurations have for sizes: each is a dimension of one of the weights.
_SIZES = ("hidden_size", "d_model", "n_embd", "dim", "vocab_size", "intermediate_size", "type_vocab_size")
_SIZES += ("num_attention_heads", "num_key_value_heads", "n_head", "embedding_size", "head_dim")
_SIZES += ("d_ff", "d_kv", "num_heads", "relative_attention_num_buckets")
_LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers")


@dataclass(frozen=True)
class Tensors:
    """Of all weights of a transformer: how many there are, and the largest dimension of any."""

    count: int
    largest: int


def check_paths(model: str, folder: Path) -> None:
    """Raise InputError for a link that leads out of the folder, and for what is no plain file.

    In the hub's cache files are links to its blobs, which belong to the same model.
    """
    root = folder.resolve()
    inside = [root, root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [root]
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        target = path.resolve()
        if path.is_symlink() and not any(target.is_relative_to(parent) for parent in inside):
            raise InputError(f"{model}: {name} is a link that leads out of the folder; put the file itself there")
        if not path.is_file() and not path.is_dir():
            raise InputError(f"{model}: {name} is neither a file nor a folder; a model consists of plain files")


def check_transformer(model: str, folder: Path) -> None:
    """Raise InputError, in one line, where a folder with a transformer and its tokenizer is not whole or not sound.

    Args:
        model: its address, for messages.
        folder: the local folder of the model, or of one of its towers.
    """
    config = read_object(model, folder / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise InputError(f"{model}: config.json: model_type must be a name, not {_short(config.get('model_type'))}")
    if (folder / "adapter_config.json").exists():
        raise InputError(f"{model}: is an adapter to another model; merge it into that one, and name the result")
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise InputError(
            f"{model}: has no tokenizer: none of {', '.join(VOCABULARIES[:5])}, ... is there; copy the tokenizer's "
            "files of the model that it was made from"
        )
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        read_object(model, folder / name, optional=True)
    check_sizes(model, config, read_tensors(model, folder))


def check_sizes(model: str, config: dict[str, Any], tensors: Tensors) -> None:
    """Raise InputError where the `config` of a `model` asks for more than its weights (`tensors`) hold."""
    for name, part in config.items():
        if isinstance(part, dict) and name.endswith("_config"):
            check_sizes(model, part, tensors)
    for name in (*_LAYERS, *_SIZES, "max_position_embeddings"):
        value = config.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            # some families have a size for each layer
            if isinstance(value, list) and name != "hidden_size":
                continue
            raise InputError(f"{model}: config.json: {name} must be a whole number, not {_short(value)}")
        most = {"max_position_embeddings": _MOST_POSITIONS}.get(name, tensors.largest)
        most = tensors.count if name in _LAYERS else most
        # -1 positions mean no limit
        least = -1 if name == "max_position_embeddings" else 0
        if not least <= value <= most:
            what = f"{tensors.count:,} tensors" if name in _LAYERS else f"no tensor longer than {tensors.largest:,}"
            if name == "max_position_embeddings":
                what = "no model of so many positions"
            raise InputError(
                f"{model}: config.json: {name} is {value}, but its weights hold {what}; one of both is wrong"
            )


def read_tensors(model: str, folder: Path) -> Tensors:
    """The sizes of the weights, from the headers of all their files; raises InputError where one is damaged."""
    shapes = read_shapes(model, folder, weight_files(model, folder))
    if not shapes:
        raise InputError(f"{model}: its weights hold no tensor; copy them again")
    return Tensors(len(shapes), max((size for shape in shapes.values() for size in shape), default=0))


def read_shapes(model: str, folder: Path, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Name of each weight -> its shape, from the headers of files (`names`) in a folder of the `model`.

    Raises:
        InputError: a file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    found = {}
    for name in names:
        try:
            with safe_open(folder / name, framework="numpy") as file:
                found |= {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{model}: {name} is damaged or cut off ({_short(error)}); copy it again") from None
    return found


def weight_files(model: str, folder: Path) -> list[str]:
    """Names of the safetensors files of a transformer's folder, as transformers would read them.

    Raises:
        InputError: there is none, or the index names a file of another kind, one elsewhere, or one that is missing.
    """
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    if not (folder / INDEX).is_file():
        raise InputError(f"{model}: neither {WEIGHTS} nor {INDEX} is there; save the model with save_pretrained")
    weight_map = read_object(model, folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(f"{model}: {INDEX}: weight_map must be an object of file names, not {_short(weight_map)}")
    for name in weight_map.values():
        if not isinstance(name, str) or "/" in name or "\\" in name or not name.endswith(".safetensors"):
            raise InputError(
                f"{model}: {INDEX}: names {_short(name)}; only *.safetensors files next to it are read, no pickled "
                "weights and none elsewhere"
            )
        if not (folder / name).is_file():
            raise InputError(f"{model}: {name}, which {INDEX} names, is missing; copy it too")
    return sorted(set(weight_map.values()))


def read_object(model: str, path: Path, *, optional: bool = False) -> dict[str, Any]:
    """The JSON object at a `path` in a model's folder; empty where it is `optional` and not there."""
    if not path.is_file():
        if optional:
            return {}
        raise InputError(f"{model}: {path.name} is missing in {path.parent}; a model has one")
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise InputError(f"{model}: {path.name} is larger than any that describes a model")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise InputError(f"{model}: {path.name}: not valid JSON ({_short(error)})") from None
    if not isinstance(value, dict):
        raise InputError(f"{model}: {path.name}: must hold an object, not {_short(value)}")
    return value


def _short(value: Any) -> str:
    text = " ".join(str(value).split()) if isinstance(value, Exception) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
