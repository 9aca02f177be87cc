"""A run of several task types: what is learned from, in which batches, and what is never a negative."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sharpen.data.dataset import DataSet
from sharpen.data.readers import combine
from sharpen.data.task_type import TaskType
from sharpen.errors import InputError
from sharpen.models.encoder import Encoder
from sharpen.training.data.build_dataset import make_examples
from sharpen.training.data.examples import Examples
from sharpen.training.data.sampler import BatchSampler
from sharpen.training.data.tokens import Tokens
from sharpen.training.settings import TrainingSettings
from tests.sharpen.training.mixed_data import labelled, mixed_data, mixed_parts, similar
from tests.sharpen.training.small_data import ENCODER, parts, small_data


def settings(**values: object) -> TrainingSettings:
    return TrainingSettings.checked({"train_batch_size": 6, "train_group_size": 4, **values})


@pytest.fixture(scope="module")
def mixed() -> tuple[Examples, BatchSampler]:
    return mixed_parts(settings())


def test_each_task_has_its_queries(mixed: tuple[Examples, BatchSampler]) -> None:
    examples, _ = mixed
    rows = np.bincount(examples.task).tolist()
    found = {(task.learns, task.task_type, task.source): n for task, n in zip(examples.tasks, rows, strict=True)}
    assert found == {
        ("search", "retrieval", ""): 20 + 3,
        ("similarity", "sts", "sts"): 9 + 1,
        ("similarity", "sts", "other"): 9 + 1,
        ("labels", "classification", "topics"): 11 + 2,
        ("labels", "clustering", "kinds"): 11 + 2,
    }
    # no prompt of a row goes before a text that is encoded alike on both sides
    assert {examples.instructions[row] for row in np.flatnonzero(examples.task > 0).tolist()} == {""}


def test_a_batch_is_of_one_task_and_an_epoch_has_every_query_once(mixed: tuple[Examples, BatchSampler]) -> None:
    examples, batches = mixed
    made = [batches.batch(step) for step in range(batches.per_epoch)]
    assert sorted(np.concatenate([batch.queries for batch in made])) == list(range(len(examples)))
    for batch in made:
        assert set(examples.task[batch.queries]) == {batch.task}
        task = examples.tasks[batch.task]
        assert task.first_text <= batch.groups.min() <= batch.groups.max() < task.end_text
    assert {batch.task for batch in made} == set(range(len(examples.tasks)))


def test_labelled_texts_are_positives_by_label_and_negatives_by_no_label_in_common(
    mixed: tuple[Examples, BatchSampler],
) -> None:
    examples, batches = mixed
    data = mixed_data()
    labels: dict[str, set[str]] = {}
    for text, source, label in data.queries.select(pl.col("text").str.to_lowercase(), "source", "label").iter_rows():
        labels.setdefault(f"{source} {text}", set()).add(label)
    seen = 0
    for step in range(6 * batches.per_epoch):
        batch = batches.batch(step)
        task = examples.tasks[batch.task]
        if task.learns != "labels":
            continue
        for query, group in zip(batch.queries.tolist(), batch.groups.tolist(), strict=True):
            texts = [examples.texts[text].lower() for text in group]
            mine = labels[f"{task.source} {examples.queries[query].lower()}"]
            others = [labels[f"{task.source} {text}"] for text in texts]
            assert mine & others[0]
            assert not any(mine & other for other in others[1:])
            assert len({examples.queries[query].lower(), *texts}) == 5
            seen += 1
    assert seen > 100


def test_pairs_bring_their_labels(mixed: tuple[Examples, BatchSampler]) -> None:
    examples, _ = mixed
    data = mixed_data()
    texts = dict(data.corpus.select("passage_id", "text").iter_rows())
    asked = dict(data.queries.select("query_id", "text").iter_rows())
    expected = {
        (asked[query], texts[passage], label)
        for query, passage, label, split in data.similarity_labels.iter_rows()
        if split == "train"
    }
    rows = [r for r in range(len(examples)) if examples.tasks[examples.task[r]].learns == "similarity"]
    found = {
        (examples.queries[row], examples.texts[int(examples.positives[row][0])], float(examples.scores[row][0]))
        for row in rows
    }
    assert found == expected
    assert len(rows) == len(expected)


def test_what_only_other_tasks_name_is_no_negative_of_retrieval(mixed: tuple[Examples, BatchSampler]) -> None:
    examples, _ = mixed
    search = examples.tasks[0]
    texts = set(examples.texts[search.first_text : search.end_text])
    assert not any(" second " in text for text in texts)
    assert any(" listed " in text for text in texts)


# what the sampler gave before there were tasks: settings -> hash of the batches of the small data
BATCHES = {
    (): "e9c20a13f32b5246",
    ("same_dataset_within_batch", True): "90cba0d8e2fbf84f",
    ("source_temperature", 5.0): "c765a25f665c1d5f",
}


@pytest.mark.parametrize("setting", BATCHES)
def test_retrieval_alone_has_the_batches_that_it_always_had(setting: tuple[str, object]) -> None:
    given = settings(train_batch_size=8, **({setting[0]: setting[1]} if setting else {}))
    _, batches = parts(given, sources=("a", "b", "a"))
    made = [batches.batch(step) for step in range(6)]
    found = hashlib.sha256(b"".join(batch.groups.tobytes() + batch.queries.tobytes() for batch in made)).hexdigest()
    assert found[:16] == BATCHES[setting]


@pytest.mark.model
def test_both_sides_of_a_symmetric_task_are_passages_without_a_prompt(
    cased_model: Path, mixed: tuple[Examples, BatchSampler], tmp_path: Path
) -> None:
    examples, _ = mixed
    prompts = {"query_instruction_for_retrieval": "find ", "passage_instruction_for_retrieval": "text "}
    encoder = Encoder.load(str(cased_model), ENCODER.model_copy(update=prompts), device="cpu")
    tokens = Tokens(examples, encoder)
    plain = Encoder.load(str(cased_model), ENCODER, device="cpu")
    for row in range(len(examples)):
        symmetric = examples.tasks[examples.task[row]].symmetric
        text = examples.queries[row]
        expected = plain.tokenize([text], "passage") if symmetric else encoder.tokenize([text], "query")
        assert tokens.queries([row])[0].tolist() == expected[0]
    for number in range(len(examples.texts)):
        used = encoder if number < examples.tasks[0].end_text else plain
        assert tokens.passages([number])[0].tolist() == used.tokenize([examples.texts[number]], "passage")[0]
    examples.save(tmp_path)
    assert Examples.open(tmp_path).tasks == examples.tasks


def test_rows_without_labels_have_their_own_negatives_only() -> None:
    """FlagEmbedding's rows of classification: which label a passage means is not known."""
    data = small_data(queries=6)
    own = data.qrels.filter(pl.col("split") == "train").select("query_id").unique(maintain_order=True)
    free = data.corpus["passage_id"].to_list()[-3:]
    given = pl.DataFrame(
        [(q, p) for q in own["query_id"].to_list()[:5] for p in free], schema=["query_id", "passage_id"], orient="row"
    )
    queries = data.queries.with_columns(task_type=pl.lit("classification"))
    data = replace(data, queries=queries, given_negatives=given)
    examples = make_examples(data, None, settings(train_group_size=8))
    [task] = examples.tasks
    assert (task.learns, task.in_batch, examples.counts["queries_without_negatives"]) == ("pairs", False, 1)
    batch = BatchSampler(examples, settings(train_group_size=8)).batch(0)
    assert 2 <= batch.groups.shape[1] <= 4
    for query, group in zip(batch.queries.tolist(), batch.groups.tolist(), strict=True):
        assert set(group[1:]) <= set(examples.negatives[query].tolist())


def only(data: DataSet) -> DataSet:
    return combine({"retrieval": small_data(), "other": data})


def one_text_a_label() -> DataSet:
    data = labelled(TaskType.CLASSIFICATION, "topics", texts=3)
    return replace(data, queries=data.queries.filter(pl.col("query_id").str.contains(r"\d$")))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (one_text_a_label(), "source topics: no label of it has two different"),
        (labelled(TaskType.CLASSIFICATION, "topics", texts=8), "needs 7 texts with other labels"),
        (similar("sts", pairs=1), "source sts: all 1 labels of similarity are equal"),
    ],
)
def test_a_source_from_which_nothing_can_be_learned_is_one_line(data: DataSet, words: str) -> None:
    if "equal" in words:
        data.similarity_labels = data.similarity_labels.head(1)
    with pytest.raises(InputError, match=words):
        make_examples(only(data), None, settings(train_group_size=8))
