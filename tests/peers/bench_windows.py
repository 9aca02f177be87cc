"""Long passages of MedQuAD cut, as the mean of windows, and by their best window: quality, vectors, bytes and time.

``python -m tests.peers.bench_windows --help``; what is measured is said in README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

import sharpen
from sharpen.data.dataset import DataSet
from sharpen.evaluation.significance import Paired, paired
from sharpen.reports.formatting import number, signed
from sharpen.store import storage
from sharpen.version import code_version
from tests.peers import machine
from tests.peers.medquad_data import cut, prepared, publish
from tests.peers.results import command, table, write_section
from tests.peers.rows import ROOT, minilm

KINDS = ("none", "mean", "max")
METRICS = ("ndcg_at_10", "recall_at_100")
SIZES = ("full", "int8")


def main() -> None:
    given = arguments()
    data = data_of(given)
    found = {kind: measured(given, data, kind) for kind in KINDS}
    title = f"Long passages in windows of {given.passage_max_len} tokens, {given.passages:,} passages of MedQuAD"
    write_section(title, report(given, data, found))


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
        index_bytes, milliseconds: of the FAISS file, and of a query in it, by the size of vectors.
        seconds: of encoding, what others of the kinds had encoded included where it ran first.
    """

    values: np.ndarray
    vectors: float
    index_bytes: dict[str, int]
    milliseconds: dict[str, float]
    seconds: float


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


def measured(given: argparse.Namespace, data: Path, kind: str) -> Measured:
    """An evaluation with this kind of windows, made if it is not there."""
    folder = folder_of(given, kind)
    if not storage.is_complete(str(folder)):
        sharpen.evaluate(
            str(minilm()), data, output=folder, passage_windows=kind, window_overlap=given.window_overlap,
            query_max_len=64, passage_max_len=given.passage_max_len, precision=given.precision,
            vector_cache=str(given.work / "vectors"), cutoffs=[10, 100], variants=["int8"], resamples=100,
        )  # fmt: skip
    facts = json.loads((folder / "facts.json").read_text())
    sizes = {one["name"]: one for one in json.loads((folder / "variants.json").read_text())["variants"]}
    return Measured(
        pl.read_parquet(folder / "per_query.parquet").sort("query_id").select(METRICS).to_numpy(),
        facts["encoding"].get("vectors_a_passage", 1.0),
        {size: sizes[size]["index_bytes"] for size in SIZES},
        {size: sizes[size]["latency_ms_p50"] for size in SIZES},
        facts["encode_seconds"],
    )


def report(given: argparse.Namespace, data: Path, found: dict[str, Measured]) -> str:
    """The section: a row a kind, with differences to cut passages."""
    corpus = DataSet.open(str(data))
    rows = []
    for kind, one in found.items():
        differences = paired(found["none"].values, one.values, resamples=10_000, confidence_level=0.95, seed=42)
        shown = [
            number(float(value)) + ("" if kind == "none" else f" ({change(difference)})")
            for value, difference in zip(one.values.mean(axis=0), differences, strict=True)
        ]
        vectors = round(one.vectors * corpus.corpus.height)
        size = [f"{one.index_bytes[size] / 1e6:.2f}" for size in SIZES]
        rows.append([kind, *shown, f"{vectors:,}", *size, f"{one.milliseconds['full']:.2f}"])
    best = paired(found["mean"].values, found["max"].values, resamples=10_000, confidence_level=0.95, seed=42)
    head = ["windows", "nDCG@10", "recall@100", "vectors", "index, fp32 (MB)", "index, int8 (MB)", "search (ms)"]
    return "\n\n".join(
        [
            f"{machine.describe(1)}. all-MiniLM-L6-v2, not trained, {given.precision}; {corpus.corpus.height:,} "
            f"passages, {corpus.queries.height:,} test queries; windows share at least {given.window_overlap} tokens. "
            "In brackets the difference to passages that are cut, with 95 % intervals over queries (paired bootstrap). "
            f"Max against mean: nDCG@10 {change(best[0])}, recall@100 {change(best[1])}. "
            f"`{command('tests.peers.bench_windows')}`",
            table(head, rows),
        ]
    )


def change(found: Paired) -> str:
    """A difference with its interval."""
    return f"{signed(found.difference)} [{signed(found.ci_low)}, {signed(found.ci_high)}]"


if __name__ == "__main__":
    main()
