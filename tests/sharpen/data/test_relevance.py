"""What is never a negative, against the definition in words, on data full of copies."""

from __future__ import annotations

import unicodedata

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpen.data.dataset import CORPUS, QRELS, QUERIES, DataSet
from sharpen.data.relevance import Relevance
from sharpen.data.text import key_id, passage_text, passage_texts, text_key, text_keys

# six spellings of three texts
TEXTS = ["Straße", "strasse", "Ｗide", "wide ", "a  b", "A b"]


def plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def made(asked: list[int], written: list[int], judged: list[tuple[int, int, int]]) -> DataSet:
    """Queries and passages of these spellings; (query, passage, grade), as often as they come."""
    splits = ("train", "dev", "test")
    rows = [(f"q{q % len(asked)}", f"p{p % len(written)}", grade, splits[q % 3]) for q, p, grade in judged]
    return DataSet(
        corpus=pl.DataFrame([(f"p{n}", "", TEXTS[one]) for n, one in enumerate(written)], schema=CORPUS, orient="row"),
        queries=pl.DataFrame(
            [(f"q{n}", TEXTS[one], splits[n % 3], "s", None, None) for n, one in enumerate(asked)],
            schema=QUERIES,
            orient="row",
        ),
        qrels=pl.DataFrame(rows, schema=QRELS, orient="row"),
    )


spellings = st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=6)
judgements = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(-1, 3)), max_size=10)


@settings(max_examples=150)
@given(spellings, spellings, judgements, st.integers(1, 3))
def test_equals_the_definition(
    asked: list[int], written: list[int], judged: list[tuple[int, int, int]], level: int
) -> None:
    data = made(asked, written, judged)
    found = Relevance.of(data, level)
    queries = {name: plain(text) for name, text in data.queries.select("query_id", "text").iter_rows()}
    passages = {name: plain(text) for name, text in data.corpus.select("passage_id", "text").iter_rows()}
    grades: dict[tuple[str, str], int] = {}
    for query, passage, grade, _ in data.qrels.iter_rows():
        grades[query, passage] = max(grade, grades.get((query, passage), grade))

    assert set(found.positives().rows()) == {(*pair, grade) for pair, grade in grades.items() if grade >= level}
    assert set(found.irrelevant().rows()) == {pair for pair, grade in grades.items() if grade <= 0}
    never = set(found.never_negatives().rows())
    assert len(never) == found.never_negatives().height
    own = set(found.query_texts().rows())
    for query, question in queries.items():
        for passage, text in passages.items():
            known = any(
                queries[other] == question and passages[copy] == text and grade > 0
                for (other, copy), grade in grades.items()
            )
            assert ((text_key(question), text_key(text)) in never) == (known or question == text)
            assert ((query, passage) in own) == (question == text and grades.get((query, passage), 0) <= 0)


def test_a_column_has_the_keys_and_texts_of_its_rows() -> None:
    texts = pl.Series([*TEXTS, "", " "])
    assert text_keys(texts).to_list() == [text_key(text) for text in texts]
    assert [int(key_id(text_key(text)), 16) for text in texts] == text_keys(texts).to_list()
    assert text_keys(texts.clear()).dtype == pl.UInt64
    assert len(set(text_keys(texts).to_list())) == 4
    titles = ["", "T", " ", None, "\u2003A", "", "T", "x"]
    corpus = pl.DataFrame({"title": titles, "text": texts})
    assert passage_texts(corpus).to_list() == [
        passage_text(title or "", text) for title, text in zip(titles, texts, strict=True)
    ]
