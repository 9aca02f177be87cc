"""Model folders that are broken or meant ill, each made from a sound one by one change."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Change = Callable[[Path], None]


def edited(name: str, **values: Any) -> Change:
    """Set values in a JSON object of the folder; `...` removes one."""

    def change(folder: Path) -> None:
        path = folder / name
        found = json.loads(path.read_text()) if path.is_file() else {}
        found |= values
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({key: value for key, value in found.items() if value is not ...}))

    return change


def written(name: str, text: str | bytes) -> Change:
    """Write a file as it is."""

    def change(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    return change


def removed(*names: str) -> Change:
    """Remove files, as far as they are there."""

    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink(missing_ok=True)

    return change


def both(*changes: Change) -> Change:
    """Several changes."""

    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def cut(name: str, size: int) -> Change:
    """Keep the first bytes of a file; of a negative size all but so many."""

    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:size])

    return change


def sharded(**names: Any) -> Change:
    """Replace the weights by an index that names other files."""

    def change(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "part.safetensors")
        weight_map = dict.fromkeys(load_file(folder / "part.safetensors"), "part.safetensors")
        index = {"metadata": {}, "weight_map": weight_map | names}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return change


def linked(name: str, target: str) -> Change:
    """Put a link in the place of a file, which lies beside the folder now."""

    def change(folder: Path) -> None:
        outside = folder.parent / f"outside-{folder.name}"
        outside.mkdir()
        if (folder / name).exists():
            shutil.move(folder / name, outside / Path(name).name)
        (folder / name).symlink_to(target.format(outside=outside))

    return change


def weights(alter: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Change:
    """Alter the tensors."""

    def change(folder: Path) -> None:
        found = alter(load_file(folder / "model.safetensors"))
        save_file(found, folder / "model.safetensors", metadata={"format": "pt"})

    return change


def pickled(name: str) -> Change:
    """Weights that a pickle holds, which would leave a file when it is read."""

    def change(folder: Path) -> None:
        class Harm:
            def __reduce__(self) -> tuple[Any, ...]:
                return (Path.touch, (folder.parent / f"{folder.name}.harmed",))

        torch.save({"harm": Harm()}, folder / name)

    return change


def header(size: int, text: str) -> bytes:
    return size.to_bytes(8, "little") + text.encode()


DEEP = "[" * 200_000
ROUTER = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}]
PARTS = {"a": "sentence_transformers.models.Transformer", "b": "sentence_transformers.models.Pooling"}
VOCABULARY = ("tokenizer.json", "vocab.txt", "vocab.json")


def router(**values: Any) -> Change:
    """Two towers as the values say."""
    plain = {"types": PARTS, "structure": {"query": ["a", "b"], "document": ["a", "b"]}, "parameters": {}}
    return both(written("modules.json", json.dumps(ROUTER)), edited("router_config.json", **(plain | values)))


def dense(after: Change | None = None, **values: Any) -> Change:
    """A Dense module from 32 to 8 dimensions at the end, with these values in its configuration; then a change."""

    def change(folder: Path) -> None:
        found = json.loads((folder / "modules.json").read_text())
        found[2:2] = [{"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}]
        (folder / "modules.json").write_text(json.dumps(found))
        config = {"in_features": 32, "out_features": 8, "bias": True, "activation_function": "torch.nn.Tanh"}
        edited("2_Dense/config.json", **(config | values))(folder)
        tensors = {"linear.weight": torch.zeros(8, 32), "linear.bias": torch.zeros(8)}
        save_file(tensors, folder / "2_Dense" / "model.safetensors")
        if after is not None:
            after(folder)

    return change


def modules(*numbers: int) -> Change:
    """The modules of these numbers alone, in this order."""

    def change(folder: Path) -> None:
        found = json.loads((folder / "modules.json").read_text())
        (folder / "modules.json").write_text(json.dumps([found[number] for number in numbers]))

    return change


HOSTILE: dict[str, tuple[Change, str]] = {
    # no tokenizer
    "no tokenizer files": (removed(*VOCABULARY, "tokenizer_config.json", "special_tokens_map.json"), "no tokenizer"),
    "no vocabulary": (removed(*VOCABULARY), "no tokenizer"),
    "empty tokenizer.json": (written("tokenizer.json", ""), "cannot be loaded"),
    "tokenizer.json is a list": (written("tokenizer.json", "[]"), "cannot be loaded"),
    "tokenizer.json cut off": (cut("tokenizer.json", -20), "cannot be loaded"),
    "tokenizer.json deep": (written("tokenizer.json", DEEP), "cannot be loaded"),
    "tokenizer.json without model": (edited("tokenizer.json", model=...), "cannot be loaded"),
    "tokenizer_config is a list": (
        written("tokenizer_config.json", "[1]"),
        "tokenizer_config.json: must hold an object",
    ),
    "token without vector": (
        weights(lambda t: {n: w[:9] if "word_emb" in n else w for n, w in t.items()}),
        "vocab_size is",
    ),
    "vectors for few tokens": (
        both(
            edited("config.json", vocab_size=9),
            weights(lambda t: {n: w[:9] if "word_emb" in n else w for n, w in t.items()}),
        ),
        "do not belong together",
    ),
    # weights
    "empty weights": (written("model.safetensors", b""), "damaged or cut off"),
    "weights cut in the header": (cut("model.safetensors", 100), "damaged or cut off"),
    "weights cut at the end": (cut("model.safetensors", -4), "damaged or cut off"),
    "header of 2^60 bytes": (written("model.safetensors", header(2**60, "{}")), "damaged or cut off"),
    "header without JSON": (written("model.safetensors", header(4, "oops")), "damaged or cut off"),
    "header with odd offsets": (
        written(
            "model.safetensors",
            header(62, '{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 99]}}'),
        ),
        "damaged or cut off",
    ),
    "no tensors": (written("model.safetensors", header(2, "{}")), "hold no tensor"),
    "pickled weights only": (both(removed("model.safetensors"), pickled("pytorch_model.bin")), "no *.safetensors"),
    "index names a pickle": (
        both(sharded(**{"embeddings.word_embeddings.weight": "x.bin"}), pickled("x.bin")),
        "names 'x.bin'",
    ),
    "index names a checkpoint": (both(sharded(x="x.ckpt"), pickled("x.ckpt")), "names 'x.ckpt'"),
    "index leaves the folder": (sharded(x="../outside.safetensors"), "names '../outside.safetensors'"),
    "index with absolute path": (sharded(x="/etc/passwd.safetensors"), "names '/etc/passwd.safetensors'"),
    "index names a missing file": (sharded(x="gone.safetensors"), "gone.safetensors"),
    "index with numbers": (sharded(x=3), "names 3"),
    "index is a list": (both(sharded(), written("model.safetensors.index.json", "[]")), "must hold an object"),
    "index without map": (both(sharded(), written("model.safetensors.index.json", "{}")), "weight_map"),
    "index with a list for map": (
        both(sharded(), written("model.safetensors.index.json", '{"weight_map": ["part.safetensors"]}')),
        "weight_map",
    ),
    "index cut off": (both(sharded(), cut("model.safetensors.index.json", 40)), "not valid JSON"),
    "a layer is missing": (weights(lambda t: {n: w for n, w in t.items() if "layer.1.output" not in n}), "lack"),
    # links and pipes
    "weights are a link": (linked("model.safetensors", "{outside}/model.safetensors"), "leads out of the folder"),
    "config is a link": (linked("config.json", "{outside}/config.json"), "leads out of the folder"),
    "a folder is a link": (linked("2_more", "{outside}"), "leads out of the folder"),
    "a link to nothing": (linked("more.txt", "{outside}/nothing"), "leads out of the folder"),
    "weights are a pipe": (
        both(removed("model.safetensors"), lambda folder: os.mkfifo(folder / "model.safetensors")),
        "neither a file nor a folder",
    ),
    # config.json
    "no config": (removed("config.json"), "no config.json"),
    "config is a list": (written("config.json", "[]"), "config.json: must hold an object"),
    "config is a number": (written("config.json", "7"), "config.json: must hold an object"),
    "config cut off": (cut("config.json", 50), "config.json: not valid JSON"),
    "config is deep": (written("config.json", DEEP), "config.json: not valid JSON"),
    "config in another encoding": (written("config.json", b"\xff\xfe{}"), "config.json: not valid JSON"),
    "config without type": (edited("config.json", model_type=...), "model_type must be a name"),
    "config with a list for type": (edited("config.json", model_type=["bert"]), "model_type must be a name"),
    "config of an unknown type": (edited("config.json", model_type="nothing"), "cannot be loaded"),
    "config with code": (
        edited("config.json", model_type="own", auto_map={"AutoModel": "own.Model", "AutoConfig": "own.Config"}),
        "cannot be loaded",
    ),
    "10^9 layers": (edited("config.json", num_hidden_layers=10**9), "num_hidden_layers is 1000000000"),
    "-1 layers": (edited("config.json", num_hidden_layers=-1), "num_hidden_layers is -1"),
    "layers as text": (edited("config.json", num_hidden_layers="2"), "num_hidden_layers must be a whole number"),
    "layers as a list": (edited("config.json", num_hidden_layers=[2]), ""),
    "10^12 wide": (edited("config.json", hidden_size=10**12), "hidden_size is 1000000000000"),
    "width as an object": (edited("config.json", hidden_size={}), "hidden_size must be a whole number"),
    "twice as wide": (edited("config.json", hidden_size=64), ""),
    "10^15 positions": (edited("config.json", max_position_embeddings=10**15), "max_position_embeddings"),
    "10^12 wide inside": (edited("config.json", d_ff=10**12), "d_ff is 1000000000000"),
    "no heads": (edited("config.json", num_attention_heads=0), "cannot be loaded"),
    "10^9 heads": (edited("config.json", num_attention_heads=10**9), "num_attention_heads"),
    "10^18 tokens": (edited("config.json", vocab_size=10**18), "vocab_size"),
    "unknown activation": (edited("config.json", hidden_act="nothing"), "cannot be loaded"),
    "layers in an inner config": (
        edited("config.json", text_config={"num_hidden_layers": 10**9}),
        "num_hidden_layers is 1000000000",
    ),
    "an adapter": (written("adapter_config.json", '{"base_model_name_or_path": "/etc"}'), "is an adapter"),
    # modules.json
    "modules is an object": (written("modules.json", "{}"), "modules.json: must hold a list"),
    "modules of texts": (written("modules.json", '["Transformer"]'), "each module must be an object"),
    "modules with a number for type": (written("modules.json", '[{"type": 3, "path": ""}]'), "each module must be"),
    "modules with a list for path": (
        written("modules.json", '[{"type": "x.Transformer", "path": ["1"]}]'),
        "each module must be",
    ),
    "modules leave the folder": (
        written(
            "modules.json", '[{"type": "x.Transformer", "path": ""}, {"type": "x.Pooling", "path": "../1_Pooling"}]'
        ),
        "leaves the model's folder",
    ),
    "modules with an absolute path": (
        written("modules.json", '[{"type": "x.Transformer", "path": "/etc"}]'),
        "leaves the model's folder",
    ),
    "modules of other code": (written("modules.json", '[{"type": "os.system", "path": ""}]'), "has the module system"),
    "modules deep": (written("modules.json", DEEP), "not valid JSON"),
    # pooling and the rest
    "pooling is a list": (written("1_Pooling/config.json", "[]"), "must hold an object"),
    "pooling mode is an object": (written("1_Pooling/config.json", '{"pooling_mode": {"a": []}}'), "does not know"),
    "pooling mode of lists": (written("1_Pooling/config.json", '{"pooling_mode": [["mean"]]}'), "does not know"),
    "pooling in two ways": (
        edited("1_Pooling/config.json", pooling_mode_cls_token=True, pooling_mode_mean_tokens=True),
        "does not know",
    ),
    "pooling deep": (written("1_Pooling/config.json", DEEP), "not valid JSON"),
    "prompts are a list": (written("config_sentence_transformers.json", '{"prompts": ["a"]}'), "prompts must be"),
    "prompts of numbers": (
        written("config_sentence_transformers.json", '{"prompts": {"query": 3}}'),
        "prompts must be",
    ),
    "settings are a number": (written("config_sentence_transformers.json", "3"), "must hold an object"),
    "length as text": (written("sentence_bert_config.json", '{"max_seq_length": "many"}'), "max_seq_length must be"),
    "length is a list": (written("sentence_bert_config.json", "[1]"), "must hold an object"),
    "length of 0": (written("sentence_bert_config.json", '{"max_seq_length": 0}'), "max_seq_length must be"),
    # two towers
    "router is a list": (both(router(), written("router_config.json", "[]")), "must hold an object"),
    "router with texts": (router(structure="query"), "must be objects"),
    "router with numbers": (router(structure={"query": [1], "document": [2]}), "must be a list of names"),
    "router with odd types": (router(types={"a": 3}), "must be objects"),
    "router leaves the folder": (
        router(
            types={"../a": PARTS["a"], "b": PARTS["b"]},
            structure={"query": ["../a", "b"], "document": ["../a", "b"]},
        ),
        "leaves the model's folder",
    ),
    "router to an absolute path": (
        router(types={"/etc": PARTS["a"]}, structure={"query": ["/etc"], "document": ["/etc"]}),
        "leaves the model's folder",
    ),
    "router without towers": (router(structure={}), "has no Transformer"),
    "router to missing towers": (
        router(structure={"query": ["a"], "document": ["a"]}),
        "config.json is missing",
    ),
    # Dense modules
    "Dense without a configuration": (dense(removed("2_Dense/config.json")), "config.json: is missing"),
    "Dense without weights": (dense(removed("2_Dense/model.safetensors")), "model.safetensors: is missing"),
    "Dense with a pickle": (
        dense(both(removed("2_Dense/model.safetensors"), pickled("2_Dense/pytorch_model.bin"))),
        "only pytorch_model.bin is there, a pickle, which is not read; load the model in sentence-transformers",
    ),
    "Dense cut off": (dense(cut("2_Dense/model.safetensors", -4)), "damaged or cut off"),
    "Dense of code": (dense(activation_function="os.system"), "activation_function is os.system; those"),
    "Dense of other code of torch": (dense(activation_function="torch.nn.Linear"), "activation_function is torch.nn"),
    "Dense without a name": (dense(activation_function=None), "activation_function is None"),
    "Dense of other sizes": (dense(out_features=9), "linear.weight is 8 x 32, but 9 x 32 by config.json"),
    "Dense of 10^12": (dense(out_features=10**12), "linear.weight is 8 x 32, but 1000000000000 x 32"),
    "Dense of no size": (dense(in_features=0), "in_features must be a whole number above 0"),
    "Dense without a size": (dense(in_features=...), "in_features must be a whole number above 0, not None"),
    "Dense for another model": (
        dense(
            lambda folder: save_file(
                {"linear.weight": torch.zeros(8, 64), "linear.bias": torch.zeros(8)},
                folder / "2_Dense" / "model.safetensors",
            ),
            in_features=64,
        ),
        "takes vectors of 64 dimensions, but its transformer gives 32",
    ),
    "Dense with a bias too many": (dense(bias=False), "has linear.bias, which"),
    "Dense with half a residual": (dense(use_residual=True), "lacks residual.weight"),
    "Dense with an odd bias": (dense(bias="yes"), "bias must be true or false"),
    "Dense of tokens": (dense(module_input_name="token_embeddings"), "module_input_name is token_embeddings"),
    "Dense into another vector": (dense(module_output_name="other"), "module_output_name is other"),
    "Dense with more": (dense(scale=2), "scale is not known here"),
    "Dense after Normalize": (
        dense(modules(0, 1, 3, 2)),
        "they must follow each other as",
    ),
    "Dense twice, which do not fit": (
        dense(modules(0, 1, 2, 2, 3)),
        "in_features is 32, but 2_Dense before it gives 8",
    ),
    "Dense after a router": (
        both(
            router(),
            written("modules.json", json.dumps([*ROUTER, {"path": "2_Dense", "type": "x.Dense"}])),
        ),
        "put one into each route",
    ),
    # our own file
    "our settings are a list": (written("config_sharpen.json", "[]"), "must hold a JSON object"),
    "our settings with odd types": (
        written("config_sharpen.json", '{"query_max_len": "x", "source_prompts": []}'),
        "config_sharpen.json",
    ),
    "our settings deep": (written("config_sharpen.json", DEEP), "not valid JSON"),
}
"""Name -> how to make it from a sound folder, and what the one line must say."""
