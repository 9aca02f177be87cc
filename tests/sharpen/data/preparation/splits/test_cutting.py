"""What training has seen is not in the test, whatever the input brings."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sharpen.data.preparation.merging import merge
from sharpen.data.preparation.settings import DataSettings
from sharpen.data.preparation.splits import make_splits
from sharpen.data.preparation.splits.components import GROUPS
from sharpen.data.preparation.splits.leaks import leak_rules
from sharpen.data.preparation.working_set import WorkingSet
from sharpen.data.readers import read_dataset
from sharpen.errors import InputError
from tests.sharpen.data.input_files import pair, passage, question, write_beir, write_rows

STRICT = {"leak_check": "query_and_passage"}
NO_GROUPS = pl.DataFrame(schema=GROUPS)


def leaking(tmp_path: Path) -> WorkingSet:
    """q1 train, q2 dev, q3 test; leaks: q4 same text as q3, q5 another spelling of q2, q6 and q7 share a passage."""
    folder = write_beir(
        tmp_path / "set",
        [passage(number) for number in range(1, 10)],
        [
            *(question(number) for number in (1, 2, 3)),
            {"_id": "q4", "text": "question number 3?"},
            {"_id": "q5", "text": "QUESTION  number 2?"},
            {"_id": "q6", "text": "shares with test"},
            {"_id": "q7", "text": "dev that shares with test"},
            {"_id": "q8", "text": "shares with the leaking dev query only"},
            {"_id": "q9", "text": "judged in train and test"},
        ],
        {
            "train": [
                "q1\tp1\t1",
                "q4\tp4\t1",
                "q5\tp5\t1",
                "q6\tp3\t1",
                "q6\tp6\t1",
                "q8\tp7\t1",
                "q9\tp8\t1",
                "q1\tp3\t0",
            ],
            "dev": ["q2\tp2\t1", "q7\tp3\t1", "q7\tp7\t1"],
            "test": ["q3\tp3\t1", "q9\tp9\t1"],
        },
    )
    return merge(read_dataset(str(folder)))


def test_leaks_are_dropped_and_counted(tmp_path: Path) -> None:
    draft = leaking(tmp_path)
    leaks = make_splits(draft, NO_GROUPS, DataSettings(leak_check="query_and_passage"))
    assert dict(draft.data.queries.select("query_id", "split").rows()) == {
        "q1": "train",
        "q8": "train",
        "q2": "dev",
        "q3": "test",
        "q9": "test",
    }
    assert leaks.counts == {
        "dev": {"same_text": 0, "same_normalised_text": 0, "shared_positive": 1, "same_group": 0},
        "train": {
            "judged_in_several_splits": 1,
            "same_text": 1,
            "same_normalised_text": 1,
            "shared_positive": 1,
            "same_group": 0,
        },
    }
    assert leaks.shared == {"dev": 0, "train": 0}
    assert draft.counts["leaking_queries"] == 4
    assert draft.data.qrels_of("train") == {"q1": {"p1": 1, "p3": 0}, "q8": {"p7": 1}}
    assert draft.data.corpus.height == 9


@pytest.mark.parametrize("mode", [{}, {"leak_check": "auto"}, {"leak_check": "query"}])
def test_queries_of_splits_that_the_input_brings_may_share_passages(tmp_path: Path, mode: dict) -> None:
    draft = leaking(tmp_path)
    leaks = make_splits(draft, NO_GROUPS, DataSettings(**mode))
    assert set(draft.data.queries["query_id"]) == {"q1", "q2", "q3", "q6", "q7", "q8", "q9"}
    assert leaks.counts["train"]["same_text"] == leaks.counts["train"]["same_normalised_text"] == 1
    assert leaks.counts["dev"]["shared_positive"] == leaks.counts["train"]["shared_positive"] == 0
    # q7 shares with test, q6 with test, q8 with q7 of dev: what the strict check would have to look at
    assert leaks.shared == {"dev": 1, "train": 2}


def test_a_benchmark_whose_claims_share_abstracts_keeps_its_training_queries(tmp_path: Path) -> None:
    """SciFact's form: many claims an abstract, so that a third of the training claims share one with test."""
    folder = write_beir(
        tmp_path / "scifact",
        [passage(n) for n in range(60)],
        [question(n) for n in range(120)],
        {
            "train": [f"q{n}\tp{n % 60}\t1" for n in range(90)],
            "test": [f"q{n}\tp{n % 60}\t1" for n in range(90, 120)],
        },
    )
    kept = {}
    for mode in ("auto", "query", "query_and_passage"):
        draft = merge(read_dataset(str(folder)))
        leaks = make_splits(draft, NO_GROUPS, DataSettings(leak_check=mode, dev_share=0))
        kept[mode] = (draft.data.queries_of("train").height, leaks.shared["train"])
        assert draft.data.queries_of("test").height == 30
    assert kept == {"auto": (90, 30), "query": (90, 30), "query_and_passage": (60, 0)}


def test_a_split_that_is_cut_here_shares_no_passage_with_the_one_that_the_input_brings(tmp_path: Path) -> None:
    """Test is brought, dev is cut from train: what auto allows for test it does not allow for dev."""

    def strict(check: str, brought: set[str], **more: str) -> list[str]:
        return list(leak_rules(DataSettings(leak_check=check, **more), brought, NO_GROUPS).passages)

    assert strict("auto", {"train", "test"}) == ["dev"]
    assert strict("auto", {"train"}) == ["dev", "test"]
    assert strict("query", {"train"}) == []
    assert strict("query_and_passage", {"train", "test", "dev"}) == ["dev", "test"]
    # new queries about old passages are what a split by time is for
    assert strict("auto", {"train"}, split_by="time") == []
    folder = write_beir(
        tmp_path / "set",
        [passage(n) for n in range(40)],
        [question(n) for n in range(80)],
        {"train": [f"q{n}\tp{n % 40}\t1" for n in range(79)], "test": ["q79\tp39\t1"]},
    )
    draft = merge(read_dataset(str(folder)))
    make_splits(draft, NO_GROUPS, DataSettings(dev_share=0.2))
    answers = {split: {p for j in draft.data.qrels_of(split).values() for p in j} for split in ("train", "dev", "test")}
    assert draft.data.queries_of("dev").height and not answers["dev"] & answers["train"]
    assert answers["test"] <= answers["train"] | answers["dev"]


def test_leaks_may_be_forbidden(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^5 training or dev queries leak .*on_leak to drop"):
        make_splits(leaking(tmp_path), NO_GROUPS, DataSettings(on_leak="fail", leak_check="query_and_passage"))
    with pytest.raises(InputError, match=r"^3 training or dev queries leak .*2 same|judged_in_several_splits"):
        make_splits(leaking(tmp_path), NO_GROUPS, DataSettings(on_leak="fail"))


def test_queries_without_a_positive_are_left_out(tmp_path: Path) -> None:
    folder = write_beir(
        tmp_path / "set",
        [passage(1), passage(2)],
        [question(1), question(2), question(3)],
        {"train": ["q1\tp1\t1", "q3\tp1\t0"], "test": ["q2\tp2\t1"]},
    )
    draft = merge(read_dataset(str(folder)))
    make_splits(draft, NO_GROUPS, DataSettings(dev_share=0))
    assert draft.data.queries["query_id"].to_list() == ["q1", "q2"]
    assert draft.counts["queries_without_positive"] == 1


def test_limits_are_drawn_by_lot_and_counted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_rows(tmp_path / f"{name}.jsonl", [pair(n, query=f"{name} {n}", pos=[f"{name} p {n}"]) for n in range(50)])
    addresses = f"{tmp_path}/a.jsonl,{tmp_path}/b.jsonl"
    kept = {}
    for seed in (1, 2):
        draft = merge(read_dataset(addresses))
        make_splits(draft, NO_GROUPS, DataSettings(seed=seed, max_examples_per_source=7, max_test_queries=5))
        train = draft.data.queries.filter(pl.col("split") == "train")
        assert dict(train.group_by("source").len().iter_rows()) == {"a": 7, "b": 7}
        assert draft.data.queries_of("test").height == 5
        assert draft.counts["train_queries_over_the_limit"] == 100 - 14 - 5 - draft.data.queries_of("dev").height
        assert set(draft.data.qrels["query_id"]) == set(draft.data.queries["query_id"])
        kept[seed] = set(train["query_id"])
    assert kept[1] != kept[2]


def test_a_given_test_split_is_cut_to_the_limit(tmp_path: Path) -> None:
    folder = write_beir(
        tmp_path / "set",
        [passage(n) for n in range(20)],
        [question(n) for n in range(20)],
        {"train": ["q0\tp0\t1"], "test": [f"q{n}\tp{n}\t1" for n in range(1, 20)]},
    )
    draft = merge(read_dataset(str(folder)))
    make_splits(draft, NO_GROUPS, DataSettings(max_test_queries=4))
    assert draft.data.queries_of("test").height == 4 and draft.counts["test_queries_over_the_limit"] == 15


@pytest.mark.parametrize(
    ("qrels", "settings", "message"),
    [
        ({"test": ["q1\tp1\t1"]}, {}, "no training query in train_data"),
        ({"train": ["q1\tp1\t1"], "test": ["q2\tp1\t1"]}, STRICT, "all leak into dev or test .*leak_check to query"),
        ({"train": ["q1\tp1\t1", "q2\tp2\t1"]}, {"test_share": 0}, "test_share is 0"),
        ({"train": ["q1\tp1\t1", "q2\tp1\t1"]}, {}, "hang together by shared passages"),
        ({"train": ["q1\tp1\t1"]}, {}, "too few"),
    ],
)
def test_a_split_without_queries_is_refused(tmp_path: Path, qrels, settings, message: str) -> None:
    folder = write_beir(tmp_path / "set", [passage(1), passage(2)], [question(1), question(2)], qrels)
    with pytest.raises(InputError, match=message) as caught:
        make_splits(merge(read_dataset(str(folder))), NO_GROUPS, DataSettings(**settings))
    assert len(caught.value.faults) == 1
