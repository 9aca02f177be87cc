"""Long passages of MedQuAD cut, as the mean of windows, and by their best window: quality, vectors and their bytes.

``python -m tests.peers.bench_windows --help``; what is measured is said in README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import sharpen
from sharpen.data.dataset import CORPUS, QRELS, QUERIES, DataSet
from sharpen.embeddings.windows import divide
from sharpen.evaluation.significance import paired
from sharpen.reports.formatting import number
from sharpen.store import storage
from sharpen.version import code_version
from tests.peers import machine
from tests.peers.medquad_data import cut, prepared, publish
from tests.peers.results import command, table, write_section
from tests.peers.rows import ROOT, minilm
from tests.peers.trainings import change

KINDS = ("none", "mean", "max")
METRICS = ("ndcg_at_10", "recall_at_100")


def main() -> None:
    given = arguments()
    data = data_of(given)
    found = {kind: measured(given, data, kind) for kind in KINDS}
    late = {kind: values_of(evaluated(given, late_data_of(given, data), kind, "late")) for kind in KINDS}
    title = f"Long passages in windows of {given.passage_max_len} tokens, {given.passages:,} passages of MedQuAD"
    write_section(title, report(given, data, found, late))


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.bench_windows", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--passages", type=int, default=3000, help="size of the corpus")
    parser.add_argument("--test_queries", type=int, default=600)
    parser.add_argument("--passage_max_len", type=int, default=128, help="tokens of a passage or window")
    parser.add_argument("--window_overlap", type=int, default=32, help="tokens that windows share")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--work", type=Path, default=ROOT / ".sharpen" / "bench-windows", help="keeps what is finished")
    return parser.parse_args()


@dataclass(frozen=True)
class Measured:
    """One kind of windows.

    Attributes:
        values: (queries, `METRICS`).
        vectors: how many a passage has.
        dimension: of a vector.
    """

    values: np.ndarray
    vectors: float
    dimension: int


def folder_of(given: argparse.Namespace, name: str) -> Path:
    """Of what was made with these options."""
    decisive = {key: str(value) for key, value in vars(given).items() if key != "work"}
    facts = json.dumps([decisive, code_version("sharpen.evaluation.evaluate")], sort_keys=True)
    return given.work / f"{hashlib.sha256(facts.encode()).hexdigest()[:10]}-{name}"


def data_of(given: argparse.Namespace) -> Path:
    """Random test queries, their passages, and random others."""
    folder = folder_of(given, "data")
    if not storage.is_complete(str(folder)):
        publish(cut(prepared(), train=0, test=given.test_queries, passages=given.passages, seed=42), folder)
    return folder


def late_data_of(given: argparse.Namespace, data: Path) -> Path:
    """The same corpus, searched by sentences of the part that is cut off, each of another passage."""
    folder = folder_of(given, "late-data")
    if storage.is_complete(str(folder)):
        return folder
    whole = DataSet.open(str(data))
    texts = whole.passage_texts()
    encoder = sharpen.load_model(str(minilm()), **lengths(given, "max"))
    sentences = {
        row: [one.strip() for one in texts[row][end:].split(". ")[1:] if 8 <= len(one.split()) <= 30]
        for row, end in divide(encoder, texts).cut.items()
    }
    counts = Counter(one for found in sentences.values() for one in found)
    once = {row: alone for row, found in sentences.items() if (alone := [one for one in found if counts[one] == 1])}
    draw = np.random.default_rng(42)
    rows = np.sort(draw.permutation(sorted(once))[: given.test_queries]).tolist()
    queries = [(f"s{row}", once[row][draw.integers(len(once[row]))], "test", "late", "", None) for row in rows]
    ids = whole.corpus["passage_id"]
    made = DataSet(
        whole.corpus.select(*CORPUS),
        pl.DataFrame(queries, schema=QUERIES, orient="row"),
        pl.DataFrame([(f"s{row}", ids[row], 1, "test") for row in rows], schema=QRELS, orient="row"),
    )
    publish(made, folder)
    return folder


def lengths(given: argparse.Namespace, kind: str) -> dict[str, Any]:
    """The settings of the encoder."""
    return {
        "passage_windows": kind,
        "window_overlap": given.window_overlap,
        "query_max_len": 64,
        "passage_max_len": given.passage_max_len,
        "precision": given.precision,
        "vector_cache": str(given.work / "vectors"),
    }


def evaluated(given: argparse.Namespace, data: Path, kind: str, name: str, **more: Any) -> Path:
    """The folder of an evaluation with this kind of windows, made if it is not there."""
    folder = folder_of(given, f"{name}-{kind}")
    if not storage.is_complete(str(folder)):
        settings = {**lengths(given, kind), "cutoffs": [10, 100], "resamples": 100, **more}
        sharpen.evaluate(str(minilm()), data, output=folder, **settings)
    return folder


def values_of(folder: Path) -> np.ndarray:
    """(queries, `METRICS`) of an evaluation."""
    return pl.read_parquet(folder / "per_query.parquet").sort("query_id").select(METRICS).to_numpy()


def measured(given: argparse.Namespace, data: Path, kind: str) -> Measured:
    """What an evaluation with this kind of windows found, and how many vectors it made."""
    folder = evaluated(given, data, kind, "test")
    facts = json.loads((folder / "facts.json").read_text())
    return Measured(values_of(folder), facts["encoding"].get("vectors_a_passage", 1.0), facts["encoding"]["dimension"])


def report(given: argparse.Namespace, data: Path, found: dict[str, Measured], late: dict[str, np.ndarray]) -> str:
    """The section: a row a kind, with differences to cut passages.

    Args:
        given: the options.
        data: the data set.
        found: what was measured with its queries.
        late: (queries, `METRICS`) of the sentences of the part that is cut off.
    """
    corpus = DataSet.open(str(data))
    rows = []
    for kind, one in found.items():
        shown = figures(found["none"].values, one.values) + figures(late["none"], late[kind])[:1]
        vectors = round(one.vectors * corpus.corpus.height)
        size = [f"{vectors * one.dimension * bytes_each / 1e6:.2f}" for bytes_each in (4, 1)]
        rows.append([kind, *shown, f"{vectors:,}", *size])
    best = paired(found["mean"].values, found["max"].values, resamples=10_000, confidence_level=0.95, seed=42)
    head = [
        "windows",
        "nDCG@10",
        "recall@100",
        "sentences: nDCG@10",
        "vectors",
        "fp32 (MB)",
        "int8 (MB)",
    ]
    return "\n\n".join(
        [
            f"{machine.describe(1)}. all-MiniLM-L6-v2, not trained, {given.precision}; {corpus.corpus.height:,} "
            f"passages, {corpus.queries.height:,} test queries; windows share at least {given.window_overlap} tokens. "
            "In brackets the difference to passages that are cut, with 95 % intervals over queries (paired bootstrap). "
            f"Max against mean: nDCG@10 {change(best[0])}, recall@100 {change(best[1])}. "
            f"Sentences: {len(late['none'])} sentences of the part that is cut off, each of another passage, which is "
            "the one to find; no questions of people, but the only ones here whose answers are sure to stand there. "
            f"`{command('tests.peers.bench_windows')}`",
            table(head, rows),
        ]
    )


def figures(reference: np.ndarray, values: np.ndarray) -> list[str]:
    """Means of the metrics, with their differences to a reference where it is another."""
    differences = paired(reference, values, resamples=10_000, confidence_level=0.95, seed=42)
    return [
        number(float(value)) + ("" if values is reference else f" ({change(difference)})")
        for value, difference in zip(values.mean(axis=0), differences, strict=True)
    ]


if __name__ == "__main__":
    main()
