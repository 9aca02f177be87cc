"""The small data set with queries of every task type beside those of retrieval."""

from __future__ import annotations

import random

import polars as pl

from sharpen.data.dataset import CORPUS, QRELS, SIMILARITY_LABELS, DataSet
from sharpen.data.readers import combine
from sharpen.data.task_type import TaskType
from sharpen.training.data.build_dataset import make_examples
from sharpen.training.data.examples import Examples
from sharpen.training.data.sampler import BatchSampler
from sharpen.training.settings import TrainingSettings
from tests.sharpen.training.small_data import sentence, small_data, small_negatives

LABELS = ("weather", "food", "places")


def _queries(rows: list[tuple], kind: TaskType) -> pl.DataFrame:
    """Queries of rows (query_id, text, split, source, label)."""
    table = pl.DataFrame(rows, schema=["query_id", "text", "split", "source", "label"], orient="row")
    return table.with_columns(instruction=pl.lit("never used"), task_type=pl.lit(kind.value))


def _corpus(texts: dict[str, str]) -> pl.DataFrame:
    columns = {"passage_id": list(texts), "title": [""] * len(texts), "text": list(texts.values())}
    return pl.DataFrame(columns, schema=CORPUS)


def _part(queries: pl.DataFrame, passages: dict[str, str], **tables: pl.DataFrame) -> DataSet:
    empty = {"qrels": pl.DataFrame(schema=QRELS)}
    return DataSet(corpus=_corpus(passages), queries=queries.sort("query_id"), **(empty | tables))


def labelled(kind: TaskType, source: str, texts: int = 14, seed: int = 5) -> DataSet:
    """Labelled texts; the first is in two rows with two labels, and the last two are one text in other letters."""
    draw = random.Random(seed)
    rows = [
        (f"{source}{n:02}", f"{sentence(draw)} {source} {n}", "test" if n % 4 == 3 else "train", source, LABELS[n % 3])
        for n in range(texts)
    ]
    rows.append((f"{source}-again", rows[0][1], "train", source, LABELS[1]))
    rows.append((f"{source}-upper", rows[2][1].upper(), "train", source, rows[2][4]))
    return _part(_queries(rows, kind), {})


def similar(source: str, pairs: int = 12, seed: int = 6) -> DataSet:
    """Pairs with labels between 0 and 5, some of them equal; one first sentence is in two pairs."""
    draw = random.Random(seed)
    passages = {f"{source}p{n}": f"{sentence(draw)} second {n}" for n in range(pairs)}
    rows, labels = [], []
    for n in range(pairs):
        split = "test" if n % 4 == 3 else "train"
        rows.append((f"{source}{n:02}", f"{sentence(draw)} first {n}", split, source, ""))
        labels.append((f"{source}{n:02}", f"{source}p{n}", float(draw.randint(0, 5)), split))
    labels.append((f"{source}00", f"{source}p1", 2.5, "train"))
    table = pl.DataFrame(labels, schema=SIMILARITY_LABELS, orient="row")
    return _part(_queries(rows, TaskType.STS), passages, similarity_labels=table)


def lists(source: str, queries: int = 6, length: int = 5, seed: int = 7) -> DataSet:
    """Queries with a graded list each; a grade of 0 is in every list."""
    draw = random.Random(seed)
    passages, rows, grades = {}, [], []
    for n in range(queries):
        split = "test" if n % 2 else "train"
        rows.append((f"{source}{n}", f"{sentence(draw)} wanted {n}", split, source, ""))
        for rank in range(length):
            passages[f"{source}{n}p{rank}"] = f"{sentence(draw)} listed {n} {rank}"
            grades.append((f"{source}{n}", f"{source}{n}p{rank}", (2, 1, 0)[min(rank, 2)], split))
    table = pl.DataFrame(grades, schema=QRELS, orient="row")
    queries_of = _queries(rows, TaskType.RERANKING).with_columns(instruction=pl.lit(""))
    return _part(queries_of, passages, qrels=table)


def mixed_data(sources: tuple[str, ...] = ("a",)) -> DataSet:
    """Retrieval, reranking, similarity of two sources, classification and clustering."""
    parts = {"retrieval": small_data(sources=sources)}
    parts |= {"lists": lists("lists"), "sts": similar("sts"), "other": similar("other", seed=8)}
    parts |= {
        "topics": labelled(TaskType.CLASSIFICATION, "topics"),
        "kinds": labelled(TaskType.CLUSTERING, "kinds", seed=9),
    }
    return combine(parts)


def mixed_parts(settings: TrainingSettings) -> tuple[Examples, BatchSampler]:
    """Examples and batches of the mixed data under some settings."""
    data = mixed_data()
    examples = make_examples(data, small_negatives(small_data()), settings)
    return examples, BatchSampler(examples, settings)
