"""The gradient on 2 and 4 real processes is that of one process that holds the whole batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sharpen.distributed import ProcessGroup
from sharpen.losses.contrastive import loss_and_gradient
from sharpen.models.encoder import Encoder
from sharpen.training.data.collator import shard_batch
from sharpen.training.data.tokens import Tokens
from sharpen.training.gradient.gradient_cache import encode
from sharpen.training.model.encoder_setup import set_up
from sharpen.training.objective import memory_of, objective_of
from tests.sharpen.training.gradients import DENSE, MIXED, SHARDED, SOURCES, VARIANTS, one, prepared_for, settings_of
from tests.sharpen.training.slow import slow_loss
from tests.sharpen.training.small_data import ENCODER, parts, small_data

pytestmark = [pytest.mark.processes, pytest.mark.model]
SIZES = (2, 4)


@pytest.fixture(scope="module")
def results(cased_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], dict[str, Any]]:
    """(processes, rank) -> what `gradients.worker` wrote."""
    folder = tmp_path_factory.mktemp("gradients")
    sizes = ",".join(map(str, SIZES))
    command = [sys.executable, "-W", "ignore", "-m", "tests.sharpen.training.gradients", str(cased_model), sizes]
    subprocess.run([*command, str(folder)], check=True, timeout=600, cwd=Path(__file__).parents[3])
    return {(size, rank): dict(np.load(folder / f"{size}-{rank}.npz")) for size in SIZES for rank in range(size)}


def assert_same_gradient(found: np.ndarray, expected: np.ndarray) -> None:
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    cosine = found @ expected / np.linalg.norm(found) / np.linalg.norm(expected)
    assert cosine >= 0.999999
    assert np.linalg.norm(found) / np.linalg.norm(expected) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [*VARIANTS, *DENSE, *MIXED])
def test_gradient_equals_one_process(results: dict, cased_model: Path, name: str, size: int) -> None:
    alone = one(str(cased_model), name, ProcessGroup())
    for rank in range(size):
        found = results[size, rank]
        assert float(found[f"{name}/loss"]) == pytest.approx(alone["loss"], rel=1e-5)
        assert float(found[f"{name}/negatives"]) == pytest.approx(alone["negatives"], rel=1e-6)
        assert_same_gradient(found[f"{name}/gradient"], alone["gradient"])
        assert np.array_equal(found[f"{name}/gradient"], results[size, 0][f"{name}/gradient"])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SHARDED)
def test_gradient_of_shards_equals_one_process(results: dict, cased_model: Path, name: str, size: int) -> None:
    """Though processes have different numbers of micro-batches, some none, and others keep more of them."""
    alone = one(str(cased_model), name, ProcessGroup())
    found = [results[size, rank] for rank in range(size)]
    for of_rank in found:
        assert float(of_rank[f"{name} in shards/loss"]) == pytest.approx(alone["loss"], rel=1e-5)
        assert_same_gradient(of_rank[f"{name} in shards/gradient"], alone["gradient"])
    held = [int(of_rank[f"{name} in shards/held"]) for of_rank in found]
    assert sum(held) == alone["held"]
    assert max(held) <= 1.1 * alone["held"] / size


@pytest.mark.parametrize(
    "name",
    [
        *("plain", "cached", "kl_div", "m3_kd_loss", "matryoshka", "in-batch off", "symmetric", "a source apart"),
        *("a source apart, cached", "a source apart, m3_kd_loss", "sources by temperature"),
        *("two towers", "two towers, cached", "adapters", "adapters, checkpointed, two towers", *DENSE),
    ],
)
def test_one_process_equals_the_definition(cased_model: Path, name: str) -> None:
    """Texts through the encoder one by one, the slow loss, and autograd through all of it."""
    settings, step = settings_of(name)
    encoder = prepared_for(str(cased_model), name)
    examples, batches = parts(settings, sources=SOURCES)
    batch = batches.batch(step)
    vectors = {}
    for query in batch.queries.tolist():
        ids = encoder.tokenize([examples.queries[query]], "query")
        vectors["query", int(examples.query_number[query])] = encoder(**encoder.pad(ids), kind="query")[0].double()
    for text in set(batch.groups.reshape(-1).tolist()):
        ids = encoder.tokenize([examples.texts[text]], "passage")
        vectors["text", text] = encoder(**encoder.pad(ids), kind="passage")[0].double()
    loss = slow_loss(batch, small_data(sources=SOURCES), examples, vectors, settings)
    loss.backward()
    gradient = [torch.zeros_like(p).reshape(-1) if p.grad is None else p.grad.reshape(-1) for p in encoder.parameters()]
    expected = torch.cat(gradient).numpy()
    alone = one(str(cased_model), name, ProcessGroup())
    assert alone["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert_same_gradient(alone["gradient"], expected)


def test_without_cross_device_the_loss_is_still_the_mean_over_the_global_batch(
    results: dict, cased_model: Path
) -> None:
    settings, _ = settings_of("process's own")
    encoder = Encoder.load(str(cased_model), ENCODER, device="cpu")
    set_up(encoder, settings)
    encoder.train()
    examples, batches = parts(settings, sources=SOURCES)
    total = 0.0
    for rank in range(2):
        layout = shard_batch(batches.batch(0), Tokens(examples, encoder), settings, rank, 2)
        encoding = encode(encoder, layout.tokens, memory_of(settings))
        objective = objective_of(settings, normalize=True)
        outcome = loss_and_gradient(encoding.embeddings, layout.contrasts, objective, layout.total_rows)
        encoding.backward(outcome.gradient)
        total += outcome.loss
    expected = torch.cat([p.grad.reshape(-1) for p in encoder.parameters() if p.grad is not None]).numpy()
    found = results[2, 1]
    assert float(found["process's own/loss"]) == pytest.approx(total, rel=1e-5)
    assert_same_gradient(found["process's own/gradient"], expected)
    across, _ = settings_of("plain")
    assert across.negatives_cross_device
    assert float(found["process's own/negatives"]) < float(found["plain/negatives"])


@pytest.mark.parametrize("size", SIZES)
def test_three_collectives_a_step_however_many_micro_batches(results: dict, size: int) -> None:
    started = results[size, 0]["collectives"].tolist()
    assert len(started) == 3
    for name, kind in zip(started, ("allgather", "reduce_scatter", "allreduce"), strict=True):
        assert name.strip("_").startswith(kind)
    # What counts them hears every other kind too.
    others = " ".join(results[size, 0]["others"].tolist())
    assert all(kind in others for kind in ("barrier", "broadcast_", "reduce_", "allgather_"))
