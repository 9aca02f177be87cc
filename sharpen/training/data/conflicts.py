"""Queries that must not meet in a batch, because the loss would take one's positive for a negative of the other.

Needed where false negatives are not masked: there every passage of a batch is a negative of every other row, so two
rows of one query text, or of one positive, push their own positives away, and a row whose positive is another's query
has that query face itself. Batches are cut so that they do not meet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components, reverse_cuthill_mckee

from sharpen.training.data.examples import Examples
from sharpen.training.settings import TrainingSettings


@dataclass(frozen=True)
class ConflictGroups:
    """Who shares what with whom.

    Attributes:
        family: (queries) equal for queries that are connected by shared texts, directly or through others.
        place: (queries) an order in which queries that share a text directly stand close together.
        shared: (queries x keys) which texts, of those that several queries have as text or positive, a query has.
        keys: the key of each column's text (`data.text.text_key`).
    """

    family: np.ndarray
    position: np.ndarray
    shared: sparse.csr_array
    keys: np.ndarray


def conflict_groups(examples: Examples, settings: TrainingSettings) -> ConflictGroups | None:
    """The queries of a data set that must not meet; None: all may, or the loss masks what they would do to each other.

    Which positive of a query is drawn is not known when batches are cut, so any shared one counts.
    """
    if settings.mask_false_negatives or not settings.use_inbatch_neg:
        return None
    alone = [examples.sources.index(name) for name in settings.no_inbatch_sources]
    meets = np.flatnonzero(~np.isin(examples.source, alone))
    positives = [examples.positives[row] for row in meets.tolist()]
    rows = np.concatenate([meets, np.repeat(meets, [len(texts) for texts in positives])])
    keys = np.concatenate([examples.query_key[meets], *(examples.text_key[texts] for texts in positives)])
    rows, keys = np.unique(np.stack([rows.astype(np.uint64), keys]), axis=1)
    _, column, times = np.unique(keys, return_inverse=True, return_counts=True)
    several = times[column] > 1
    if not several.any():
        return None
    names, column = np.unique(keys[several], return_inverse=True)
    rows = rows.astype(np.int64)
    ones = np.ones(len(column), dtype=np.int8)
    shared = sparse.csr_array((ones, (rows[several], column)), shape=(len(examples), len(names)))
    # Queries on one side, what they share on the other; an order that keeps neighbours together.
    graph = sparse.csr_array(sparse.block_array([[None, shared], [shared.T, None]]))
    _, family = connected_components(graph, directed=False)
    position = np.empty(len(family), dtype=np.int64)
    position[reverse_cuthill_mckee(graph, symmetric_mode=True)] = np.arange(len(family))
    return ConflictGroups(family[: len(examples)], position[: len(examples)], shared, names)


def describe(conflicts: ConflictGroups, batches: list[np.ndarray], examples: Examples) -> str:
    """How many rows of an epoch's batches share a text with another row of theirs, and the worst one; empty: none."""
    batch = np.repeat(np.arange(len(batches)), [len(one) for one in batches])
    taken = conflicts.shared[np.concatenate(batches)].tocoo()
    pairs, number, times = np.unique(
        batch[taken.row] * len(conflicts.keys) + taken.col, return_inverse=True, return_counts=True
    )
    meet = times[number] > 1
    if not meet.any():
        return ""
    worst = int(np.bincount(pairs[number[meet]] % len(conflicts.keys)).argmax())
    queries = np.flatnonzero(conflicts.shared[:, [worst]].toarray())
    first, key = int(queries[0]), conflicts.keys[worst]
    same = [text for text in examples.positives[first].tolist() if examples.text_key[text] == key]
    name = f"the positive {examples.text_ids[same[0]]}" if same else f"the text of query {examples.query_ids[first]}"
    return (
        f"mask_false_negatives false: {len(np.unique(taken.row[meet])):,} rows of an epoch are in a batch with a row "
        "of the same query text or positive, so that their positives are negatives of each other; most often it is "
        f"{name}, which {len(queries):,} queries have in {len(batches):,} batches an epoch; set mask_false_negatives "
        "to true, or lower train_batch_size"
    )
