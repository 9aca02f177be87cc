"""Rankings that the user brings: a TREC run, or JSONL or Parquet of query_id, passage_id and, if need be, score.

With scores the highest stands first and equal ones are ordered by passage id; without, the order of the rows counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from sharpen.data import trec
from sharpen.data.parquet import read_users_parquet
from sharpen.data.readers.json_rows import read_objects
from sharpen.data.readers.rows import ReadReport, RowError, kind_of_value, text_field
from sharpen.errors import InputError
from sharpen.index.exact import NO_PASSAGE
from sharpen.mining.corpus import MiningCorpus
from sharpen.store import storage

_SCHEMA = {"query_id": pl.String, "passage_id": pl.String, "score": pl.Float64}
_SHOWN = 3


class RankedFile:
    """A ranking from a file.

    Args:
        address: the file, or a folder of Parquet parts; local or ``s3://``.
        pool: the queries that are mined and the passages.

    Attributes:
        notices: what of the file was not used, a line each.

    Raises:
        InputError: no such file, a faulty row (file, line and field are named), a pair that stands twice, or nothing
            in it that belongs to the data set.
    """

    def __init__(self, address: str, pool: MiningCorpus) -> None:
        self.notices: list[str] = []
        path = storage.localize(address)
        run = path.is_file() and not _kind(path)
        table = _read_run(path, address) if run else _read_rows(path, address)
        _refuse_repeats(table, address)
        # a TREC file holds ids without white space
        known = [trec.field(passage_id) for passage_id in pool.passage_ids] if run else pool.passage_ids
        query_ids = [trec.field(query_id) for query_id in pool.query_ids] if run else pool.query_ids
        self.table = self._of_the_pool(table, query_ids, known, address)

    def ranked(self, pool: MiningCorpus, depth: int) -> Iterator[np.ndarray]:
        """Rows of the first `depth` passages of each query; `NO_PASSAGE` after the last."""
        order = ["query", "score", "passage"] if self.table["score"].null_count() == 0 else ["query", "row"]
        falls = [name == "score" for name in order]
        table = self.table.sort(order, descending=falls, maintain_order=True)
        passages = table["passage"].to_numpy()
        bounds = np.searchsorted(table["query"].to_numpy(), np.arange(len(pool.query_ids) + 1))
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            row = np.full(depth, NO_PASSAGE, dtype=np.int64)
            found = passages[start : min(end, start + depth)]
            row[: len(found)] = found
            yield row

    def _of_the_pool(self, table: pl.DataFrame, query_ids: list[str], known: list[str], address: str) -> pl.DataFrame:
        """The rows of mined queries and known passages, with numbers for ids."""
        queries = pl.DataFrame({"query_id": query_ids}).with_row_index("query")
        passages = pl.DataFrame({"passage_id": known}).with_row_index("passage")
        ours = table.with_row_index("row").join(queries, on="query_id")
        found = ours.join(passages, on="passage_id")
        if found.is_empty():
            name, given, expected = ("passage_id", ours, known) if ours.height else ("query_id", table, query_ids)
            shown = ", ".join(given[name].unique(maintain_order=True).head(_SHOWN).to_list())
            raise InputError(
                f"{address}: no row belongs to a query that is mined and a passage of the corpus: {name} values such "
                f"as {shown}, where the data set has such as {', '.join(expected[:_SHOWN])}; use the data set's ids"
            )
        if unknown := ours.height - found.height:
            first = ours.join(passages, on="passage_id", how="anti")["passage_id"][0]
            self.notices.append(f"{address}: {unknown:,} rows name passages that the corpus lacks, such as {first}")
        if without := len(query_ids) - found["query_id"].n_unique():
            self.notices.append(f"{address}: {without:,} of the {len(query_ids):,} queries have no candidate in it")
        return found


def _kind(path: Path) -> str:
    """``parquet``, ``jsonl``, or empty for a TREC run."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        return "parquet"
    return "jsonl" if name.endswith((".jsonl", ".json")) else ""


def _read_run(path: Path, address: str) -> pl.DataFrame:
    run = trec.read_run(path, address)
    rows = [(query_id, *hit) for query_id, hits in run.items() for hit in hits.items()]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _read_rows(path: Path, address: str) -> pl.DataFrame:
    parts = [path] if path.is_file() else sorted(path.glob("*.parquet"))
    if not parts:
        raise InputError(f"{address}: no *.parquet in the folder; name a file, or a folder of Parquet parts")
    table = pl.concat(
        [_read_jsonl(part, address) if _kind(part) == "jsonl" else _read_parquet(part, address) for part in parts]
    )
    if table.is_empty():
        raise InputError(f"{address}: no row in it; fill it, or take it out of candidate_sources")
    if table["score"].null_count() not in (0, table.height):
        row = int(table["score"].is_null().arg_true()[0]) + 1
        raise InputError(
            f"{address}, row {row}, score: missing, but other rows have one; give all rows a score or none"
        )
    return table


def _read_jsonl(path: Path, address: str) -> pl.DataFrame:
    findings = ReadReport()
    columns: dict[str, list] = {name: [] for name in _SCHEMA}
    for line, values, raw in read_objects(path, address, findings):
        try:
            row = (text_field(values, "query_id"), text_field(values, "passage_id"), _score(values))
        except RowError as fault:
            findings.add(address, line, fault, raw)
            continue
        for name, value in zip(_SCHEMA, row, strict=True):
            columns[name].append(value)
    if findings.counts:
        raise InputError(findings.first_faults("Repair the rows"))
    return pl.DataFrame(columns, schema=_SCHEMA)


def _score(values: dict) -> float | None:
    score = values.get("score")
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise RowError("wrong_type", "score", f"{kind_of_value(score)}, expected a number")
    if not math.isfinite(score):
        raise RowError("bad_score", "score", str(score))
    return float(score)


def _read_parquet(path: Path, address: str) -> pl.DataFrame:
    table = read_users_parquet(path, address)
    if missing := [name for name in ("query_id", "passage_id") if name not in table.columns]:
        raise InputError(f"{address}: column {', '.join(missing)} is missing; expected query_id, passage_id[, score]")
    if "score" not in table.columns:
        table = table.with_columns(score=pl.lit(None, dtype=pl.Float64))
    for name in _SCHEMA:
        held, expected = table[name].dtype, "numbers" if name == "score" else "texts"
        if held != pl.String if expected == "texts" else not (held.is_numeric() or held == pl.Null):
            raise InputError(f"{address}: column {name} holds {held}, expected {expected}")
    table = table.select([pl.col(name).cast(kind) for name, kind in _SCHEMA.items()])
    missing_id = pl.col("query_id").is_null() | pl.col("passage_id").is_null()
    faulty = table.select((missing_id | ~pl.col("score").is_finite().fill_null(True)).arg_true()).to_series()
    if len(faulty):
        where, more = f"{address}, row {faulty[0] + 1}", f"({len(faulty):,} such rows)"
        raise InputError(f"{where}: an id is missing or the score is not a finite number {more}")
    return table


def _refuse_repeats(table: pl.DataFrame, address: str) -> None:
    repeated = table.select("query_id", "passage_id").is_duplicated()
    if repeated.any():
        query_id, passage_id = table.filter(repeated).select("query_id", "passage_id").row(0)
        raise InputError(f"{address}: passage {passage_id} stands twice for query {query_id}; keep one row")
