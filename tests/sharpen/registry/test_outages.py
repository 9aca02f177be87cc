"""A promotion whose store goes away: the version is registered once, whole, and becomes the champion."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pipeline.store.server import EmbeddedStore
from sharpen.registry import registry
from sharpen.registry.promote import promote
from sharpen.registry.settings import PromotionSettings
from sharpen.store import storage
from tests.store_outages import outage_at, own_store

pytestmark = pytest.mark.store

NAME = "code-search"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    with own_store(tmp_path_factory.mktemp("outages")) as one:
        yield one


@pytest.fixture
def root(store: EmbeddedStore) -> str:
    return storage.join(store.root, "registry")


def test_a_store_that_goes_away_twice_in_a_promotion(
    store: EmbeddedStore, root: str, make_model: Callable[..., str], make_evaluation: Callable[..., str]
) -> None:
    """Paused while the version is uploaded; stopped when the champion is about to change hands."""
    model = make_model("w1")
    evaluation = make_evaluation(model)
    with (
        outage_at(store, "paused", 1, lambda at: at.key.endswith("versions/v0001/model.safetensors")) as paused,
        outage_at(store, "stopped", 0, lambda at: bool(paused) and at.key.endswith("champion.json")) as stopped,
    ):
        ended = promote(model, evaluation, NAME, root, PromotionSettings.checked({}))
    assert len(paused) == len(stopped) == 1
    champion = registry.read_champion(root, NAME)
    assert champion and champion.version == "v0001" and ended.verdict == "promote"
    assert registry.list_versions(root, NAME) == ["v0001"]
    assert storage.open_artifact(ended.version).is_dir()
