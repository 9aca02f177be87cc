"""FlagEmbedding's rows in blocks of lines: Arrow parses them, polars checks them; what is odd is left to the caller.

A row is odd when anything about it might be wrong or is rare. Odd rows are read one by one, by the code that says what
is wrong with them, so that it makes no difference to the result whether a file was read in blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from pyarrow import json as arrow_json

from sharpen.data.readers.flagembedding import FIELDS
from sharpen.data.readers.query_facts import FactsReader
from sharpen.data.readers.rows import is_blank
from sharpen.data.readers.tables import DataSetBuilder
from sharpen.data.task_type import TaskType, task_type
from sharpen.data.text import SPACE, key_ids, text_keys
from sharpen.errors import InputError

BLOCK_BYTES, BLOCK_ROWS = 2**23, 20_000
# of a block that Arrow refuses, parts of fewer rows are read one by one
LEAST_ROWS = 50

Line = tuple[int, bytes]

_TEXTS = pa.list_(pa.string())
_KINDS: dict[str, pa.DataType] = {
    "query": pa.string(),
    "pos": _TEXTS,
    "neg": _TEXTS,
    "pos_scores": pa.list_(pa.float64()),
    "neg_scores": pa.list_(pa.float64()),
    "prompt": pa.string(),
    "group": pa.string(),
}
_ONE_BY_ONE = frozenset({"pos_id", "neg_id"})
_KINDS_OF_UNUSED: dict[type, pa.DataType] = {str: pa.string(), bool: pa.bool_(), int: pa.float64(), float: pa.float64()}


def kinds_of_fields(rows: list[dict[str, Any]], facts: FactsReader) -> dict[str, pa.DataType] | None:
    """The kinds of the fields of rows that can be read in blocks; None where rows like these are read one by one.

    Args:
        rows: the first ones of a file.
        facts: which fields say something of the query.
    """
    kinds = dict(_KINDS)
    for name in dict.fromkeys(name for row in rows for name in row):
        if name in _ONE_BY_ONE or (name in facts.used and name not in facts.type):
            return None
        if name in facts.type:
            kinds[name] = pa.string()
        elif name not in kinds:
            found = {_KINDS_OF_UNUSED.get(type(row[name])) for row in rows if name in row}
            if len(found) > 1 or None in found:
                return None
            kinds[name] = found.pop()
    return None if len(kinds.keys() & set(facts.type)) > 1 else kinds


class BlockReader:
    """Adds rows to tables.

    Args:
        tables: to add to.
        kinds: of `kinds_of_fields`.
        facts: which fields say something of the query.
        source, split: of the queries.
        unused: counts the rows with each field that is not used.
        one_by_one: reads odd rows, and counts them as read.
    """

    def __init__(
        self,
        tables: DataSetBuilder,
        kinds: dict[str, pa.DataType],
        facts: FactsReader,
        source: str,
        split: str,
        unused: Counter[str],
        one_by_one: Callable[[list[Line]], None],
    ) -> None:
        self.tables, self.source, self.split = tables, source, split
        self.unused, self.one_by_one = unused, one_by_one
        self.type = next(iter(kinds.keys() & set(facts.type)), "")
        self.others = [name for name in kinds if name not in _KINDS and name != self.type]
        self.schema = pa.schema(kinds)
        self.in_blocks = 0

    def read(self, lines: Iterator[Line]) -> None:
        """Add the rows that stand on lines."""
        block: list[Line] = []
        size = 0
        for line in lines:
            block.append(line)
            size += len(line[1])
            if size >= BLOCK_BYTES or len(block) >= BLOCK_ROWS:
                self._add(block)
                block, size = [], 0
        self._add(block)

    def _add(self, lines: list[Line]) -> None:
        if len(lines) < LEAST_ROWS:
            self.one_by_one(lines)
        elif (table := self._parsed([line for _, line in lines])) is None:
            middle = len(lines) // 2
            self._add(lines[:middle])
            self._add(lines[middle:])
        else:
            odd = self._add_table(table)
            self.in_blocks += len(lines) - len(odd)
            self.one_by_one([lines[row] for row in odd])

    def _parsed(self, lines: list[bytes]) -> pa.Table | None:
        """The rows of lines, or None: there is one among them that is not an object, or has a field of another kind."""
        text = b"\n".join(lines)
        breaks = len(lines) - 1
        # each line begins and ends as an object does, so that no object spans two of them and none holds two
        if text[:1] != b"{" or text[-1:] != b"}" or text.count(b"\n{") < breaks or text.count(b"}\n") < breaks:
            return None
        try:
            text.decode()
            table = arrow_json.read_json(
                pa.BufferReader(text),
                arrow_json.ReadOptions(use_threads=False, block_size=len(text) + 1),
                arrow_json.ParseOptions(self.schema, unexpected_field_behavior="error"),
            )
        except (pa.ArrowInvalid, UnicodeDecodeError):
            return None
        return table if table.num_rows == len(lines) else None

    def _add_table(self, table: pa.Table) -> list[int]:
        """Add the rows of a table, and return the odd ones, which are not added."""
        rows = pl.DataFrame(table).with_row_index("row")
        odd = np.zeros(rows.height, bool)
        queries = self._queries(rows)
        odd |= ~(_is_visible(queries["text"]) & queries["kind"].is_not_null().to_numpy())
        queries = queries.with_columns(text_keys(queries["text"]))
        lists = {name: _passages(rows, name, odd) for name in ("pos", "neg")}
        odd[np.setdiff1d(rows["row"].to_numpy(), lists["pos"]["row"].to_numpy())] = True
        positives = lists["pos"]
        equal = positives["text_key"].to_numpy() == queries["text_key"].to_numpy()[positives["row"].to_numpy()]
        odd[positives["row"].to_numpy()[equal]] = True
        for name in self.others:
            odd |= rows[name].is_null().to_numpy()
        if odd.any():
            queries = queries.filter(~odd)
            lists = {name: part.filter(~odd[part["row"].to_numpy()]) for name, part in lists.items()}
        self._extend(queries, lists)
        for name in self.others:
            self.unused[name] += 0 if name in FIELDS else queries.height
        return np.flatnonzero(odd).tolist()

    def _queries(self, rows: pl.DataFrame) -> pl.DataFrame:
        """row, text, instruction, group and kind, the task type (null: odd)."""
        kinds: dict[str, str | None] = {"": TaskType.RETRIEVAL}
        for name in rows[self.type].drop_nulls().unique() if self.type else ():
            if name:
                try:
                    kinds[name] = task_type(name)
                except InputError:
                    kinds[name] = None
        kind = pl.col(self.type).fill_null("") if self.type else pl.lit("")
        has_prompt = pl.col("prompt").str.strip_chars(SPACE) != ""
        return rows.select(
            "row",
            text=pl.col("query").str.strip_chars(SPACE),
            instruction=pl.when(has_prompt).then("prompt").otherwise(pl.lit("")),
            group=pl.col("group").fill_null("").str.strip_chars(SPACE),
            kind=kind.replace_strict(list(kinds), list(kinds.values()), return_dtype=pl.String),
        )

    def _extend(self, queries: pl.DataFrame, lists: dict[str, pl.DataFrame]) -> None:
        split, usual = pl.lit(self.split), pl.col("kind") == TaskType.RETRIEVAL.value
        prefix = pl.concat_str(
            pl.when(usual).then(pl.lit("")).otherwise(pl.col("kind") + "\n\n"),
            pl.when(pl.col("instruction") == "").then(pl.lit("")).otherwise(pl.col("instruction") + "\n"),
        )
        named = queries.with_columns(named=prefix + pl.col("text"))
        plain = (named["named"] == named["text"]).all()
        ids = key_ids(queries["text_key"] if plain else text_keys(named["named"])).alias("query_id")
        queries = queries.with_columns(ids, split=split, source=pl.lit(self.source))
        parts = {
            name: part.join(queries.select("row", "query_id"), on="row", maintain_order="left").with_columns(
                key_ids(part["text_key"]).alias("passage_id"), title=pl.lit(""), split=split, grade=pl.lit(1, pl.Int32)
            )
            for name, part in lists.items()
        }
        both = pl.concat(list(parts.values()))
        self.tables.extend(
            queries=queries,
            types=queries.filter(~usual).select("query_id", task_type="kind", label=pl.lit("")),
            groups=queries.filter(pl.col("group") != ""),
            passages=both,
            qrels=parts["pos"],
            negatives=parts["neg"],
            scores=both.filter(pl.col("score").is_not_null()),
        )


def _passages(rows: pl.DataFrame, name: str, odd: np.ndarray) -> pl.DataFrame:
    """row, text, score (null: none) and text_key of a list of passages; marks odd rows."""
    passages, scores = pl.col(name), pl.col(f"{name}_scores")
    length = passages.list.len().fill_null(0)
    # an empty list of scores says nothing, where there is no passage
    has_scores = scores.is_not_null() & ((length > 0) | (scores.list.len() > 0))
    odd |= rows.select(has_scores & (scores.list.len() != length)).to_series().fill_null(False).to_numpy()
    listed = rows.select("row", text=passages, score=pl.when(~pl.lit(pl.Series(odd))).then(scores))
    listed = listed.filter(pl.col("text").list.len() > 0)
    scored = listed["score"].is_not_null()
    if not scored.any():
        exploded = listed.select("row", "text").explode("text").with_columns(score=pl.lit(None, pl.Float64))
    else:
        empty = pl.col("text").list.eval(pl.lit(None, pl.Float64))
        exploded = listed.with_columns(pl.coalesce("score", empty)).explode("text", "score")
        given = scored.gather(pl.Series(np.repeat(np.arange(listed.height), listed["text"].list.len().to_numpy())))
        value = exploded["score"]
        # minus zero: what is written -0 is 0, and what is written -0.0 is not
        wrong = given & (~value.is_finite().fill_null(False) | ((value == 0) & (1 / value < 0)).fill_null(False))
        odd[exploded["row"].filter(wrong).to_numpy()] = True
    exploded = exploded.with_columns(pl.col("text").str.strip_chars(SPACE))
    odd[exploded["row"].to_numpy()[~_is_visible(exploded["text"])]] = True
    return exploded.with_columns(_keys(exploded["text"]))


def _keys(texts: pl.Series) -> pl.Series:
    """`text_keys`, of each text once: the same passages stand on many rows."""
    distinct = texts.unique()
    if len(distinct) == len(texts):
        return text_keys(texts)
    keys = pl.DataFrame([distinct, text_keys(distinct)])
    return pl.DataFrame([texts]).join(keys, on="text", how="left", maintain_order="left", nulls_equal=True)["text_key"]


def _is_visible(texts: pl.Series) -> np.ndarray:
    """Whether something of each text can be seen, as `is_blank` says it; False for null."""
    visible = texts.str.contains("^[!-~]").fill_null(False).to_numpy().copy()
    visible[~visible] = [text is not None and not is_blank(text) for text in texts.filter(~visible)]
    return visible
