"""The training examples of a data set: numbered queries and texts, and which text is what to which query.

A *text* here is a distinct passage text: passages whose normalised texts agree share one number, so that a copy of a
positive under another id is never taken for a negative. Examples are rows of numbers; texts are stored once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from components.core.encoder import Encoder
from components.core.errors import InputError
from components.core.records import INCONSISTENT_QUERIES, DataSet, read_table
from components.core.text import text_id
from components.finetuning.settings import TrainingSettings

SHOWN = 3


@dataclass(frozen=True)
class Examples:
    """What is trained on.

    Attributes:
        query_ids, queries, instructions: one entry a training query; an empty instruction means the encoder's own.
        query_number: (queries) equal for queries with equal instruction and normalised text.
        sources, source: names of the sources, and the source of each query as a place in them.
        text_ids, texts: one entry a distinct text: the first passage id that has it, and the text.
        positives: for each query, its relevant texts, of which one is drawn.
        known: for each query, every text that must never be its negative: the relevant ones of all splits, and of
            all queries with the same text.
        negatives: for each query, its hard negatives, none of them known as relevant.
        teacher: (query, text) -> teacher score; None without knowledge distillation.
        counts: what was taken and left out, for the report.
    """

    query_ids: list[str]
    queries: list[str]
    instructions: list[str]
    query_number: np.ndarray
    sources: list[str]
    source: np.ndarray
    text_ids: list[str]
    texts: list[str]
    positives: list[np.ndarray]
    known: list[np.ndarray]
    negatives: list[np.ndarray]
    teacher: dict[tuple[int, int], float] | None
    counts: dict[str, int]

    def __len__(self) -> int:
        return len(self.query_ids)


def make_examples(data: DataSet, negatives: pl.DataFrame | None, training: TrainingSettings) -> Examples:
    """Number the training queries and texts of a data set.

    Args:
        data: the data set; its ``train`` split is trained on, the judgements of all splits are known positives.
        negatives: mined negatives (`records.NEGATIVES`); None: the negatives that came with the data.
        training: group size, distillation.

    Raises:
        InputError: nothing to train on, ids that the data set does not have, a corpus too small for a group, or
            no teacher scores for distillation.
    """
    texts, number_of = _distinct_texts(data)
    mined = data.given_negatives if negatives is None else negatives
    _check_ids(data, mined)
    queries = data.queries_of("train")
    relevant = _by_query(data.qrels.filter(pl.col("grade") > 0), number_of)
    same_text = _known_by_text(data.queries, relevant)
    teacher = _teacher(data, negatives, number_of) if training.knowledge_distillation else None
    hard = _by_query(mined, number_of)

    chosen = _choose(queries, relevant, same_text, hard, teacher)
    counts = chosen.counts
    _check_enough(chosen, len(texts), training)
    queries = queries[chosen.rows]
    instructions = queries["instruction"].fill_null("").to_list()
    keys = [f"{own}\0{text_id(text)}" for own, text in zip(instructions, queries["text"].to_list(), strict=True)]
    sources = sorted(set(queries["source"].fill_null("").to_list()))
    place = {query_id: row for row, query_id in enumerate(queries["query_id"].to_list())}
    counts |= {"queries": len(place), "texts": len(texts), "hard_negatives": sum(map(len, chosen.negatives))}
    return Examples(
        query_ids=list(place),
        queries=queries["text"].to_list(),
        instructions=instructions,
        query_number=np.unique(np.array(keys), return_inverse=True)[1].astype(np.int64),
        sources=sources,
        source=np.array([sources.index(name or "") for name in queries["source"].to_list()], dtype=np.int64),
        text_ids=list(texts),
        texts=list(texts.values()),
        positives=chosen.positives,
        known=chosen.known,
        negatives=chosen.negatives,
        teacher=None if teacher is None else {(place[q], n): s for (q, n), s in teacher.items() if q in place},
        counts=counts,
    )


@dataclass
class _Chosen:
    """Rows of the queries that can be trained on, and for each its texts, as in `Examples`."""

    rows: list[int] = field(default_factory=list)
    positives: list[np.ndarray] = field(default_factory=list)
    known: list[np.ndarray] = field(default_factory=list)
    negatives: list[np.ndarray] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def _choose(
    queries: pl.DataFrame,
    relevant: dict[str, list[int]],
    same_text: dict[str, set[int]],
    hard: dict[str, list[int]],
    teacher: dict[tuple[str, int], float] | None,
) -> _Chosen:
    """Leave out queries without a positive (with distillation: without a scored one) and negatives that are none."""
    chosen = _Chosen()
    counts = {"queries_without_positive": 0, "positives_without_teacher_score": 0, "negatives_known_as_relevant": 0}
    for row, (query_id, text) in enumerate(queries.select("query_id", "text").iter_rows()):
        own = relevant.get(query_id, [])
        if teacher is not None:
            scored = [number for number in own if (query_id, number) in teacher]
            counts["positives_without_teacher_score"] += len(own) - len(scored)
            own = scored
        if not own:
            counts["queries_without_positive"] += 1
            continue
        never = same_text[text_id(text)]
        offered = hard.get(query_id, [])
        clean = [number for number in offered if number not in never]
        counts["negatives_known_as_relevant"] += len(offered) - len(clean)
        chosen.rows.append(row)
        chosen.positives.append(np.array(own, dtype=np.int64))
        chosen.known.append(np.array(sorted(never), dtype=np.int64))
        chosen.negatives.append(np.array(clean, dtype=np.int64))
    chosen.counts = counts
    return chosen


def without_dropped(data: DataSet, negatives: Path) -> DataSet:
    """The data set without the queries that mining dropped as inconsistent (``mining.on_inconsistent: drop``).

    Args:
        data: the data set that was mined.
        negatives: local folder that mining wrote.
    """
    if not (negatives / "inconsistent").is_dir():
        return data
    listed = read_table(negatives / "inconsistent", INCONSISTENT_QUERIES)
    dropped = listed.filter(pl.col("dropped"))["query_id"].implode()
    stays = ~pl.col("query_id").is_in(dropped)
    tables = ("queries", "qrels", "given_negatives", "teacher_scores")
    return dataclasses.replace(data, **{name: getattr(data, name).filter(stays) for name in tables})


def _distinct_texts(data: DataSet) -> tuple[dict[str, str], pl.DataFrame]:
    """First passage id -> text of each distinct text; and a table passage_id, number."""
    texts: dict[str, str] = {}
    number_of_text: dict[str, int] = {}
    numbers = []
    for passage_id, text in zip(data.corpus["passage_id"].to_list(), data.passage_texts(), strict=True):
        key = text_id(text)
        if key not in number_of_text:
            number_of_text[key] = len(texts)
            texts[passage_id] = text
        numbers.append(number_of_text[key])
    return texts, pl.DataFrame({"passage_id": data.corpus["passage_id"], "number": pl.Series(numbers, dtype=pl.Int64)})


def _check_ids(data: DataSet, negatives: pl.DataFrame) -> None:
    faults = []
    for name, table in (("qrels", data.qrels), ("negatives", negatives), ("teacher_scores", data.teacher_scores)):
        for column, known in (("query_id", data.queries["query_id"]), ("passage_id", data.corpus["passage_id"])):
            if table.is_empty():
                continue
            unknown = table.filter(~pl.col(column).is_in(known.implode()))[column].unique(maintain_order=True)
            if len(unknown):
                shown = ", ".join(unknown.head(SHOWN).to_list())
                faults.append(
                    f"{name}: {len(unknown):,} {column} values are not in the data set, such as {shown}; "
                    "use negatives that were mined on this data set"
                )
    if faults:
        raise InputError(faults)


def _by_query(pairs: pl.DataFrame, number_of: pl.DataFrame) -> dict[str, list[int]]:
    """query_id -> distinct text numbers, in the order of the table."""
    if pairs.is_empty():
        return {}
    joined = pairs.select("query_id", "passage_id").join(number_of, on="passage_id", how="left", maintain_order="left")
    grouped = joined.group_by("query_id", maintain_order=True).agg(pl.col("number").unique(maintain_order=True))
    return dict(zip(grouped["query_id"].to_list(), grouped["number"].to_list(), strict=True))


def _known_by_text(queries: pl.DataFrame, relevant: dict[str, list[int]]) -> dict[str, set[int]]:
    """Normalised query text -> every text that is relevant to a query with this text, in any split."""
    known: dict[str, set[int]] = {}
    for query_id, text in queries.select("query_id", "text").iter_rows():
        known.setdefault(text_id(text), set()).update(relevant.get(query_id, []))
    return known


def _teacher(data: DataSet, negatives: pl.DataFrame | None, number_of: pl.DataFrame) -> dict[tuple[str, int], float]:
    """(query_id, text number) -> score; the data set's own score wins over the one in the negatives."""
    tables = [data.teacher_scores.select("query_id", "passage_id", "score")]
    if negatives is not None:
        tables.insert(0, negatives.select("query_id", "passage_id", pl.col("teacher_score").alias("score")))
    scores: dict[tuple[str, int], float] = {}
    for table in tables:
        joined = table.drop_nulls("score").join(number_of, on="passage_id", how="left", maintain_order="left")
        for query_id, score, number in joined.select("query_id", "score", "number").iter_rows():
            scores[query_id, number] = score
    return scores


def _check_enough(chosen: _Chosen, texts: int, training: TrainingSettings) -> None:
    if not chosen.rows and chosen.counts["positives_without_teacher_score"]:
        raise InputError("knowledge_distillation: no positive has a teacher score; add scores or turn it off")
    if not chosen.rows:
        raise InputError("data: no query of the split train has a relevant passage; nothing to train on")
    most = max(len(never) for never in chosen.known)
    if texts - most < training.train_group_size - 1:
        raise InputError(
            f"train_group_size: {training.train_group_size} needs {training.train_group_size - 1} negatives for every "
            f"query, but the corpus has only {texts} different texts, {most} of them relevant to one query; lower it"
        )


class Tokens:
    """Token ids of queries and texts, made when first asked for and kept while they fit.

    Args:
        examples: what is numbered.
        encoder: gives tokenizer, prompts and lengths.
        limit: most token ids kept (4 bytes each).
    """

    def __init__(self, examples: Examples, encoder: Encoder, limit: int = 50_000_000) -> None:
        self.examples, self.encoder, self.limit = examples, encoder, limit
        self._kept: dict[tuple[str, int], np.ndarray] = {}
        self._size = 0

    def queries(self, numbers: Sequence[int]) -> list[np.ndarray]:
        """Token ids of these queries (rows of `Examples.queries`)."""
        return self._get("query", numbers)

    def passages(self, numbers: Sequence[int]) -> list[np.ndarray]:
        """Token ids of these texts (rows of `Examples.texts`)."""
        return self._get("passage", numbers)

    def _get(self, kind: str, numbers: Sequence[int]) -> list[np.ndarray]:
        missing = [number for number in dict.fromkeys(numbers) if (kind, number) not in self._kept]
        made = self._queries(missing) if kind == "query" else self.tokenize([self.examples.texts[n] for n in missing])
        fresh = dict(zip(missing, made, strict=True))
        found = [fresh[n] if n in fresh else self._kept[kind, n] for n in numbers]
        for number, ids in fresh.items():
            if self._size + len(ids) <= self.limit:
                self._kept[kind, number] = ids
                self._size += len(ids)
        return found

    def tokenize(self, passages: list[str]) -> list[np.ndarray]:
        """Token ids of passage texts, not kept."""
        return [np.array(ids, dtype=np.int32) for ids in self.encoder.tokenize(passages, "passage")]

    def _queries(self, numbers: list[int]) -> list[np.ndarray]:
        texts = [self.examples.queries[number] for number in numbers]
        own = [self.examples.instructions[number] for number in numbers]
        return [np.array(ids, dtype=np.int32) for ids in self.encoder.tokenize(texts, "query", own)]
