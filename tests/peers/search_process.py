"""Search and choice over vectors on disk, in a process of its own: ``python -m tests.peers.search_process --help``.

Prints one JSON object. Alone in its process, because the high-water mark of resident memory only rises.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import psutil

from tests.peers.memory import high_water

QUERIES, PASSAGES = "queries.npy", "passages.npy"
# The share of queries with a second positive: those take part in the estimate of false negatives.
SEVERAL = 0.1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=["Sharpen", "faiss"], required=True)
    parser.add_argument("--vectors", type=Path, required=True, help="folder of queries.npy and passages.npy")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--depth", type=int, required=True)
    given = parser.parse_args()
    queries = np.load(given.vectors / QUERIES, mmap_mode="r")
    passages = np.load(given.vectors / PASSAGES, mmap_mode="r")
    given.output.mkdir(parents=True, exist_ok=True)
    run = sharpen if given.engine == "Sharpen" else flat
    with Heap() as heap:
        facts = run(queries, passages, given.output, given.depth)
    facts |= {"peak_gib": high_water() / 2**30, "heap_gib": heap.peak / 2**30}
    (given.output / "facts.json").write_text(json.dumps(facts))


class Heap:
    """The highest resident memory of this process that is no page of a file: what the kernel could not just drop."""

    def __init__(self) -> None:
        self.peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Heap:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        process = psutil.Process()
        while not self._done.wait(0.1):
            memory = process.memory_info()
            self.peak = max(self.peak, memory.rss - memory.shared)


def sharpen(queries: np.ndarray, passages: np.ndarray, output: Path, depth: int) -> dict[str, float]:
    """Search, choose and write as mining does; how long after the start each part of the output was there."""
    from sharpen.data.dataset import TEACHER_SCORES, empty
    from sharpen.mining.mine import search_and_choose
    from sharpen.mining.output import NegativesWriter
    from sharpen.mining.rank_range import rank_range
    from sharpen.mining.rankings import MinerEmbeddings
    from sharpen.mining.settings import MiningSettings

    settings = MiningSettings.checked({"range_for_sampling": f"10-{depth}", "sampling": "random", "further_ranks": 0})
    pool = synthetic_pool(len(queries), len(passages))
    scope = rank_range(settings, len(passages))
    writer = NegativesWriter(output, pool, settings.candidate_sources, empty(TEACHER_SCORES))
    base = psutil.Process().memory_info().rss
    begun, started = time.time(), time.perf_counter()
    figures = search_and_choose(MinerEmbeddings(queries, passages), {}, pool, settings, scope, writer)
    seconds = time.perf_counter() - started
    parts = sorted((output / "negatives").glob("*.parquet"))
    return {
        "seconds": seconds,
        "base_gib": base / 2**30,
        "negatives": figures.negatives,
        "written": sum(pl.scan_parquet(part).select(pl.len()).collect().item() for part in parts),
        "parts": len(parts),
        "first_part_seconds": min(part.stat().st_mtime for part in parts) - begun,
        "hidden": figures.false_negatives.queries,
    }


def synthetic_pool(queries: int, passages: int):
    """A pool as `build_corpus` would make it: query i is relevant to passage i, and every tenth to another one too."""
    from sharpen.mining.corpus import MiningCorpus
    from sharpen.mining.pairs import PairSet

    numbers = np.arange(queries)
    several = numbers[:: round(1 / SEVERAL)]
    second = (several + passages // 2) % passages
    positives = PairSet.of(np.concatenate([numbers, several]), np.concatenate([numbers, second]), passages)
    nothing = PairSet.of([], [], 1)
    return MiningCorpus(
        query_ids=[f"q{number:09}" for number in range(queries)],
        queries=[f"question {number}" for number in range(queries)],
        instructions=[""] * queries,
        passage_ids=[f"p{number:09}" for number in range(passages)],
        passages=[f"passage {number}" for number in range(passages)],
        text_of=np.arange(passages),
        text_count=passages,
        query_text_number=np.full(queries, -1),
        positives=positives,
        known_passages=positives,
        known_texts=positives,
        given=nothing,
        given_texts=nothing,
        counts={"queries_without_positive": 0, "judged_irrelevant": 0, "given_known_positive_or_repeated": 0},
    )


def flat(queries: np.ndarray, passages: np.ndarray, output: Path, depth: int) -> dict[str, float]:
    """The search alone, by the index that both peers use: no choice, nothing written."""
    import faiss

    base = psutil.Process().memory_info().rss
    started = time.perf_counter()
    index = faiss.IndexFlatIP(passages.shape[1])
    index.add(np.ascontiguousarray(passages))  # pyright: ignore[reportCallIssue]
    found = 0
    for start in range(0, len(queries), 1024):
        scores, _ = index.search(np.ascontiguousarray(queries[start : start + 1024]), depth)  # pyright: ignore[reportCallIssue]
        found += scores.size
    return {"seconds": time.perf_counter() - started, "base_gib": base / 2**30, "found": found}


if __name__ == "__main__":
    main()
