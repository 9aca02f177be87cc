"""Which queries and texts make up a step."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sharpen.data.dataset import CORPUS, QRELS, QUERIES, DataSet
from sharpen.training.data.build_dataset import make_examples
from sharpen.training.data.collator import assign_micro_batches, shard_batch
from sharpen.training.data.sampler import BatchSampler, shuffled_words
from sharpen.training.settings import TrainingSettings
from tests.sharpen.losses.test_contrastive import _NoTokens
from tests.sharpen.training.slow import never_negative, plain
from tests.sharpen.training.small_data import parts, small_data


def settings(**values: object) -> TrainingSettings:
    return TrainingSettings.checked({"train_batch_size": 6, "train_group_size": 4, **values})


def test_every_query_once_per_epoch_in_batches_of_equal_size() -> None:
    examples, batches = parts(settings())
    assert batches.per_epoch == 4
    for epoch in range(2):
        made = [batches.batch(epoch * 4 + place) for place in range(4)]
        assert [len(batch.queries) for batch in made] == [5, 5, 5, 5]
        assert sorted(np.concatenate([batch.queries for batch in made])) == list(range(len(examples)))
    assert not np.array_equal(batches.batch(0).queries, batches.batch(4).queries)


@pytest.mark.parametrize("queries", [65, 129, 130])
def test_no_batch_of_an_epoch_is_a_small_rest(queries: int) -> None:
    _, batches = parts(settings(train_batch_size=64), queries=queries)
    sizes = [len(batches.batch(step).queries) for step in range(batches.per_epoch)]
    assert sum(sizes) == queries
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == -(-queries // 64)


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    _, one = parts(settings())
    _, two = parts(settings())
    _, other = parts(settings(seed=7))
    for step in (3, 0, 9):
        assert np.array_equal(one.batch(step).groups, two.batch(step).groups)
    assert not np.array_equal(one.batch(0).queries, other.batch(0).queries)


def test_groups_have_one_positive_and_negatives_that_are_none_and_no_repeats() -> None:
    examples, batches = parts(settings(train_group_size=8))
    never = never_negative(small_data(), examples)
    made_up = 0
    for step in range(3 * batches.per_epoch):
        batch = batches.batch(step)
        made_up += batch.made_up
        for query, group in zip(batch.queries, batch.groups, strict=True):
            assert group[0] in examples.positives[query]
            assert len({plain(examples.texts[text]) for text in group.tolist()}) == 8
            assert not any(never(int(query), text) for text in group[1:].tolist())
            hard = {plain(examples.texts[text]) for text in examples.negatives[query].tolist()}
            assert len(hard & {plain(examples.texts[text]) for text in group[1:].tolist()}) == min(7, len(hard))
    hard = [{plain(examples.texts[text]) for text in texts.tolist()} for texts in examples.negatives]
    assert made_up == sum(3 * (7 - min(7, len(texts))) for texts in hard)


def test_all_positives_are_drawn_over_the_epochs() -> None:
    examples, batches = parts(settings())
    query = max(range(len(examples)), key=lambda row: len(examples.positives[row]))
    drawn = set()
    for step in range(30 * batches.per_epoch):
        batch = batches.batch(step)
        drawn |= set(batch.groups[batch.queries == query, 0].tolist())
    assert drawn == set(examples.positives[query].tolist())


def test_positives_are_drawn_in_proportion_to_their_grades() -> None:
    data = small_data()
    data.qrels = data.qrels.with_columns(grade=(1 + pl.int_range(pl.len()).over("query_id") * 2).cast(pl.Int32))
    chosen = settings(train_batch_size=20, train_group_size=2)
    examples = make_examples(data, None, chosen)
    batches = BatchSampler(examples, chosen)
    query = next(row for row, grades in enumerate(examples.grades) if sorted(grades) == [1, 3, 5])
    drawn = [int(batch.groups[batch.queries == query, 0][0]) for batch in map(batches.batch, range(900))]
    for text, grade in zip(examples.positives[query], examples.grades[query], strict=True):
        # 100, 300 and 500 of 900; the largest standard deviation is 15
        assert abs(drawn.count(int(text)) - 100 * grade) < 60


def test_duplicate_questions_are_never_their_own_negatives() -> None:
    """Every query is a passage, spelled in another way, and the positive of another query of the batch."""
    asked = [f"Question {number}" for number in range(32)]
    rows = [(f"q{n:02}", text, "train", "a", None, None) for n, text in enumerate(asked)]
    judged = [(f"q{n:02}", f"p{n ^ 1:02}", 1, "train") for n in range(32)]
    data = DataSet(
        corpus=pl.DataFrame([(f"p{n:02}", "", t.upper()) for n, t in enumerate(asked)], schema=CORPUS, orient="row"),
        queries=pl.DataFrame(rows, schema=QUERIES, orient="row"),
        qrels=pl.DataFrame(judged, schema=QRELS, orient="row"),
    )
    for values in ({}, {"symmetric": True}, {"use_inbatch_neg": False}, {"negatives_cross_device": False}):
        chosen = settings(train_batch_size=16, **values)
        examples = make_examples(data, None, chosen)
        batches = BatchSampler(examples, chosen)
        batch = batches.batch(0)
        assert batch.made_up == 16 * 3
        layout = shard_batch(batch, _NoTokens(examples), chosen, 0, 1)  # type: ignore[arg-type]
        faced = 0
        for contrast in layout.contrasts:
            strings = [examples.queries[n] for n in layout.queries] + [examples.texts[n] for n in layout.texts]
            excluded = set(map(tuple, contrast.masked_pairs.tolist()))
            for row, text in enumerate(contrast.rows.tolist()):
                width = range(len(contrast.columns)) if contrast.in_batch else contrast.group_columns[row].tolist()
                columns = [column for column in width if (row, column) not in excluded]
                faced += len(columns)
                assert plain(strings[text]) not in {plain(strings[contrast.columns[column]]) for column in columns}
        assert faced > 16 * 3
    # unmasked, it is a warning, but not for queries without in-batch negatives
    unmasked = {"train_batch_size": 8, "train_group_size": 2, "mask_false_negatives": False}
    for more, lines in (({}, 1), ({"no_inbatch_sources": examples.sources}, 0), ({"use_inbatch_neg": False}, 0)):
        chosen = settings(**unmasked, **more)
        warnings = BatchSampler(make_examples(data, None, chosen), chosen).warnings()
        assert len(warnings) == lines
        assert all("32 queries share their text or a positive" in line for line in warnings)


def test_one_source_per_batch() -> None:
    examples, batches = parts(settings(same_dataset_within_batch=True), queries=21, sources=("a", "b", "c"))
    seen = []
    for step in range(batches.per_epoch):
        queries = batches.batch(step).queries
        assert len(set(examples.source[queries])) == 1
        seen += queries.tolist()
    assert sorted(seen) == list(range(21))
    assert batches.per_epoch == 6
    assert batches.warnings() == []


def test_a_small_source_is_trained_and_named() -> None:
    _, batches = parts(settings(same_dataset_within_batch=True), queries=8, sources=("a", "b"))
    assert batches.per_epoch == 2
    assert [line.split(",")[0] for line in batches.warnings()] == ["source a: 4 queries", "source b: 4 queries"]
    told = batches.warnings()[0]
    assert "fewer than a batch of 6; it is trained in 1 smaller batch(es) an epoch" in told
    assert "lower train_batch_size, join it with another source, or set same_dataset_within_batch to false" in told
    assert parts(settings(), queries=8, sources=("a", "b"))[1].warnings() == []


def test_a_name_that_means_something_in_flagembedding_is_told() -> None:
    sources = ("labels_no_in_batch_neg", "b")
    (told,) = parts(settings(), sources=sources)[1].warnings()
    assert "labels_no_in_batch_neg: a name that turns in-batch negatives off in FlagEmbedding, not here" in told
    assert parts(settings(no_inbatch_sources=[sources[0]]), sources=sources)[1].warnings() == []


@pytest.mark.parametrize("size", [2, 4, 9])
def test_same_batch_and_every_text_once_on_any_number_of_processes(size: int) -> None:
    chosen = settings()
    examples, batches = parts(chosen)
    batch = batches.batch(0)
    alone = shard_batch(batch, _NoTokens(examples), chosen, 0, 1)  # type: ignore[arg-type]
    spread = [shard_batch(batch, _NoTokens(examples), chosen, rank, size) for rank in range(size)]  # type: ignore[arg-type]
    for part in spread:
        assert part.query_of.tolist() == alone.query_of.tolist()
        assert part.text_of.tolist() == alone.text_of.tolist()
    rows = [contrast.rows for part in spread for contrast in part.contrasts]
    assert np.concatenate(rows).tolist() == alone.contrasts[0].rows.tolist()
    encoded = [number for part in spread for number in part.shares[part.mine].tolist()]
    assert sorted(encoded) == list(range(len(alone.queries) + len(alone.texts)))
    for part in spread:
        assert [share.tolist() for share in part.shares] == [share.tolist() for share in spread[0].shares]
        assert len(part.tokens) == len(part.shares[part.mine])


def test_without_cross_device_a_process_keeps_to_its_rows() -> None:
    chosen = settings(negatives_cross_device=False)
    examples, batches = parts(chosen)
    batch = batches.batch(0)
    part = shard_batch(batch, _NoTokens(examples), chosen, 1, 2)  # type: ignore[arg-type]
    assert set(part.texts.tolist()) == set(batch.groups[2:].reshape(-1).tolist())
    assert len(part.shares) == 1
    assert part.total_rows == 5
    of = np.concatenate([np.full(len(part.queries), -1), part.texts])
    assert of[part.text_of].tolist() == batch.groups[2:].tolist()


def test_a_source_apart_on_a_process_that_keeps_to_its_rows() -> None:
    chosen = settings(negatives_cross_device=False, no_inbatch_sources=["b"])
    examples, batches = parts(chosen, queries=24, sources=("a", "b"))
    batch = batches.batch(1)
    part = shard_batch(batch, _NoTokens(examples), chosen, 1, 2)  # type: ignore[arg-type]
    apart = examples.source[batch.queries[3:]] == examples.sources.index("b")
    assert apart.any() and not apart.all()
    together, own = part.contrasts
    assert (together.in_batch, own.in_batch) == (True, False)
    of = np.concatenate([np.full(len(part.queries), -1), part.texts])
    assert set(of[together.columns].tolist()) == set(batch.groups[3:][~apart].reshape(-1).tolist())
    assert of[own.columns[own.group_columns]].tolist() == batch.groups[3:][apart].tolist()


def test_deal_balances_tokens() -> None:
    lengths = np.random.default_rng(0).integers(5, 300, 1000)
    shares = assign_micro_batches(lengths.tolist(), 4)
    sums = [lengths[share.numpy()].sum() for share in shares]
    assert max(sums) / min(sums) < 1.01
    assert {len(share) for share in shares} == {250}


def test_shuffled_words_keeps_words_and_short_texts() -> None:
    text = " ".join(f"word{number}" for number in range(40))
    moved = {shuffled_words(text, seed) for seed in range(20)}
    assert 2 <= len(moved) <= 6
    assert all(sorted(m.split()) == sorted(text.split()) for m in moved)
    assert shuffled_words("short text", 1) == "short text"


def test_shuffle_ratio_changes_positives_only() -> None:
    _, batches = parts(settings(shuffle_ratio=1.0))
    batch = batches.batch(0)
    assert batch.shuffled == set(batch.groups[:, 0].tolist())
    _, batches = parts(settings(shuffle_ratio=0.0))
    assert batches.batch(0).shuffled == frozenset()
