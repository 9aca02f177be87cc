"""Prompts that rows of the data bring: trained with, saved, and used by whatever opens the model after."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharpen.embeddings.encoding import encode
from sharpen.errors import InputError
from sharpen.evaluation.evaluate import evaluate
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.index.build import index
from sharpen.index.search import OpenIndex
from sharpen.index.settings import IndexSettings
from sharpen.models import model_config
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.training.model_card.sections import model_card
from sharpen.training.model_card.usage import usage
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from tests.sharpen.training.small_data import WORDS

pytestmark = pytest.mark.model

SHORT = EncoderSettings(precision="fp32", query_max_len=16, passage_max_len=16, query_instruction_format="{}: {}")
Trained = Callable[..., Path]


def write_rows(path: Path, prompts: list[str], count: int = 12) -> Path:
    """Rows of which each brings the next of the prompts."""
    rows = []
    for number in range(count):
        words = " ".join(WORDS[(number + step) % len(WORDS)] for step in range(3))
        row = {"query": f"{words} {path.stem} {number}", "pos": [f"{words} {number}"], "neg": [f"not {number}"]}
        if prompt := prompts[number % len(prompts)]:
            row["prompt"] = prompt
        rows.append(json.dumps(row))
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train one step on files, each with its prompts; the folder of the model."""

    def make(**files: list[str]) -> Path:
        folder = tmp_path_factory.mktemp("prompts")
        data = ",".join(str(write_rows(folder / f"{name}.jsonl", prompts)) for name, prompts in files.items())
        settings = TrainingSettings.checked(
            {
                "train_batch_size": 4,
                "train_group_size": 2,
                "max_steps": 1,
                "logging_steps": 1,
                "checkpoint_folder": str(folder / "checkpoints"),
            }
        )
        train(data, None, str(tiny_model), str(folder / "model"), settings, SHORT)
        return folder / "model"

    return make


@pytest.fixture(scope="module")
def one(trained: Trained) -> Path:
    return trained(asked=["find"])


@pytest.fixture(scope="module")
def several(trained: Trained) -> Path:
    return trained(asked=["find", "find", "find", "see"], plain=[""], web=["find"])


# a search for passages has the query's prompt, whatever is alike on both sides none
OF_TASKS = {"retrieval": "find: ", "reranking": "find: ", "sts": "", "classification": "", "clustering": ""}


def stored_prompts(folder: Path) -> dict[str, str]:
    return json.loads((folder / "config_sentence_transformers.json").read_text())["prompts"]


def test_one_prompt_becomes_the_models_own(one: Path) -> None:
    from sentence_transformers import SentenceTransformer

    assert stored_prompts(one) == {"query": "find: ", "document": "", **OF_TASKS}
    config = model_config.read(str(one))
    assert config is not None and (config.query_prompt, config.source_prompts) == ("find: ", {})
    assert json.loads((one / "training.json").read_text())["warnings"] == []
    ours = Encoder.load(str(one), model_config.resolve(str(one), EncoderSettings()).settings, device="cpu")
    theirs = SentenceTransformer(str(one), device="cpu")
    np.testing.assert_allclose(theirs.encode_query(["a river"]), encode(ours, ["a river"], "query"), atol=1e-5)
    assert not np.allclose(encode(ours, ["a river"], "query"), encode(ours, ["a river"], "passage"), atol=1e-3)


def test_several_prompts_are_saved_by_the_names_of_their_sources(several: Path) -> None:
    from sentence_transformers import SentenceTransformer

    assert stored_prompts(several) == {
        "query": "find: ",
        "document": "",
        "asked": "find: ",
        "asked-2": "see: ",
        "plain": "",
        "web": "find: ",
        **OF_TASKS,
    }
    (warning,) = json.loads((several / "training.json").read_text())["warnings"]
    assert "3 prompts" in warning and "'find: '" in warning
    ours = Encoder.load(str(several), SHORT, device="cpu")
    theirs = SentenceTransformer(str(several), device="cpu")
    vectors = theirs.encode(["a river"], prompt_name="asked-2")
    np.testing.assert_allclose(vectors, encode(ours, ["a river"], "query", ["see"]), atol=1e-5)


def test_evaluation_gives_each_row_the_prompt_that_its_source_was_trained_with(
    several: Path, one: Path, tmp_path: Path
) -> None:
    data = ",".join(
        str(write_rows(tmp_path / f"{name}.jsonl", prompts, 4))
        for name, prompts in {"asked": ["see", "other"], "plain": ["find"], "new": ["see", ""]}.items()
    )

    def used(model: Path, **values: Any) -> dict[str, int]:
        output = str(tmp_path / f"{model.parent.name}-{len(values)}")
        settings = EvaluationSettings(resamples=100, report_queries=0)
        evaluate(str(model), data, "test", output, settings, EncoderSettings.checked(values))
        return storage.read_json(f"{output}/facts.json")["encoding"]["query_prompts"]

    # asked: see is its own, other is not; plain was trained without; new: see and none are known of others
    assert used(several) == {"": 6, "see: ": 4, "find: ": 2}
    assert used(one) == {"find: ": 12}
    # what the user sets is for rows that bring nothing
    assert used(one, query_instruction_for_retrieval="say ") == {"see": 4, "find": 4, "other": 2, "say ": 2}


def test_search_asks_with_the_default_or_with_the_prompt_that_was_named(several: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "asked.jsonl", ["find"])
    address = str(tmp_path / "index")
    index(str(data), str(several), address, IndexSettings(quality_queries=0), EncoderSettings())
    plain, named = OpenIndex(address), OpenIndex(address, prompt="asked-2")
    assert "several prompts (query, asked, asked-2, plain, web)" in plain.note
    assert (named.note, plain.encoder.prompts["query"], named.encoder.prompts["query"]) == ("", "find: ", "see: ")
    assert plain.ask("moon river", 3).hits != named.ask("moon river", 3).hits
    with pytest.raises(InputError, match="no prompt 'nothing'; it has: query, asked"):
        OpenIndex(address, prompt="nothing")


@pytest.mark.parametrize("pooling", ["cls", "mean", "last_token"])
def test_the_code_in_the_model_card_gives_the_same_embeddings(tiny_model: Path, tmp_path: Path, pooling: str) -> None:
    settings = SHORT.model_copy(
        update={
            "sentence_pooling_method": pooling,
            "normalize_embeddings": pooling != "mean",
            "query_instruction_for_retrieval": 'say "it"',
            "passage_instruction_for_retrieval": "text ",
        }
    )
    encoder = Encoder.load(str(tiny_model), settings, device="cpu")
    encoder.save(tmp_path)
    card = usage(encoder)
    blocks = re.findall(r"With (\S+):\n\n```python\n(.*?)\n```", card, flags=re.DOTALL)
    assert [name for name, _ in blocks] == ["sentence-transformers", "transformers", "FlagEmbedding"]
    texts = ["a river of stone", "bread", "the sun and the moon and the winter town by the hill and more of it all"]
    expected = {kind: encode(encoder, texts, kind) for kind in ("query", "passage")}
    for library, code in blocks[:2]:
        names: dict[str, Any] = {}
        exec(code.replace("path/to/this/folder", str(tmp_path)).replace('["..."]', repr(texts)), names)
        # sentence-transformers moves to a GPU where there is one
        np.testing.assert_allclose(np.asarray(names["queries"]), expected["query"], atol=1e-5, err_msg=library)
        np.testing.assert_allclose(np.asarray(names["passages"]), expected["passage"], atol=1e-5, err_msg=library)
    compile(blocks[2][1], "card", "exec")
    assert r'query_instruction_for_retrieval="say \"it\": "' in blocks[2][1]
    assert f'pooling_method="{pooling}"' in blocks[2][1]


def test_a_base_models_name_stays_text_in_the_card(tiny_model: Path) -> None:
    name = "x`<img src=x>`[a](javascript:b)|\n# head"
    facts = {"base_model": name, "code_version": "1", "data": name, "data_fingerprint": "f", "counts": {}, "seconds": 1}
    facts |= {
        "negatives_per_query": 1,
        "world_size": 1,
        "device": "cpu",
        "queries_per_second": 1,
        "temperature_increases": [],
    }
    card = model_card(
        Encoder.load(str(tiny_model), SHORT, device="cpu"), facts | {"settings": {}, "encoder": {"note": name}}
    )
    body = card.split("---\n", 2)[2]
    outside = re.sub(r"(`+).*?[^`]\1(?!`)", "", re.sub(r"```.*?```", "", body, flags=re.DOTALL))
    assert "<img" not in outside.replace("\\`", "") and "\n# head" not in body
    assert "](" not in outside.replace("\\]", "").replace("\\[", "")
