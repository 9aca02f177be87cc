"""Names of task types."""

from __future__ import annotations

import pytest

from sharpen.data.task_type import TaskType, task_type
from sharpen.errors import InputError


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("retrieval", TaskType.RETRIEVAL),
        ("normal", TaskType.RETRIEVAL),
        ("only_1neg", TaskType.RETRIEVAL),
        ("symmetric_sts", TaskType.STS),
        ("symmetric_class", TaskType.CLASSIFICATION),
        ("symmetric_clustering", TaskType.CLUSTERING),
        ("STS", TaskType.STS),
        (" Reranking ", TaskType.RERANKING),
    ],
)
def test_names_of_ours_of_flag_embedding_and_of_mteb(name: str, found: TaskType) -> None:
    assert task_type(name) is found


def test_an_unknown_name_is_one_line() -> None:
    with pytest.raises(InputError, match="'summarization' is not known; use retrieval, sts, classification"):
        task_type("summarization")


def test_only_sentence_to_passage_search_has_instructions() -> None:
    assert [kind.value for kind in TaskType if kind.has_instruction] == ["retrieval", "reranking"]
    assert [kind.value for kind in TaskType if kind.has_labels] == ["classification", "clustering"]
