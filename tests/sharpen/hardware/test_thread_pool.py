"""Work side by side gives what it gives one piece after the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sharpen.embeddings.encoding import encode
from sharpen.hardware.thread_pool import map_in_threads
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings


@pytest.fixture
def threads() -> Iterator[None]:
    """Three threads for torch, whatever the machine has, and the number before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def loaded(model: Path, precision: str) -> Encoder:
    settings = EncoderSettings.checked({"precision": precision, "vector_cache": "off"})
    return Encoder.load(str(model), settings, device="cpu")


def test_results_come_in_the_order_of_the_pieces(threads: None) -> None:
    def piece(number: int) -> tuple[int, str, int]:
        time.sleep(0.02 * (number % 3 == 0))
        return number, threading.current_thread().name, torch.get_num_threads()

    entered = []

    @contextmanager
    def surroundings() -> Iterator[None]:
        entered.append(threading.current_thread().name)
        yield

    found = list(map_in_threads((lambda n=n: piece(n) for n in range(20)), 3, surroundings))
    assert [number for number, _, _ in found] == list(range(20))
    assert {name for _, name, _ in found} <= set(entered) and len(entered) == 3
    assert {count for _, _, count in found} == {1}
    # neither this thread nor one that begins later is left with one
    assert torch.get_num_threads() == 3
    later: list[int] = []
    other = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert later == [3]


def test_few_pieces_are_begun_ahead(threads: None) -> None:
    taken = []

    def pieces() -> Iterator[Callable[[], int]]:
        for number in range(100):
            taken.append(number)
            yield lambda: 0

    results = map_in_threads(pieces(), 2, nullcontext)
    next(results)
    assert len(taken) <= 6
    results.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane")]


@pytest.mark.parametrize("lanes", [0, 1, 3])
def test_a_fault_comes_at_its_turn_and_nothing_is_left_running(lanes: int, threads: None) -> None:
    def piece(number: int) -> int:
        if number == 4:
            raise ValueError("the fourth")
        return number

    found = []
    with pytest.raises(ValueError, match="the fourth"):
        for result in map_in_threads((lambda n=n: piece(n) for n in range(50)), lanes, nullcontext):
            found.append(result)
    assert found == [0, 1, 2, 3]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane")]


@pytest.mark.parametrize("lanes", [1, 3])
def test_surroundings_that_cannot_be_entered_are_an_error_and_not_for_ever(lanes: int, threads: None) -> None:
    @contextmanager
    def surroundings() -> Iterator[None]:
        raise ValueError("no surroundings")
        yield

    told: list[BaseException] = []

    def caller() -> None:
        try:
            list(map_in_threads((lambda: 0 for _ in range(5)), lanes, surroundings))
        except ValueError as error:
            told.append(error)

    thread = threading.Thread(target=caller, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert [str(error) for error in told] == ["no surroundings"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane")]


@pytest.mark.model
@pytest.mark.parametrize("texts", [1, 200])
def test_every_micro_batch_is_computed_on_one_core(
    texts: int, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, threads: None
) -> None:
    """A single one too, whose last bits would depend on the number of cores otherwise."""
    encoder = loaded(tiny_model, "fp32")
    whole, cores = encoder.forward, []

    def forward(*given: Any, **more: Any) -> torch.Tensor:
        cores.append(torch.get_num_threads())
        return whole(*given, **more)

    monkeypatch.setattr(encoder, "forward", forward)
    encode(encoder, [f"some water {number}" for number in range(texts)], "passage")
    assert set(cores) == {1} and torch.get_num_threads() == 3


@pytest.mark.model
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_embeddings_do_not_depend_on_the_number_of_cores(
    precision: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, threads: None
) -> None:
    monkeypatch.setattr("sharpen.models.micro_batches.CPU_PIECE", 64)
    encoder = loaded(tiny_model, precision)
    texts = [" ".join(["water"] * (1 + number % 40)) + f" {number}" for number in range(200)]
    three = encode(encoder, texts, "passage")
    torch.set_num_threads(1)
    np.testing.assert_array_equal(encode(encoder, texts, "passage"), three)


@pytest.mark.model
def test_weights_that_changed_are_cast_anew(tiny_model: Path, threads: None) -> None:
    """Autocast keeps what it cast, for all threads; it must not outlive the encoding."""
    encoder = loaded(tiny_model, "bf16")
    texts = [f"some water {number}" for number in range(100)]
    before = encode(encoder, texts, "passage")
    with torch.no_grad():
        for weights in encoder.model.encoder.parameters():
            weights.mul_(1.5)
    after = encode(encoder, texts, "passage")
    assert not np.allclose(before, after, atol=1e-3)
    torch.set_num_threads(1)
    np.testing.assert_array_equal(encode(encoder, texts, "passage"), after)
