"""Mutated input of every format, read as a user's would be: what `fuzz_readers` runs."""

from __future__ import annotations

import csv
import io
import json
import random
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import datasets
import numpy as np
import polars as pl
import pytest

from sharpen.data.dataset import DataSet
from sharpen.data.readers import ReadReport, detect_inputs, read_dataset, read_input
from sharpen.data.readers.columns import blocks, jsonl
from sharpen.data.source_settings import SourceSettings, parse_sources, sources_text
from sharpen.data.trec import read_qrels, read_run
from sharpen.mining.candidates.files import RankedFile
from sharpen.mining.corpus import MiningCorpus, build_corpus
from sharpen.progress import without_bars
from sharpen.store import storage
from tests.mutations import content_of, mutated, rows, stored, stored_table
from tests.sharpen.data.input_files import pair, passage, question, write_beir, write_rows


def read_all(address: str | SourceSettings) -> ReadReport:
    """Read every input of a source; AssertionError when the report does not add up. Raises InputError."""
    findings = ReadReport()
    for item in detect_inputs(address):
        read_input(item, "source", "train", findings)
    assert sum(findings.counts.values()) == len(findings.bad_rows) <= findings.rows
    assert all("\n" not in str(row) for row in findings.bad_rows)
    return findings


def json_lines(folder: Path, rng: random.Random) -> None:
    """FlagEmbedding rows."""
    plain = b"".join(json.dumps(row, ensure_ascii=rng.random() < 0.5).encode() + b"\n" for row in rows(rng))
    path = stored(folder / "rows.jsonl", plain, rng)
    with pytest.MonkeyPatch.context() as patch:
        # so that the few rows are read in blocks
        patch.setattr(jsonl, "LOOKED_AT", 1)
        patch.setattr(blocks, "LEAST_ROWS", 2)
        findings = read_all(str(path))
    content = content_of(path)
    assert content is not None, "a damaged gzip file was read"
    lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert findings.rows == sum(bool(line.strip(b" \t")) for line in lines), "a row is not counted"


def json_array(folder: Path, rng: random.Random) -> None:
    """FlagEmbedding rows as one array."""
    plain = json.dumps(rows(rng), indent=rng.choice((None, 1)), ensure_ascii=False).encode()
    path = stored(folder / "rows.json", plain, rng)
    findings = read_all(str(path))
    content = (content_of(path) or b"").decode("utf-8-sig", "replace").strip()
    if content.startswith("["):
        if content[:-1].rstrip().endswith(","):
            content = content[:-1].rstrip()[:-1] + "]"
        assert findings.rows == len(json.loads(content, parse_int=float)), "an array is not used whole"


def delimited(folder: Path, rng: random.Random) -> None:
    """Pairs as CSV or TSV."""
    suffix = rng.choice(("csv", "tsv"))
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t" if suffix == "tsv" else ",", quoting=rng.choice((0, 1)))
    writer.writerow(["query", "positive", "negative", "group"])
    for number in range(rng.randrange(1, 8)):
        writer.writerow([f"question {number}", rng.choice(("a\nb", 'say "x"', "c,d")) + str(number), "", "g"])
    findings = read_all(str(stored(folder / f"rows.{suffix}", text.getvalue().encode(), rng)))
    assert findings.rows


def beir(folder: Path, rng: random.Random) -> None:
    """A BEIR folder with one of its files changed."""
    count = rng.randrange(2, 6)
    grades = [str(rng.choice((1, 1, 2, 0, -1))) for _ in range(count)]
    pairs = [f"q{n}\tp{rng.randrange(count)}\t{grade}" for n, grade in enumerate(grades)]
    titles = ("", "Title")
    write_beir(
        folder / "set",
        [passage(n, rng.choice(titles)) for n in range(count)],
        [question(n) for n in range(count)],
        {"train": pairs, "test": pairs[:1]},
        header=rng.random() < 0.7,
    )
    name = rng.choice(("corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/test.tsv"))
    plain = (folder / "set" / name).read_bytes()
    (folder / "set" / name).unlink()
    stored(folder / "set" / name, plain, rng)
    read_all(str(folder / "set"))


def source(path: Path, rng: random.Random, **settings: object) -> SourceSettings:
    """The file as a source, half of the time with settings."""
    return SourceSettings.checked({"address": str(path), **(settings if rng.random() < 0.5 else {})})


def pairs(folder: Path, rng: random.Random) -> None:
    """Pairs, triplets and labelled pairs and texts as sentence-transformers' users have them."""
    count = range(rng.randrange(1, 8))
    times = ("2026-01-31", "1767225600", 1767225600, "", None)
    made = rng.choice(
        (
            [
                {"anchor": f"q {n}", "positive": f"p {n}", "negative_1": f"n {n}", "time": rng.choice(times)}
                for n in count
            ],
            [{"sentence1": f"q {n}", "sentence2": f"p {n}", "label": n % 2} for n in count],
            [{"sentence1": f"q {n}", "sentence2": f"p {n}", "score": n / 3, "metadata": '{"a": 1}'} for n in count],
            [{"text": f"q {n}", "label": rng.choice(("a", 1))} for n in count],
        )
    )
    columns = {"time": "time"} if "time" in made[0] else {}
    read_all(source(stored_table(folder / "rows", made, rng), rng, columns=columns, weight=2, prompt="find: "))


def clicks(folder: Path, rng: random.Random) -> None:
    """A log of what was shown and clicked, one impression or one page a row, with a pool for half of them."""
    count = range(rng.randrange(1, 8))
    made = [{"query": f"q {n % 2}", "shown": f"p{n % 3}", "clicked": n % 2, "position": n + 1} for n in count]
    if rng.random() < 0.4:
        made = [{"query": f"q {n}", "shown": ["p0", "p1"], "clicked": rng.choice(([0, 1], ["p1"]))} for n in count]
        path = stored(folder / "log.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in made), rng)
    else:
        path = stored_table(folder / "log", made, rng)
    known = stored_table(folder / "pool", [{"_id": f"p{n}", "text": f"text {n}", "title": ""} for n in range(3)], rng)
    read_all(source(path, rng, corpus=str(known), clicks={"propensities": "log2", "min_clicks": 2}))


def hugging_face(folder: Path, rng: random.Random) -> None:
    """A folder of save_to_disk of which a file was changed."""
    with without_bars():
        datasets.Dataset.from_list(rows(rng)).save_to_disk(folder / "set")
    path = rng.choice(sorted((folder / "set").iterdir()))
    path.write_bytes(mutated(path.read_bytes(), rng))
    read_all(str(folder / "set"))


def sources(folder: Path, rng: random.Random) -> None:
    """Sources with settings as one text."""
    (folder / "a.jsonl").write_bytes(b"{}")
    made = ["a.jsonl", {"address": "a", "weight": 2, "columns": {"query": "q"}, "clicks": {"propensities": [1, 0.5]}}]
    text = mutated(json.dumps(made).encode(), rng).decode("utf-8", "surrogateescape")
    named = parse_sources(text)
    assert parse_sources(sources_text(text)) == named


def trec_qrels(folder: Path, rng: random.Random) -> None:
    """Judgements in TREC's or BEIR's form."""
    if rng.random() < 0.3:
        plain = "query-id\tcorpus-id\tscore\n" + "".join(f"q{n}\tp{n}\t1\n" for n in range(5))
    else:
        plain = "".join(f"q{n % 3} 0 p{n} {n % 2}\n" for n in range(6))
    found = read_qrels(stored(folder / "qrels", plain.encode(), rng))
    pl.Series([grade for judged in found.values() for grade in judged.values()], dtype=pl.Int32)


def trec_run(folder: Path, rng: random.Random) -> None:
    """A ranking in TREC's form."""
    plain = "".join(f"q{n % 3} Q0 p{n} {n} {n / 7:.9g} tag\n" for n in range(6))
    found = read_run(stored(folder / "run", plain.encode(), rng))
    assert all(np.isfinite(score) for hits in found.values() for score in hits.values())


def pool() -> MiningCorpus:
    """Queries q0 to q2 and passages p0 to p5."""
    schema = {"query_id": [f"q{n}" for n in range(3)], "text": [f"query {n}" for n in range(3)]}
    queries = pl.DataFrame(schema).with_columns(split=pl.lit("train"), source=pl.lit("s"), instruction=pl.lit(""))
    corpus = pl.DataFrame(
        {"passage_id": [f"p{n}" for n in range(6)], "title": "", "text": [f"text {n}" for n in range(6)]}
    )
    qrels = pl.DataFrame({"query_id": [f"q{n}" for n in range(3)], "passage_id": [f"p{n}" for n in range(3)]})
    judged = qrels.with_columns(grade=pl.lit(1, dtype=pl.Int32), split=pl.lit("train"))
    return build_corpus(DataSet(corpus, queries, judged), "data")


POOL = pool()


def candidates(folder: Path, rng: random.Random) -> None:
    """Rankings as JSON Lines, Parquet or a TREC run."""
    made = [{"query_id": f"q{n % 3}", "passage_id": f"p{n}", "score": n / 7} for n in range(6)]
    match rng.randrange(3):
        case 0:
            path = stored(folder / "hits.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in made), rng)
        case 1:
            path = folder / "hits.parquet"
            pl.DataFrame(made).write_parquet(path, compression=rng.choice(("zstd", "uncompressed", "snappy")))
            path.write_bytes(mutated(path.read_bytes(), rng))
        case _:
            lines = "".join(f"{row['query_id']} Q0 {row['passage_id']} 1 {row['score']} t\n" for row in made)
            path = stored(folder / "hits.trec", lines.encode(), rng)
    for row in RankedFile(str(path), POOL).ranked(POOL, 4):
        assert row.max() < 6


SOURCE = b'''"""A module."""
import os


class Thing:
    """Hold a thing."""

    @property
    def size(self) -> int:
        """Return the size of the thing in bytes."""
        total = 0
        for part in self.parts:
            total += part
        return total


def add(first, second=1, *rest, **more):
    """Add all numbers that are given here.

    More text.
    """
    if first:
        return f"{first!r:>{second}}"
    elif second:
        return [x for x in rest if x] + [lambda: 1]
    return -first + sum(rest)
'''


def python(folder: Path, rng: random.Random) -> None:
    """A Python file beside a whole one."""
    (folder / "whole.py").write_bytes(SOURCE)
    (folder / "changed.py").write_bytes(mutated(SOURCE, rng))
    findings = read_all(f"python-source:{folder}")
    assert set(findings.counts) <= {"broken_python"} and findings.rows > findings.bad


def own(folder: Path, rng: random.Random) -> None:
    """A data set of ours of which a file was damaged; half of the time with a marker mended to match."""
    address = str(folder / "own")
    with storage.publish(address, producer="fuzz") as written:
        undamaged().save(written)
        if mended := rng.random() < 0.5:
            damage(written, rng)
    if not mended:
        damage(folder / "own", rng)
    read_dataset(address)


@cache
def undamaged() -> DataSet:
    """A small data set with every table."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [pair(n, neg=["x"], neg_scores=[1]) for n in range(4)]
        return read_dataset(str(write_rows(Path(folder) / "rows.jsonl", rows)))


def damage(folder: Path, rng: random.Random) -> None:
    """Change one of the Parquet files."""
    path = rng.choice(sorted(folder.rglob("*.parquet")))
    path.write_bytes(mutated(path.read_bytes(), rng))


FORMATS: dict[str, Callable[[Path, random.Random], None]] = {
    "json_lines": json_lines,
    "json_array": json_array,
    "delimited": delimited,
    "beir": beir,
    "pairs": pairs,
    "clicks": clicks,
    "hugging_face": hugging_face,
    "sources": sources,
    "trec_qrels": trec_qrels,
    "trec_run": trec_run,
    "candidates": candidates,
    "python": python,
    "own": own,
}
