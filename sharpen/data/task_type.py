"""What a query is for: the task types, and which of them have an instruction before their queries."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from sharpen.errors import InputError


class TaskType(StrEnum):
    """A task of embeddings.

    - ``retrieval``: a query looks for passages in the corpus.
    - ``reranking``: a query puts its own list of passages in order; judged in `qrels`, a grade of 0 included.
    - ``sts``: two texts are alike to a degree, a label of `similarity_labels`; both sides are encoded alike.
    - ``classification``, ``clustering``: a text has a label (column `label` of the queries); texts of one label are
      near each other.
    """

    RETRIEVAL = "retrieval"
    STS = "sts"
    CLASSIFICATION = "classification"
    CLUSTERING = "clustering"
    RERANKING = "reranking"

    @property
    def has_instruction(self) -> bool:
        """Whether queries and passages are given the model's prompts: where a sentence looks for passages."""
        return self in (TaskType.RETRIEVAL, TaskType.RERANKING)

    @property
    def has_labels(self) -> bool:
        """Whether its texts are labelled one by one."""
        return self in (TaskType.CLASSIFICATION, TaskType.CLUSTERING)


# `type` of FlagEmbedding's rows
_OF_FLAG_EMBEDDING = {
    "normal": TaskType.RETRIEVAL,
    "only_1neg": TaskType.RETRIEVAL,
    "symmetric_sts": TaskType.STS,
    "symmetric_class": TaskType.CLASSIFICATION,
    "symmetric_clustering": TaskType.CLUSTERING,
}
# `TaskMetadata.type` of MTEB
_OF_MTEB = {
    "Retrieval": TaskType.RETRIEVAL,
    "STS": TaskType.STS,
    "Classification": TaskType.CLASSIFICATION,
    "Clustering": TaskType.CLUSTERING,
    "Reranking": TaskType.RERANKING,
}
_KNOWN: Mapping[str, TaskType] = {
    **{name.lower(): kind for name, kind in _OF_MTEB.items()},
    **_OF_FLAG_EMBEDDING,
    **{kind.value: kind for kind in TaskType},
}


def task_type(name: str) -> TaskType:
    """The task type that a name means: ours, that of FlagEmbedding's `type`, or MTEB's, in any case.

    Raises:
        InputError: it means none.
    """
    found = _KNOWN.get(name.strip().lower())
    if found is None:
        raise InputError(f"task type {name[:80]!r} is not known; use {', '.join(TaskType)}")
    return found
