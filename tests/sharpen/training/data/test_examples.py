"""Examples of a data set: what is relevant, what must never be a negative, which prompt a query has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sharpen.data.dataset import INCONSISTENT_QUERIES, NEGATIVES, write_table
from sharpen.errors import InputError
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.training.data.build_dataset import make_examples
from sharpen.training.data.examples import Examples
from sharpen.training.data.sampler import BatchSampler
from sharpen.training.data.tokens import Tokens
from sharpen.training.inputs import without_dropped
from sharpen.training.settings import TrainingSettings
from tests.sharpen.training.slow import never_negative
from tests.sharpen.training.small_data import small_data, small_negatives, with_teacher

SETTINGS = TrainingSettings(train_group_size=4)


def number_of(examples: object, text_id: str) -> int:
    return examples.text_ids.index(text_id)  # type: ignore[attr-defined]


def test_a_text_is_one_to_the_letter_and_has_the_key_of_its_copies() -> None:
    data = small_data()
    examples = make_examples(data, None, SETTINGS)
    assert len(examples.texts) == data.corpus.height - 1
    assert "p058" not in examples.text_ids  # the copy of p002
    keys = {name: int(key) for name, key in zip(examples.text_ids, examples.text_key, strict=True)}
    assert [keys[name] for name in ("p056", "p057", "p059")] == [keys[name] for name in ("p000", "p001", "p003")]
    assert len(set(keys.values())) == data.corpus.height - 4
    texts = dict(data.corpus.select("passage_id", "text").iter_rows())
    assert list(examples.texts) == [texts[name] for name in examples.text_ids]


def test_a_copy_of_a_positive_is_never_a_negative() -> None:
    data = small_data()
    negatives = pl.DataFrame(
        [("q003", "p056", 0, 0.9, 0.9, None, "range"), ("q003", "p010", 1, 0.5, 0.9, None, "range")],
        schema=NEGATIVES,
        orient="row",
    )
    examples = make_examples(data, negatives, SETTINGS)
    row = examples.query_ids.index("q003")
    assert examples.negatives[row].tolist() == [number_of(examples, "p010")]
    assert examples.counts["negatives_known_as_relevant"] == 1


def test_queries_with_the_same_text_share_their_positives() -> None:
    examples = make_examples(small_data(), None, SETTINGS)
    one, two = examples.query_ids.index("q001"), examples.query_ids.index("q002")
    assert examples.query_key[one] == examples.query_key[two]
    assert examples.query_number[one] != examples.query_number[two]  # in other letters
    never = examples.never_negatives[one].tolist()
    assert never == examples.never_negatives[two].tolist()
    assert set(never) > set(examples.positives[one]) | set(examples.positives[two])


def test_what_is_never_a_negative_equals_the_definition() -> None:
    data = small_data()
    examples = make_examples(data, None, SETTINGS)
    never = never_negative(data, examples)
    for query in range(len(examples)):
        expected = [text for text in range(len(examples.texts)) if never(query, text)]
        assert examples.never_negatives[query].tolist() == expected
    # queries 0, 1, 2, 5 and 6 are passages, 3 and 4 have a positive with a copy
    more = [len(examples.never_negatives[query]) - len(examples.positives[query]) for query in range(8)]
    assert min(more[query] for query in (0, 1, 2, 3, 4, 5, 6)) >= 1


def test_positives_of_other_splits_are_known() -> None:
    data = small_data()
    data.qrels = pl.concat(
        [data.qrels, pl.DataFrame([("q005", "p020", 1, "test")], schema=data.qrels.schema, orient="row")]
    )
    examples = make_examples(data, None, SETTINGS)
    row = examples.query_ids.index("q005")
    assert number_of(examples, "p020") in examples.never_negatives[row]


def test_queries_without_a_positive_are_left_out_and_counted() -> None:
    data = small_data()
    data.qrels = data.qrels.with_columns(
        pl.when(pl.col("query_id") == "q000").then(0).otherwise(pl.col("grade")).cast(pl.Int32).alias("grade")
    )
    examples = make_examples(data, None, SETTINGS)
    assert "q000" not in examples.query_ids
    assert examples.counts["queries_without_positive"] == 1


def test_given_negatives_are_taken_when_none_were_mined() -> None:
    data = small_data()
    data.given_negatives = pl.DataFrame({"query_id": ["q003"], "passage_id": ["p011"]})
    examples = make_examples(data, None, SETTINGS)
    assert examples.negatives[examples.query_ids.index("q003")].tolist() == [number_of(examples, "p011")]


@pytest.mark.parametrize("mined", [False, True])
def test_passages_judged_irrelevant_are_hard_negatives(mined: bool) -> None:
    data = small_data()
    # p056 is the copy of q003's positive, q005 stands in the corpus itself
    own = data.corpus.filter(pl.col("text").str.to_lowercase() == data.queries["text"][5])["passage_id"][0]
    rows = [("q003", "p011", 0), ("q003", "p012", -1), ("q003", "p056", 0), ("q005", own, 0)]
    judged = [(query, passage, grade, "train") for query, passage, grade in rows]
    data.qrels = pl.concat([data.qrels, pl.DataFrame(judged, schema=data.qrels.schema, orient="row")])
    negatives = small_negatives(data).filter(query_id="q003") if mined else None
    examples = make_examples(data, negatives, SETTINGS)
    found = {examples.text_ids[number] for number in examples.negatives[examples.query_ids.index("q003")]}
    assert {"p011", "p012"} <= found
    assert "p056" not in found
    assert examples.negatives[examples.query_ids.index("q005")].tolist() == []
    assert examples.counts["negatives_known_as_relevant"] >= 1
    assert examples.counts["negatives_equal_to_their_query"] == 1


def test_grades_below_the_level_are_neither_positives_nor_negatives() -> None:
    data = small_data()
    grade = pl.when(pl.col("query_id") == "q005").then(pl.int_range(1, 1 + pl.len()).over("query_id")).otherwise(3)
    data.qrels = data.qrels.with_columns(grade=grade.cast(pl.Int32))
    of_query = data.qrels.filter(query_id="q005")
    assert of_query["grade"].to_list() == [1, 2, 3]
    negatives = pl.DataFrame(
        [("q005", passage, 0, 0.9, 0.9, None, "range") for passage in [*of_query["passage_id"], "p010"]],
        schema=NEGATIVES,
        orient="row",
    )
    examples = make_examples(data, negatives, TrainingSettings(train_group_size=4, relevance_level=2))
    row = examples.query_ids.index("q005")
    first, *rest = (number_of(examples, passage) for passage in of_query["passage_id"])
    assert (examples.positives[row].tolist(), examples.grades[row].tolist()) == (rest, [2, 3])
    assert first in examples.never_negatives[row]
    assert examples.negatives[row].tolist() == [number_of(examples, "p010")]
    with pytest.raises(InputError, match="no query of the split train has a relevant passage"):
        make_examples(data, negatives, TrainingSettings(train_group_size=4, relevance_level=4))


def test_teacher_scores() -> None:
    data, settings = with_teacher(small_data()), TrainingSettings(train_group_size=4, knowledge_distillation=True)
    examples = make_examples(data, small_negatives(data), settings)
    assert examples.distilled
    for row, query_id in enumerate(examples.query_ids):
        assert set(examples.positives[row]) <= set(examples.scored[row]), query_id
    data.teacher_scores = data.teacher_scores.head(0)
    with pytest.raises(InputError, match="no positive has a teacher score"):
        make_examples(data, small_negatives(data, scored=False), settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qrels": "head"}, "nothing to train on"),
        ({"group": 200}, "train_group_size: 200 needs 199 negatives"),
        ({"negatives": "foreign"}, "negatives: 1 passage_id values are not in the data set, such as elsewhere"),
    ],
)
def test_input_that_cannot_be_used(change: dict, message: str) -> None:
    data, settings, negatives = small_data(), SETTINGS, small_negatives(small_data())
    if "qrels" in change:
        data.qrels = data.qrels.head(0)
    if "group" in change:
        settings = TrainingSettings(train_group_size=change["group"])
    if "negatives" in change:
        negatives = negatives.with_columns(
            pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("elsewhere")).otherwise("passage_id").alias("passage_id")
        )
    with pytest.raises(InputError, match=message):
        make_examples(data, negatives, settings)


@pytest.mark.model
@pytest.mark.parametrize("instruction", ["search: ", None])
def test_prompts_per_query_and_none_is_never_a_word(tiny_model: Path, instruction: str | None) -> None:
    data = small_data()
    data.queries = data.queries.with_columns(
        pl.when(pl.col("query_id") == "q001")
        .then(pl.lit("find code: "))
        .when(pl.col("query_id") == "q002")
        .then(pl.lit(""))
        .otherwise(pl.col("instruction"))
        .alias("instruction")
    )
    settings = EncoderSettings(query_max_len=16, query_instruction_for_retrieval=instruction)
    encoder = Encoder.load(str(tiny_model), settings, device="cpu")
    examples = make_examples(data, None, SETTINGS)
    tokens = Tokens(examples, encoder)
    rows = [examples.query_ids.index(name) for name in ("q001", "q002", "q003", "q001")]
    texts = [encoder.tokenizer.decode(ids, skip_special_tokens=True) for ids in tokens.queries(rows)]
    assert texts[0].startswith("find code")
    assert texts[3] == texts[0]
    assert all(text.startswith("search") == bool(instruction) for text in texts[1:3])
    assert not any("none" in text for text in texts)
    assert examples.query_number[rows[0]] != examples.query_number[rows[1]]  # same text, other prompt


def test_a_folder_holds_what_was_saved(tmp_path: Path) -> None:
    data = with_teacher(small_data(sources=("a", "b")))
    settings = TrainingSettings(train_group_size=4, knowledge_distillation=True)
    made = make_examples(data, small_negatives(data), settings)
    made.save(tmp_path)
    opened = Examples.open(tmp_path)
    for name in (
        "query_ids",
        "queries",
        "instructions",
        "text_ids",
        "texts",
        "sources",
        "query_number",
        "query_key",
        "text_key",
        "source",
    ):
        assert list(getattr(opened, name)) == list(getattr(made, name)), name
    for name in ("positives", "grades", "never_negatives", "negatives", "scored", "scores"):
        assert [row.tolist() for row in getattr(opened, name)] == [row.tolist() for row in getattr(made, name)], name
    assert (opened.counts, opened.distilled, len(opened)) == (made.counts, True, 20)
    # mapped, not read: the table's buffers are not in Arrow's own memory
    assert opened.text_table.cache_files


def test_numbers_do_not_depend_on_the_order_of_rows() -> None:
    """Files listed in another order on another machine must not give other batches there."""
    data = with_teacher(small_data(sources=("a", "b")))
    settings = TrainingSettings(train_group_size=4, knowledge_distillation=True)
    negatives = small_negatives(data)
    made = make_examples(data, negatives, settings)
    for name in ("queries", "qrels", "teacher_scores"):
        table = getattr(data, name)
        setattr(data, name, table.sample(table.height, shuffle=True, seed=5))
    again = make_examples(data, negatives.sample(negatives.height, shuffle=True, seed=6), settings)
    for step in range(3):
        one, two = (BatchSampler(examples, settings).batch(step) for examples in (made, again))
        assert np.array_equal(one.queries, two.queries)
        assert np.array_equal(one.groups, two.groups)
    assert [row.tolist() for row in again.scores] == [row.tolist() for row in made.scores]


def test_a_source_of_which_no_query_can_be_trained_on_is_an_error() -> None:
    data = small_data(sources=("a", "b"))
    of_b = data.queries.filter(pl.col("source") == "b")["query_id"].implode()
    data.qrels = data.qrels.filter(~pl.col("query_id").is_in(of_b))
    with pytest.raises(InputError, match="source b: none of its 10 training queries has a relevant passage"):
        make_examples(data, None, SETTINGS)
    data = with_teacher(small_data(sources=("a", "b")))
    data.teacher_scores = data.teacher_scores.filter(~pl.col("query_id").is_in(of_b))
    settings = TrainingSettings(train_group_size=4, knowledge_distillation=True)
    with pytest.raises(InputError, match=r"source b: .* has a positive with a teacher score"):
        make_examples(data, small_negatives(data, scored=False), settings)


def test_queries_that_mining_dropped_are_not_trained_on(tmp_path: Path) -> None:
    data = with_teacher(small_data())
    ids = data.queries_of("train")["query_id"].to_list()
    assert without_dropped(data, tmp_path) is data
    rows = [(ids[0], 50, 0.1, True), (ids[1], 60, 0.1, False)]
    write_table(
        pl.DataFrame(rows, schema=INCONSISTENT_QUERIES, orient="row"), tmp_path / "inconsistent", INCONSISTENT_QUERIES
    )
    examples = make_examples(without_dropped(data, tmp_path), None, SETTINGS)
    assert examples.query_ids == ids[1:]


def test_a_source_that_mining_dropped_whole_is_an_error(tmp_path: Path) -> None:
    data = small_data(sources=("a", "b"))
    of_b = data.queries_of("train").filter(pl.col("source") == "b")["query_id"].to_list()
    rows = pl.DataFrame([(name, 50, 0.1, True) for name in of_b], schema=INCONSISTENT_QUERIES, orient="row")
    write_table(rows, tmp_path / "inconsistent", INCONSISTENT_QUERIES)
    with pytest.raises(InputError, match="source b: mining dropped all its training queries"):
        without_dropped(data, tmp_path)


def test_texts_of_columns_are_those_of_rows() -> None:
    """`make_examples` joins title and text as columns; `passage_text` says what a passage is."""
    data = small_data()
    spaces = "\x1c\t \u2003"
    titles = ["", "A title", f"{spaces}in spaces", None, " ", "A title"]
    texts = [f"{spaces}as it is{spaces}", "and a text", f"both{spaces}\n", "no title", "blank title ", ""]
    rows = [titles[row] if row < 6 else "" for row in range(60)], [*texts, *data.corpus["text"].to_list()[6:]]
    data.corpus = data.corpus.with_columns(pl.Series("title", rows[0]), pl.Series("text", rows[1]))
    examples = make_examples(data, None, SETTINGS)
    # the texts that others were copies of are not there any more
    assert list(examples.texts) == data.passage_texts()
    assert list(examples.text_ids) == data.corpus["passage_id"].to_list()
