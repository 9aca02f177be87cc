"""Folders that are broken or meant ill end in one line, soon, and nothing of them runs."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
import torch

from sharpen.errors import InputError
from sharpen.models import model_check, model_config
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from tests.sharpen.models.hostile_folders import HOSTILE, sharded
from tests.sharpen.models.tiny_models import DECODERS, ENCODERS, make_model

pytestmark = pytest.mark.model


def opened(folder: Path) -> Encoder:
    """As every step opens a model."""
    settings = model_config.resolve(str(folder), EncoderSettings(precision="fp32")).settings
    return Encoder.load(str(folder), settings, device="cpu")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_is_one_line(
    name: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpickle(*_: object, **__: object) -> None:
        raise AssertionError("torch.load was reached")

    change, told = HOSTILE[name]
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    change(folder)
    monkeypatch.setattr(torch, "load", unpickle)
    started = time.monotonic()
    with pytest.raises(InputError) as caught:
        opened(folder)
    assert time.monotonic() - started < 20
    assert len(caught.value.faults) == 1 or name == "our settings with odd types"
    for line in caught.value.faults:
        assert told in line and "\n" not in line and len(line) < 600, line
    assert not (tmp_path / "model.harmed").exists()


def test_sound_folders_of_every_kind_pass(tiny_model: Path, tmp_path: Path) -> None:
    for kind in (*ENCODERS, *DECODERS):
        model_check.check_transformer(kind, make_model(tmp_path / kind, kind))
    parts = tmp_path / "parts"
    shutil.copytree(tiny_model, parts)
    sharded()(parts)
    assert opened(parts).dimension == 32


def test_links_of_the_hub_cache_are_its_own(tiny_model: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    shutil.copytree(tiny_model, snapshot)
    (snapshot / "model.safetensors").rename(blobs / "0123")
    (snapshot / "model.safetensors").symlink_to("../../blobs/0123")
    assert opened(snapshot).dimension == 32
