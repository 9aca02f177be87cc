"""Fixtures that tests of several folders share."""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import hypothesis
import pytest

from sharpen import console

if TYPE_CHECKING:
    from tests.pipeline.cluster.fake_kfp import FakeKfp

# One thread each: the tests share few cores, and results must not depend on the number of threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# no test is judged by its time
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

TINY_DIMENSION = 32

_WORDS = """
a able about after all also an and any are array as ask at back bank base be because been before begin best
big book both bread bring build by byte call can cat cell change check city class clean close code cold color
come copy count country cut data date day deep dict do doctor dog door down draw drink drug each early earth
easy eat empty end error even every eye face far fast father file find fire first fish float flow food for
form found from full function game get give go gold good grade great green group grow half hand hard has have
he head hear heart help her here high him his hold home hot hour house how idea if in index int into is it
item join just keep key kind know land large last law leave left less let letter life light like line list
little live load long look loop low make man many map match mean measure medicine member merge method milk
mind model money month moon more most mother move much name near need new next night no node north not note
now number object of off old on one open or order other our out over own page paper parse part pass path
people place plan plant play point price print private public pump put query quick quiet rain rank read red
remove return right river road room root row run same save say school score sea search second see seed send
sentence set ship short show side sign simple size sleep small snow some song sort sound south space split
square stand star start state step stone stop store story string strong such sugar summer sun sure table take
talk teach tell test text than that the their them then there they thing think this time to token tool town
train travel tree true try turn two type under union up use value vector very view voice wait walk wall want
warm was watch water way we wear week well west what wheel when where which while white who why will wind
winter wire with wood word work world write year yellow yes yield you young zero
""".split()


# Minutes each: begun first, so that no worker is left alone with them at the end.
LONGEST = (
    *("test_run.py", "test_train.py", "test_sigterm.py", "test_processes.py"),
    *("test_checkpoints.py", "test_towers.py", "test_search_command.py", "test_compiling.py"),
)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """No garbage is looked for in what is imported meanwhile, then or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files of LONGEST first; the rest stays in its order."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


@pytest.fixture(autouse=True)
def library_messages() -> Iterator[None]:
    """What the library logs is on stdout, as a command shows it, and in `caplog`."""
    logger = logging.getLogger(console.LIBRARY)
    handlers, level = list(logger.handlers), logger.level
    console.enable_logging()
    logger.propagate = True
    yield
    logger.handlers, logger.propagate = handlers, True
    logger.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A download cache of the test run's own, so that no test reads what an earlier run left."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHARPEN_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def same_arithmetic_on_every_machine() -> Iterator[None]:
    """`precision: auto` and `attn_implementation: auto` come to the same here and in child processes: none measures."""
    from sharpen.hardware import measurement

    attention = {name: {str(limit): "sdpa" for limit in measurement.LENGTHS} for name in measurement.tables()}
    chosen = {"version": measurement.VERSION, "machine": measurement.machine(), "precision": "fp32", "bf16_speed": 1.0}
    chosen |= {"attention": attention, "threads": 64}
    chosen |= {"measured_at": "2026-01-01T00:00:00Z", "seconds": 0.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(measurement.VARIABLE, json.dumps(chosen))
        yield


@pytest.fixture(scope="session", autouse=True)
def kfp_local_takes_any_path() -> Iterator[None]:
    """Components run under kfp.local here as in `sharpen run`, from a folder with a space in its name too."""
    from pipeline.local.kfp_local import arguments_left_alone

    with arguments_left_alone():
        yield


@pytest.fixture(scope="session", autouse=True)
def kfp_asks_for_a_name_only() -> Iterator[None]:
    """To know who called it, kfp looks through the sources of the whole stack and all modules: seconds in a process
    that has imported as much as this one.
    """
    from kfp.dsl import pipeline_task

    def stack() -> list[tuple[object, str, int, str]]:
        frame, found = sys._getframe(1), []
        for one in (frame, frame.f_back):
            assert one is not None
            found.append((one, one.f_code.co_filename, one.f_lineno, one.f_code.co_name))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_task, "inspect", SimpleNamespace(stack=stack))
        yield


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The root address of a real S3 store, one per test process; the AWS variables point at it."""
    from pipeline.store.server import EmbeddedStore

    with EmbeddedStore(tmp_path_factory.mktemp("s3 store") / "store") as store, pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
            patch.delenv(name, raising=False)
        for name, value in store.env().items():
            patch.setenv(name, value)
        yield store.root


@pytest.fixture
def kfp() -> Iterator[FakeKfp]:
    """A fresh Kubeflow Pipelines. A request or an answer that its published OpenAPI does not allow fails the test."""
    from tests.pipeline.cluster import openapi
    from tests.pipeline.cluster.fake_kfp import FakeKfp

    openapi.needed()
    with FakeKfp() as fake:
        yield fake
    assert fake.faults == []


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with random weights as a sentence-transformers folder: mean pooling, normalised, 32 dimensions."""
    return _tiny_bert(tmp_path_factory.mktemp("tiny") / "tiny-bert", cased=False)


@pytest.fixture(scope="session")
def cased_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a model whose tokenizer tells capital letters from small ones, and accents from none."""
    return _tiny_bert(tmp_path_factory.mktemp("tiny") / "cased-bert", cased=True)


def _tiny_bert(folder: Path, *, cased: bool) -> Path:
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast  # type: ignore[attr-defined]

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"()[]{}<>=+-*/_@#%&|\\^~`$"
    letters += "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if cased else ""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys([*pieces, *_WORDS]))}
    BertTokenizerFast(vocab=vocabulary, do_lower_case=not cased, model_max_length=128).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=TINY_DIMENSION,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20)
        BertModel(config).save_pretrained(folder)
    _write_sentence_transformers_files(folder)
    return folder


def _write_sentence_transformers_files(folder: Path) -> None:
    def write(name: str, value: object) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=2))

    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds)
    ]
    write("modules.json", modules)
    pooling = {
        "word_embedding_dimension": TINY_DIMENSION,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "pooling_mode_weightedmean_tokens": False,
        "pooling_mode_lasttoken": False,
        "include_prompt": True,
    }
    write("1_Pooling/config.json", pooling)
    (folder / "2_Normalize").mkdir()
    write("sentence_bert_config.json", {"max_seq_length": 128, "do_lower_case": False})
    write(
        "config_sentence_transformers.json",
        {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )
