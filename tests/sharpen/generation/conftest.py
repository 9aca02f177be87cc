"""An endpoint, documents, and settings that go with both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sharpen import retry
from sharpen.generation.settings import KEY_VARIABLE, GenerationSettings
from tests.sharpen.generation.language_model import LanguageModel, language_model

TOPICS = ("winter weather", "bread and sugar", "public school", "river fish", "number memory", "north wind", "red wood")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[LanguageModel]:
    """A language model; pauses between tries are a hundredth as long."""
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    wait = retry.threading.Event.wait
    monkeypatch.setattr(retry.threading.Event, "wait", lambda self, timeout=None: wait(self, timeout and timeout / 100))
    with language_model() as found:
        yield found


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Seven short documents of different words."""
    folder = tmp_path / "documents"
    folder.mkdir()
    for number, topic in enumerate(TOPICS):
        first, second = topic.split()[0], topic.split()[-1]
        text = f"The {topic} of city {number}. People read of {first} every week and learn how {second} is measured."
        (folder / f"page-{number}.md").write_text(f"# About {topic}\n\n{text}\n", encoding="utf-8")
    return folder


@pytest.fixture
def settings(model: LanguageModel, tmp_path: Path) -> Callable[..., GenerationSettings]:
    """Settings for the endpoint, with a journal of the test's own."""

    def make(**values: Any) -> GenerationSettings:
        usual = {"endpoint": model.url, "model": "test-model", "journal": str(tmp_path / "journal"), "concurrency": 3}
        return GenerationSettings.checked({**usual, **values})

    return make
