"""What a model folder says of itself, who reads it, and which wish stands above it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sharpen.embeddings.encoding import encode
from sharpen.errors import InputError
from sharpen.models import model_config
from sharpen.models.encoder import Encoder
from sharpen.models.model_config import ModelConfig, prompt_names, resolve, row_prompt, source_prompts
from sharpen.settings import EncoderSettings

pytestmark = pytest.mark.model

TRAINED = EncoderSettings(
    query_max_len=11,
    passage_max_len=23,
    sentence_pooling_method="cls",
    normalize_embeddings=False,
    query_instruction_for_retrieval="find",
    query_instruction_format="{}: {}",
    passage_instruction_for_retrieval="text ",
    precision="fp32",
)


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained with `TRAINED`."""
    made = tmp_path_factory.mktemp("config") / "model"
    Encoder.load(str(tiny_model), TRAINED, device="cpu").save(made)
    return made


def test_a_model_is_used_as_it_was_trained_whatever_the_run_sets(folder: Path) -> None:
    import numpy as np

    machine = EncoderSettings(batch_tokens=999)
    found = resolve(str(folder), machine)
    assert (found.source, found.given) == ("model", ())
    again = Encoder.load(str(folder), found.settings, device="cpu")
    assert again.as_config() == ModelConfig.checked(
        {
            "query_max_len": 11,
            "passage_max_len": 23,
            "pooling": "cls",
            "normalize": False,
            "dimension": 32,
            "precision": "fp32",
            "query_prompt": "find: ",
            "passage_prompt": "text ",
        }
    )
    assert again.settings.batch_tokens == 999
    trained = Encoder.load(str(folder), TRAINED, device="cpu")
    for kind in ("query", "passage"):
        texts = ["a quick way to find the river stone and more words than fit into it by far"]
        np.testing.assert_array_equal(encode(again, texts, kind), encode(trained, texts, kind))


def test_what_the_user_sets_stands_above_the_folder_and_is_named(folder: Path) -> None:
    found = resolve(str(folder), EncoderSettings(query_max_len=64, vector_cache="off"))
    assert found.given == ("query_max_len",)
    assert (found.settings.query_max_len, found.settings.passage_max_len) == (64, 23)
    assert model_config.computing_part(EncoderSettings(query_max_len=64, batch_tokens=99)) == EncoderSettings(
        batch_tokens=99
    )


def test_a_published_folder_says_lengths_prompts_pooling_and_length_one(tiny_model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    (other / "sentence_bert_config.json").write_text('{"max_seq_length": 48}')
    (other / "config_sentence_transformers.json").write_text('{"prompts": {"query": "q: ", "title": "t: "}}')
    found = resolve(str(other), EncoderSettings())
    assert found.source == "published"
    assert (found.settings.query_max_len, found.settings.passage_max_len) == (48, 48)
    encoder = Encoder.load(str(other), found.settings, device="cpu")
    assert (encoder.prompts, encoder.named_prompts) == ({"query": "q: ", "passage": ""}, {"title": "t: "})
    assert (encoder.pooling, encoder.normalize) == ("mean", True)
    modules = [m for m in json.loads((other / "modules.json").read_text()) if "Normalize" not in m["type"]]
    (other / "modules.json").write_text(json.dumps(modules))
    assert resolve(str(other), EncoderSettings()).settings.normalize_embeddings is False
    (other / "modules.json").unlink()
    assert resolve(str(other), EncoderSettings(query_max_len=9)).source == "run"


def test_a_folder_of_an_earlier_version_has_its_settings_in_training_json(folder: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    shutil.copytree(folder, earlier)
    (earlier / model_config.NAME).unlink()
    (earlier / "training.json").write_text(json.dumps({"encoder": TRAINED.model_dump(mode="json")}))
    encoder = Encoder.load(str(earlier), resolve(str(earlier), EncoderSettings()).settings, device="cpu")
    written = Encoder.load(str(folder), resolve(str(folder), EncoderSettings()).settings, device="cpu")
    exclude = {"query_instruction_format"}  # joined already in the prompt of the folder
    assert encoder.as_config().model_dump(exclude=exclude) == written.as_config().model_dump(exclude=exclude)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "a JSON object"),
        ("{", "not valid JSON"),
        ('{"query_max_len": "x"}', "query_max_len"),
        ("[" * 9**5, "JSON"),
    ],
)
def test_a_damaged_file_is_one_line(folder: Path, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / model_config.NAME).write_text(text)
    with pytest.raises(InputError, match=told):
        resolve(str(tmp_path), EncoderSettings())


def test_the_reader_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys; from sharpen.models.model_config import read; "
        f"print(read({str(folder)!r}).query_prompt); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "find: \n"), done.stderr


def test_prompts_of_sources_and_the_prompt_of_a_row() -> None:
    sources = ["faq"] * 5 + ["web"] * 3 + ["query"]
    prompts = ["ask: "] * 4 + ["say: "] + ["", "", "see: "] + ["ask: "]
    default, by_source = source_prompts(sources, prompts)
    assert default == "ask: "
    assert by_source == {"faq": ["ask: ", "say: "], "query": ["ask: "], "web": ["", "see: "]}
    config = config_with(query_prompt=default, source_prompts=by_source)
    assert prompt_names(config) == {
        "faq": "ask: ",
        "faq-2": "say: ",
        "source-query": "ask: ",
        "web": "",
        "web-2": "see: ",
    }
    # source, what the row brings -> what it is given
    for source, own, expected in [
        ("faq", "say: ", "say: "),
        ("faq", "new: ", "ask: "),
        ("faq", "", "ask: "),
        ("web", "", ""),
        ("web", "ask: ", ""),
        ("other", "see: ", "see: "),
        ("other", "new: ", "ask: "),
    ]:
        assert row_prompt(config, source, own) == expected, (source, own)
    assert source_prompts(["a", "b"], ["x: ", "x: "]) == ("x: ", {})
    assert source_prompts([], []) == ("", {})


def config_with(**values: object) -> ModelConfig:
    plain = {"query_max_len": 8, "passage_max_len": 8, "pooling": "mean", "normalize": True, "dimension": 4}
    return ModelConfig.checked({**plain, "precision": "fp32", **values})
