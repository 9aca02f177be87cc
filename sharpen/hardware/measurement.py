"""Which arithmetic, which attention and how many threads are fast on this CPU, by a short measurement.

A processor's flags say what it can do, not what is fast: there are machines with bf16 units whose products in bf16 take
twice as long as in fp32. What is measured is the time that one thread computes, so that other busy processes change
little, and the usual choice stands unless the other is clearly faster. It is kept for this kind of machine, and handed
to child processes, so that all steps of a run compute alike.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sharpen.errors import InputError
from sharpen.hardware.thread_count import CLEARLY, fast_thread_count
from sharpen.processes.cores import available_cores, machine_cores, requested_cores
from sharpen.store.download_cache import cache_folder
from sharpen.typed_json import sha256_json

logger = logging.getLogger(__name__)

# What a process has chosen, as JSON, for its children.
VARIABLE = "SHARPEN_HARDWARE"
# Longest text of a model in tokens -> tokens of the texts that attention is measured with; most are shorter.
LENGTHS = {512: 256, 1024: 1024}
# Above it only attention that never has all scores of a text in memory: 8,192 tokens take 3 GiB (12 heads, a layer).
LONGEST_WITH_SCORES = 2048
KERNELS = {"fp32": ("eager", "sdpa"), "bf16": ("eager_bf16", "sdpa")}
VERSION = 2
# (tokens, hidden size) of the products: those of small and base encoders, with four times the size inside.
_SHAPES = ((256, 384), (128, 768))
_HEADS, _HEAD_SIZE, _TOKENS = 4, 32, 512
_REPEATS, _ENOUGH_SECONDS = 2, 0.02

_chosen: dict[str, Any] | None = None
_lock = threading.Lock()


def choices() -> dict[str, Any]:
    """What is fast on this CPU: what the parent process chose, else what is kept of such a machine, else measured now.

    Returns:
        ``precision`` (fp32 or bf16), ``bf16_speed`` (of fp32's), ``attention`` (``<precision> training`` or
        ``<precision> encoding`` -> longest text -> implementation), ``threads``, ``machine``, ``measured_at`` (UTC),
        ``seconds``.
    """
    global _chosen
    with _lock:
        if _chosen is None:
            _take(_inherited() or _from_file() or _written(_measured()))
        assert _chosen is not None
        return _chosen


def adopt(chosen: dict[str, Any]) -> None:
    """Compute as another process did: the first of a training, or the one that wrote a checkpoint.

    The number of threads stays: it is this machine's, and changes no result.
    """
    with _lock:
        _take({**chosen, "threads": (_chosen or {}).get("threads") or chosen.get("threads") or machine_cores()})


def fast_attention(precision: str, longest: int, *, training: bool) -> str:
    """The attention in `precision` for texts of at most `longest` tokens, in `training` or encoding."""
    if longest > LONGEST_WITH_SCORES:
        return "sdpa"
    table = choices()["attention"][f"{precision} {'training' if training else 'encoding'}"]
    return table[str(next((limit for limit in LENGTHS if limit >= longest), max(LENGTHS)))]


def fast_threads() -> int:
    """Threads for this process: as many as were requested, else its share of those that are fast on this machine."""
    share = choices()["threads"] // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return requested_cores() or min(available_cores(), max(1, share))


def described() -> str:
    """In a line, for a log."""
    found = choices()
    return (
        f"{found['precision']} (a step in bf16 has {found['bf16_speed']:.2f} x the speed of fp32) and at most "
        f"{found['threads']} thread(s), measured in "
        f"{found['seconds']:.1f} s on {found['measured_at']}"
    )


def _take(chosen: dict[str, Any]) -> None:
    global _chosen
    _chosen = chosen
    os.environ[VARIABLE] = json.dumps(chosen)


def _inherited() -> dict[str, Any] | None:
    return _whole(os.environ.get(VARIABLE, ""))


def _from_file() -> dict[str, Any] | None:
    with suppress(OSError, InputError):
        return _whole(_file().read_text(encoding="utf-8"))
    return None


def _whole(text: str) -> dict[str, Any] | None:
    """What was chosen; None, where it is not that, or of another version or machine."""
    try:
        found = json.loads(text)
        whole = found["version"] == VERSION and found["machine"] == machine() and found["precision"] in KERNELS
        whole = whole and {*found["attention"]} == {*tables()} and found["bf16_speed"] > 0 and found["threads"] > 0
        return found if whole else None
    except (ValueError, KeyError, TypeError):
        return None


def _written(chosen: dict[str, Any]) -> dict[str, Any]:
    """Keep it; of two processes that measured at once, both take what the first one wrote."""
    logger.warning(
        f"note: hardware: {chosen['precision']} is used on at most {chosen['threads']} thread(s), measured in "
        f"{chosen['seconds']:.1f} s"
    )
    # where nothing can be written, the next process measures again
    with suppress(OSError, InputError):
        path = _file()
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="utf-8") as target:
            json.dump(chosen, target)
            target.flush()
            if _from_file() is None:
                path.unlink(missing_ok=True)
            with suppress(FileExistsError):
                os.link(target.name, path)
    return _from_file() or chosen


def _file() -> Path:
    name = sha256_json([VERSION, machine()])[:16]
    return cache_folder() / "hardware" / f"{name}.json"


def machine() -> str:
    """The kind of machine that a choice holds for: processor, cores that may be used, and torch."""
    names: list[str] = []
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [
            line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "model\t", "stepping"))
        ]
    return f"{' '.join(dict.fromkeys(names))}, {machine_cores()} cores, torch {torch.__version__}"


def tables() -> Iterator[str]:
    """The cases for which an attention is chosen: ``<precision> training`` and ``<precision> encoding``."""
    for precision in KERNELS:
        for use in ("training", "encoding"):
            yield f"{precision} {use}"


def _measured() -> dict[str, Any]:
    """Measure: a second or two."""
    # with it comes transformers, which takes longer than what is measured
    from sharpen.hardware import cpu_attention

    began = time.perf_counter()
    result: dict[str, Any] = {}
    fault: list[BaseException] = []

    def measure() -> None:
        torch.set_num_threads(1)  # of this thread alone
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                result["bf16_speed"] = _bf16_speed()
                result["attention"] = {name: _attention_of(name, cpu_attention.attention) for name in tables()}
                result["threads"] = fast_thread_count(machine_cores())
        except BaseException as error:
            fault.append(error)

    threads = torch.get_num_threads()
    thread = threading.Thread(target=measure, name="hardware")
    thread.start()
    thread.join()
    # torch gives the number that was set last to every thread that begins
    torch.set_num_threads(threads)
    if fault:
        raise fault[0]
    return {
        "version": VERSION,
        "machine": machine(),
        "precision": "bf16" if result["bf16_speed"] >= CLEARLY else "fp32",
        **result,
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(time.perf_counter() - began, 2),
    }


def _bf16_speed() -> float:
    """How many times as fast as in fp32 the products of a layer are in bf16, forward and backward, casts included."""
    product = 1.0
    for tokens, size in _SHAPES:
        layer = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size), nn.LayerNorm(size))
        given = torch.randn(tokens, size, requires_grad=True)

        def step(precision: str, layer: nn.Module = layer, given: Tensor = given) -> None:
            with _arithmetic(precision):
                out = layer(given)
            out.float().sum().backward()

        seconds = _seconds({precision: lambda precision=precision, step=step: step(precision) for precision in KERNELS})
        product *= seconds["fp32"] / seconds["bf16"]
    return round(product ** (1 / len(_SHAPES)), 3)


def _attention_of(table: str, eager_bf16: Callable[..., Any]) -> dict[str, str]:
    """Longest text -> the faster implementation; near ties go to the one that is usually faster."""
    precision, _, use = table.partition(" ")
    found = {}
    for limit, length in LENGTHS.items():
        # in fp32 only the backward pass of `sdpa` is slow, and with long texts scores no longer fit into the caches
        usual = "sdpa" if length > 512 or (precision, use) == ("fp32", "encoding") else KERNELS[precision][0]
        other = next(name for name in KERNELS[precision] if name != usual)
        passes = {name: _attention(name, precision, length, use == "training", eager_bf16) for name in (usual, other)}
        seconds = _seconds(passes)
        found[str(limit)] = other if seconds[usual] >= CLEARLY * seconds[other] else usual
    return found


def _attention(
    name: str, precision: str, length: int, training: bool, eager_bf16: Callable[..., Any]
) -> Callable[[], None]:
    """One pass of an attention implementation over a micro-batch in which the last quarter of each text is padding."""
    texts = max(1, _TOKENS // length)
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    shape = (texts, _HEADS, length, _HEAD_SIZE)
    query, key, value = (torch.randn(shape, dtype=kind, requires_grad=training) for _ in range(3))
    seen = torch.ones(texts, 1, length, length, dtype=torch.bool)
    seen[..., 3 * length // 4 :] = False
    added = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)

    def attend() -> Tensor:
        if name == "sdpa":
            return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        if name == "eager":
            scores = query @ key.transpose(2, 3) * _HEAD_SIZE**-0.5 + added
            return scores.softmax(dim=-1) @ value
        return eager_bf16(nn.Module(), query, key, value, added)[0]

    def run() -> None:
        with torch.set_grad_enabled(training):
            out = attend()
        if training:
            # not of a sum: its gradient is one number, seen many times, which products in bf16 are slow with
            out.backward(torch.ones_like(out, memory_format=torch.contiguous_format))

    return run


def _seconds(runs: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Least seconds of this thread's work of each run, in turn, after one that is dropped."""
    best: dict[str, float] = {}
    for round_ in range(_REPEATS + 1):
        for name, run in runs.items():
            if round_ > 1 and best[name] > _ENOUGH_SECONDS:
                continue
            began = time.thread_time()
            run()
            took = time.thread_time() - began
            if round_:
                best[name] = min(took, best.get(name, took))
    return best


@contextmanager
def _arithmetic(precision: str) -> Iterator[None]:
    with torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bf16" else nullcontext():
        yield
