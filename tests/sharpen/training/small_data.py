"""A small data set with what makes batches difficult: shared and several positives, copies, repeated queries."""

from __future__ import annotations

import random

import polars as pl

from sharpen.data.dataset import NEGATIVES, QUERIES, DataSet, empty
from sharpen.settings import EncoderSettings
from sharpen.training.data.build_dataset import make_examples
from sharpen.training.data.examples import Examples
from sharpen.training.data.sampler import BatchSampler
from sharpen.training.data.tokens import Tokens
from sharpen.training.settings import TrainingSettings

WORDS = "sun moon river stone bread milk sugar town train winter summer bird tree road hill fish salt rain".split()
ENCODER = EncoderSettings(query_max_len=16, passage_max_len=32, precision="fp32")


def sentence(draw: random.Random, low: int = 2, high: int = 12) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(low, high)))


def small_data(queries: int = 20, passages: int = 60, seed: int = 0, sources: tuple[str, ...] = ("a",)) -> DataSet:
    """`queries` training queries and 4 dev queries over `passages` passages, of which four are copies of others.

    Queries 1 and 2 have the same text, and five passages are queries (`_passages_that_are_queries`); most of these
    copies differ in case, width or spaces.
    """
    draw = random.Random(seed)
    texts = list(dict.fromkeys(sentence(draw) + f" {number}" for number in range(passages - 4)))
    texts += [texts[0].upper(), texts[1] + " ", texts[2], texts[3].title()]
    rows, judged = [], []
    for number in range(queries + 4):
        split = "train" if number < queries else "dev"
        text = sentence(draw, 1, 6) + f" {number}" if number not in (1, 2) else "the same question"
        text = text.title() if number == 2 else text
        rows.append((f"q{number:03}", text, split, sources[number % len(sources)], "", None))
        relevant = draw.sample(range(len(texts)), 1 + number % 3)
        if number in (3, 4):
            relevant = [0]
        judged += [(f"q{number:03}", f"p{place:03}", 1, split) for place in sorted(set(relevant))]
    for place, text in _passages_that_are_queries([row[1] for row in rows], judged, len(texts)):
        texts[place] = text
    corpus = {"passage_id": [f"p{n:03}" for n in range(len(texts))], "title": [""] * len(texts), "text": texts}
    return DataSet(
        corpus=pl.DataFrame(corpus),
        queries=pl.DataFrame(rows, schema=QUERIES, orient="row"),
        qrels=pl.DataFrame(judged, schema=["query_id", "passage_id", "grade", "split"], orient="row").cast(
            {"grade": pl.Int32}
        ),
    )


def _passages_that_are_queries(asked: list[str], judged: list[tuple], passages: int) -> list[tuple[int, str]]:
    """(passage, text): positives of queries 5 to 7, and two passages that nobody judged, become other queries."""
    relevant: dict[int, list[int]] = {}
    for query_id, passage_id, *_ in judged:
        relevant.setdefault(int(query_id[1:]), []).append(int(passage_id[1:]))
    taken = {0, 1, 2, 3, *range(passages - 4, passages)}
    found = []
    for of, query, text in ((5, 6, asked[6]), (6, 5, asked[5].upper()), (7, 1, "Ｔhe  same question")):
        for place in [p for p in relevant[of] if p not in taken.union(relevant[query])][:1]:
            taken.add(place)
            found.append((place, text))
    free = [place for place in range(passages) if place not in taken.union(*relevant.values())]
    return [*found, *zip(free, (asked[0].title(), asked[-1].title()), strict=False)]


def small_negatives(data: DataSet, per_query: int = 5, seed: int = 1, scored: bool = True) -> pl.DataFrame:
    """Mined negatives of the training queries, some of them known positives, with teacher scores."""
    draw = random.Random(seed)
    ids = data.corpus["passage_id"].to_list()
    rows = [
        (query_id, passage_id, rank, 0.5, 0.8, draw.gauss(0, 1) if scored else None, "range")
        for query_id in data.queries_of("train")["query_id"]
        for rank, passage_id in enumerate(draw.sample(ids, per_query))
    ]
    return pl.DataFrame(rows, schema=NEGATIVES, orient="row") if rows else empty(NEGATIVES)


def with_teacher(data: DataSet, seed: int = 2) -> DataSet:
    """The same data with a teacher score for every judged pair."""
    draw = random.Random(seed)
    data.teacher_scores = data.qrels.select(
        "query_id", "passage_id", pl.Series("score", [draw.gauss(2, 1) for _ in range(data.qrels.height)])
    )
    return data


def parts(
    settings: TrainingSettings, *, queries: int = 20, seed: int = 0, sources: tuple[str, ...] = ("a",)
) -> tuple[Examples, BatchSampler]:
    """Examples and batches of the small data under some settings."""
    data = with_teacher(small_data(queries, seed=seed, sources=sources))
    examples = make_examples(data, small_negatives(data), settings)
    return examples, BatchSampler(examples, settings)


__all__ = ["ENCODER", "Tokens", "parts", "sentence", "small_data", "small_negatives", "with_teacher"]
