"""A small corpus and its windows, shared by the tests of pre-training."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.conftest import _WORDS


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 passages, one of them long, one empty but for its title, one twice."""
    draw = random.Random(5)
    texts = [" ".join(draw.choices(_WORDS, k=draw.choice([3, 8, 14]))) for _ in range(21)]
    rows = [{"_id": str(number), "text": text} for number, text in enumerate(texts)]
    rows += [{"_id": "long", "text": " ".join(draw.choices(_WORDS, k=90))}, {"_id": "again", "text": texts[0]}]
    rows += [{"_id": "title", "title": "only a title", "text": ""}]
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def windows(corpus: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the corpus's windows, of at most 32 tokens."""
    from datasets import Dataset
    from transformers import AutoTokenizer

    from sharpen.pretraining.windows import write_windows

    folder = tmp_path_factory.mktemp("windows")
    texts = [json.loads(line)["text"] for line in corpus.read_text().splitlines()]
    write_windows(Dataset.from_dict({"text": texts}), AutoTokenizer.from_pretrained(tiny_model), 32, False, 0, folder)
    return folder
