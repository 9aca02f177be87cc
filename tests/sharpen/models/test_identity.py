"""The identity of a model: against the definition, tower by tower, and asked for once."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from sharpen.embeddings import LazyEncoder, embed, embed_texts
from sharpen.models import identity
from sharpen.models.encoder import Encoder
from sharpen.models.identity import identify
from sharpen.settings import EncoderSettings

pytestmark = pytest.mark.model


def loaded(model: Path, **settings: str) -> Encoder:
    return Encoder.load(str(model), EncoderSettings.checked({"passage_max_len": 16, **settings}), device="cpu")


def by_definition(encoder: Encoder, towers: list[str], *, use: bool) -> str:
    parts = []
    for kind in towers:
        for name, weights in sorted(encoder.towers[kind].state_dict().items()):  # type: ignore[index]
            parts.append(name.encode() + np.ascontiguousarray(weights.numpy()).tobytes())
    if use:
        parts.append(json.dumps([encoder.pooling, encoder.normalize, encoder.prompts]).encode())
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_it_is_that_of_the_weights_and_their_use(tiny_model: Path) -> None:
    one = loaded(tiny_model)
    two = loaded(tiny_model)
    two.untie()
    two.query_model.embeddings.word_embeddings.weight.data[3] += 1
    assert identify(one).model == by_definition(one, ["passage"], use=True)
    assert identify(two).model == by_definition(two, ["passage", "query"], use=True)
    assert identify(two).towers == {kind: by_definition(two, [kind], use=False) for kind in ("passage", "query")}
    assert identify(one).tower("query") == identify(one).tower("passage") == identify(two).tower("passage")
    prompted = identify(loaded(tiny_model, query_instruction_for_retrieval="find: "))
    assert prompted.model != identify(one).model and prompted.towers == identify(one).towers


def test_a_step_reads_the_weights_once(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "MIN_TEXTS_TO_CACHE", 1)
    asked: list[Encoder] = []
    monkeypatch.setattr(identity, "identify", lambda encoder: asked.append(encoder) or identify(encoder))
    known = LazyEncoder.of(loaded(tiny_model, vector_cache=str(tmp_path / "vectors")))
    embed_texts(known, ["a river"], "query")
    embed_texts(known, ["the moon", "a tree"], "passage")
    assert known.weights_hash == identify(known.load()).model
    assert len(asked) == 1
