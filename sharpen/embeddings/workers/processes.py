"""Encoding on several processes: how many are worth their start, and the job that fills the cache."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from sharpen.data.text_type import TextType
from sharpen.embeddings.shards import ShardFolder
from sharpen.embeddings.workers.request import Request
from sharpen.processes.cores import available_cores
from sharpen.processes.local import run_on_processes
from sharpen.store import local_store

if TYPE_CHECKING:
    from sharpen.models.encoder import Encoder

MODULE = "sharpen.embeddings.workers"
# Tokens of each process below which its start (Python, torch and the model: ten seconds) takes longer than it saves.
MIN_TOKENS_PER_PROCESS = {"cpu": 100_000, "cuda": 10_000_000}
CHARACTERS_A_TOKEN = 4


def process_count(encoder: Encoder, kind: TextType, texts: Sequence[str], rows: np.ndarray) -> int:
    """How many processes should encode these `rows` (n,) of the texts of a `kind` with an `encoder`: 1 means this one.

    As many as `EncoderSettings.encoding_processes` asks for, but at most one a GPU (or one a core where there is no
    GPU), and no more than have enough to do.
    """
    if not encoder.address:
        return 1
    device = encoder.device.type
    here = torch.cuda.device_count() if device == "cuda" else available_cores()
    wanted = min(here, encoder.settings.encoding_processes or (here if device == "cuda" else 1))
    if wanted == 1:
        return 1
    longest = encoder.max_lengths[kind]
    tokens = sum(min(longest, len(texts[row]) // CHARACTERS_A_TOKEN + 2) for row in rows.tolist())
    return max(1, min(wanted, tokens // MIN_TOKENS_PER_PROCESS["cpu" if device == "cpu" else "cuda"]))


def encode_on_processes(
    encoder: Encoder,
    cache: ShardFolder,
    texts: list[str],
    kind: TextType,
    instructions: list[str | None] | None,
    rows: np.ndarray,
    processes: int,
    cache_address: str,
) -> None:
    """Let several processes encode some rows of the texts and keep them in the cache.

    Args:
        encoder: the model; its weights are out of a GPU meanwhile.
        cache: where the vectors will be.
        texts, kind, instructions: as for `Encoder.tokenize`.
        rows: which of the texts.
        processes: how many.
        cache_address: of the cache, as `EncoderSettings.vector_cache` says it.

    Raises:
        InputError, StepFailed: as `run_on_processes`.
    """
    device = encoder.device
    folder = local_store.temp_sibling(cache.folder / "request")
    try:
        with local_store.translate_os_errors(folder):
            folder.mkdir(mode=0o700)
            Request.of(encoder, cache.folder.name, texts, kind, instructions, rows, cache_address).write(folder)
        if device.type == "cuda":
            # the first process needs the room
            encoder.to("cpu")
            torch.cuda.empty_cache()
        # of this machine in a cluster too: a pod of its own for the corpus of one step would wait in a queue
        run_on_processes(MODULE, ["--request", str(folder)], processes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        encoder.to(device)
