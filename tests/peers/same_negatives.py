"""The negatives that Sharpen and sentence-transformers choose under the same settings, and why any of them differ.

Same means: exact search to the same depth, the same relative margin, the highest ranks, nothing topped up.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sharpen.data.dataset import NEGATIVES, DataSet, read_table
from sharpen.data.text import normalize
from sharpen.embeddings.encoding import encode
from sharpen.mining.mine import mine
from sharpen.mining.settings import MiningSettings
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from tests.peers.medquad_data import publish
from tests.peers.mining_data import training_rows

# The two compute the same vectors by different batches: their scores agree to a few units in the last place.
ROUNDING = 2e-6

OWN_TEXT = "the passage is the query's own text"
POSITIVE = "the passage is a positive of the query in another spelling, or of a query with the same text"
COPY = "the passage is another spelling of one that was chosen"
SLOT = "ours takes the next rank instead of one of the above"
TIE = f"scores within {ROUNDING:g} of each other or of the margin"
UNEXPLAINED = "none of these"
REASONS = {
    OWN_TEXT: "a passage equal to the query says nothing about relevance; as a negative it would push the query from "
    "itself",
    POSITIVE: "case and white space do not make a positive a negative",
    COPY: "the same text twice counts twice in the loss, and takes the place of a second negative",
    SLOT: "it follows from the three above",
    TIE: "neither is wrong: the encoders' last bits decide; among equal scores ours takes the smaller id, theirs "
    "whatever its `topk` gives",
}

Chosen = dict[str, list[str]]
"""Query text -> texts of its negatives, best first."""


@dataclass(frozen=True)
class Choices:
    """The settings of both.

    Attributes:
        number: negatives of each query.
        margin: relative margin to the query's lowest positive; None: no margin.
        start: theirs leaves out so many survivors of the margin, ours so many ranks of the search.
        depth: ranks that are searched.
        max_len: longest text in tokens, for queries and passages alike, since theirs knows one length.
    """

    number: int
    margin: float | None
    start: int
    depth: int
    max_len: int


@dataclass
class Differences:
    """What the comparison found.

    Attributes:
        queries, equal: how many there are, and how many have the same negatives in both.
        ours, theirs: negatives chosen.
        reasons: reason -> (only theirs, only ours) passages.
        unexplained: up to ten (query, passage, whose) for which there is no reason.
    """

    queries: int = 0
    equal: int = 0
    ours: int = 0
    theirs: int = 0
    only_theirs: Counter[str] = field(default_factory=Counter)
    only_ours: Counter[str] = field(default_factory=Counter)
    unexplained: list[tuple[str, str, str]] = field(default_factory=list)


class Scorer:
    """Our scores of any query and passage of a data set.

    Args:
        data: the data set.
        model: folder of the model.
        max_len: longest text in tokens.
    """

    def __init__(self, data: DataSet, model: str, max_len: int) -> None:
        encoder = Encoder.load(model, encoding(max_len))
        self.texts = list(dict.fromkeys(data.passage_texts()))
        self.place = {text: row for row, text in enumerate(self.texts)}
        self.passages = encode(encoder, self.texts, "passage")
        asked = data.queries["text"].to_list()
        self.queries = dict(zip(asked, encode(encoder, asked, "query"), strict=True))

    def score(self, query: str, passage: str) -> float:
        """The inner product."""
        return float(self.queries[query] @ self.passages[self.place[passage]])

    def ranking(self, query: str, depth: int) -> list[tuple[str, float]]:
        """Passages and scores, best first."""
        scores = self.passages @ self.queries[query]
        best = np.argsort(-scores, kind="stable")[:depth]
        return [(self.texts[row], float(scores[row])) for row in best]


def encoding(max_len: int) -> EncoderSettings:
    """fp32, one length."""
    return EncoderSettings.checked({"query_max_len": max_len, "passage_max_len": max_len, "precision": "fp32"})


def sharpen(data: DataSet, model: str, choices: Choices) -> Chosen:
    """What Sharpen's mining step writes."""
    settings = MiningSettings.checked(
        {
            "range_for_sampling": f"{choices.start}-{choices.depth}",
            "relative_margin": choices.margin,
            "negative_number": choices.number,
            "sampling": "top",
            "top_up": "off",
        }
    )
    with tempfile.TemporaryDirectory(prefix="same-negatives-") as name:
        folder = Path(name)
        publish(data, folder / "data")
        mine(str(folder / "data"), model, str(folder / "negatives"), settings, encoding(choices.max_len))
        table = read_table(folder / "negatives" / "negatives", NEGATIVES)
    texts = dict(zip(data.corpus["passage_id"].to_list(), data.passage_texts(), strict=True))
    queries = dict(data.queries.select("query_id", "text").iter_rows())
    chosen: Chosen = {text: [] for text in queries.values()}
    for query_id, passage_id in table.select("query_id", "passage_id").iter_rows():
        chosen[queries[query_id]].append(texts[passage_id])
    return chosen


def sentence_transformers(data: DataSet, model: str, choices: Choices, cache: str | None = None) -> Chosen:
    """What `mine_hard_negatives` gives, its vectors kept in `cache`.

    It searches ``range_max`` ranks and one more for each positive that a query may have.
    """
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    from tests.peers.mine_sentence_transformers import load

    rows = training_rows(data)
    pairs = [(row["query"], positive) for row in rows for positive in row["pos"]]
    found = mine_hard_negatives(
        Dataset.from_dict({"query": [query for query, _ in pairs], "positive": [positive for _, positive in pairs]}),
        load(model, choices.max_len, bf16=False),
        corpus=data.passage_texts(),
        range_min=choices.start,
        range_max=choices.depth - most_positives(data),
        relative_margin=choices.margin,
        num_negatives=choices.number,
        sampling_strategy="top",
        output_format="labeled-list",
        verbose=False,
        cache_folder=cache,
    )
    chosen: Chosen = {row["query"]: [] for row in rows}
    for query, (_, *negatives) in zip(found["query"], found["positive"], strict=True):
        chosen[query] = negatives
    return chosen


def most_positives(data: DataSet) -> int:
    """The largest number of positives of a query."""
    return max(len(row["pos"]) for row in training_rows(data))


def threshold(query: str, positives: list[str], scorer: Scorer, margin: float | None) -> float:
    """The highest score of a negative: the lowest positive's, less the share `margin` of its size."""
    if margin is None:
        return float("inf")
    anchor = min(scorer.score(query, positive) for positive in positives)
    return anchor - abs(anchor) * margin


def survivors(data: DataSet, scorer: Scorer, choices: Choices) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Query -> (rank from 1, passage) of what known positives and margin leave of its ranking, by brute force."""
    for row in training_rows(data):
        query, positives = row["query"], row["pos"]
        most = threshold(query, positives, scorer, choices.margin)
        ranking = scorer.ranking(query, choices.depth)
        yield (
            query,
            [(rank, text) for rank, (text, score) in enumerate(ranking, 1) if text not in positives and score <= most],
        )


def compare(data: DataSet, ours: Chosen, theirs: Chosen, scorer: Scorer, choices: Choices) -> Differences:
    """Count what differs, by reason; see `REASONS`."""
    known = known_positives(data)
    positives = {row["query"]: row["pos"] for row in training_rows(data)}
    found = Differences()
    for query, own in ours.items():
        found.queries += 1
        found.ours += len(own)
        found.theirs += len(theirs[query])
        only_ours, only_theirs = set(own) - set(theirs[query]), set(theirs[query]) - set(own)
        found.equal += not only_ours and not only_theirs
        if not only_ours and not only_theirs:
            continue
        most = threshold(query, positives[query], scorer, choices.margin)
        free = 0
        for passage in sorted(only_theirs):
            reason = _reason(query, passage, own, known[normalize(query)])
            free += bool(reason)
            reason = reason or _tied(query, passage, only_ours, scorer, most)
            _count(found, found.only_theirs, reason, (query, passage, "theirs"))
        for passage in sorted(only_ours, key=lambda text: scorer.score(query, text)):
            # the lowest ones are those that moved up
            reason = SLOT if free > 0 else _tied(query, passage, only_theirs, scorer, most)
            free -= 1
            _count(found, found.only_ours, reason, (query, passage, "ours"))
    return found


def known_positives(data: DataSet) -> dict[str, set[str]]:
    """Normalised query text -> normalised texts of every positive of a query with this text."""
    known: dict[str, set[str]] = {}
    for row in training_rows(data):
        known.setdefault(normalize(row["query"]), set()).update(normalize(text) for text in row["pos"])
    return known


def _reason(query: str, passage: str, own: list[str], positives: set[str]) -> str:
    """Why ours leaves out a passage that theirs chose; empty if no rule says so."""
    text = normalize(passage)
    if text == normalize(query):
        return OWN_TEXT
    if text in positives:
        return POSITIVE
    return COPY if text in {normalize(one) for one in own} else ""


def _tied(query: str, passage: str, others: set[str], scorer: Scorer, most: float) -> str:
    score = scorer.score(query, passage)
    near = [most, *(scorer.score(query, other) for other in others)]
    return TIE if min(abs(score - one) for one in near) <= ROUNDING else UNEXPLAINED


def _count(found: Differences, counter: Counter[str], reason: str, what: tuple[str, str, str]) -> None:
    counter[reason] += 1
    if reason == UNEXPLAINED and len(found.unexplained) < 10:
        found.unexplained.append(what)
