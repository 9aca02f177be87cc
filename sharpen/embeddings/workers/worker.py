"""What one of the processes that fill the vector cache does.

`processes.py` starts them under torchrun. They agree on the lengths of the texts, cut the same micro-batches as one
process would, and each computes a share of equal tokens.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from sharpen.data.dedup import KEY_TYPE, exact_keys, select
from sharpen.embeddings.cache import open_cache
from sharpen.embeddings.encoding import encode_rows
from sharpen.embeddings.lazy_encoder import LazyEncoder
from sharpen.embeddings.sharding import Shard
from sharpen.embeddings.workers.request import Request
from sharpen.embeddings.writer import ShardWriter
from sharpen.errors import StepFailed
from sharpen.models.encoder import Encoder

# A process waits for the slowest one at the end of each chunk; torchrun ends all when one fails.
PATIENCE = timedelta(days=7)


class DistributedShard(Shard):
    """This process among those that torchrun started."""

    def __init__(self) -> None:
        super().__init__(dist.get_rank(), dist.get_world_size())

    def lengths(self, local: np.ndarray, total: int) -> np.ndarray:
        padded = np.zeros(-(-total // self.size), dtype=np.int64)
        padded[: len(local)] = local
        gathered = [torch.empty(len(padded), dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(gathered, torch.from_numpy(padded))
        return torch.stack(gathered, dim=1).reshape(-1).numpy()[:total]


def work(folder: Path) -> None:
    """Encode this process's share of a request into the cache.

    Args:
        folder: holds the request, written by the process that waits.

    Raises:
        StepFailed: the model is another one than that of the requesting process, or an embedding is not a number.
    """
    # torchrun's children tokenise with one thread otherwise
    os.environ.update(TOKENIZERS_PARALLELISM="true", RAYON_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "1"))
    request = Request.read(folder)
    encoder = Encoder.load(request.model, request.settings)
    cache = open_cache(LazyEncoder.of(encoder), request.kind)
    if cache is None or cache.folder.name != request.identity:
        raise StepFailed(f"{request.model}: the model was changed while it was in use; run again")
    keys = np.zeros(len(request.texts), dtype=KEY_TYPE)
    keys[request.rows] = exact_keys(*select(request.rows, request.texts, request.instructions))
    with process_group() as share, ShardWriter(cache, keys) as writer:
        encode_rows(encoder, request.texts, request.kind, request.instructions, request.rows, writer.add, share)


@contextmanager
def process_group() -> Iterator[Shard]:
    """The processes that torchrun started, or this one alone. They exchange lengths only, so gloo will do."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Shard()
        return
    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield DistributedShard()
    finally:
        dist.destroy_process_group()
