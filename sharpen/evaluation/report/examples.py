"""The queries that the report shows one by one: what was found before and after, and where the positive stood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sharpen.data.trec import field
from sharpen.evaluation.artifact import EvaluationArtifact
from sharpen.evaluation.split import EvaluationSplit
from sharpen.reports.formatting import number, signed

HITS_SHOWN = 3
LONGEST = 4_000
PREVIEW_CHARACTERS, PREVIEW_LINES = 240, 7


@dataclass(frozen=True)
class Text:
    """A passage as it is shown: a preview, the whole (cut at `LONGEST` characters), and whether it is code."""

    preview: str
    whole: str
    is_code: bool

    @property
    def folds(self) -> bool:
        """Whether the preview leaves something out."""
        return self.preview != self.whole


@dataclass(frozen=True)
class Hit:
    """A retrieved passage."""

    rank: int
    passage_id: str
    score: str
    relevant: bool
    text: Text


@dataclass(frozen=True)
class Returned:
    """What one model returned for a query: `rank` is that of the first relevant passage."""

    name: str
    value: str
    rank: str
    hits: list[Hit]


@dataclass(frozen=True)
class Example:
    """One query.

    `change` is empty without a reference, which is the first of `returned`; the reported model is the last. `positive`
    is set only where no list shows it.
    """

    query: str
    query_id: str
    change: str
    improved: bool
    returned: list[Returned]
    positive: Text | None

    @property
    def value(self) -> str:
        """The reported model's value of the metric."""
        return self.returned[-1].value

    @property
    def ranks(self) -> list[str]:
        """Rank of the first relevant passage, of the reference and of the reported model."""
        return [one.rank for one in (self.returned[0], self.returned[-1])[-len(self.returned) :]]


class Examples:
    """Examples from the runs of `models` (name, role, evaluation) on the queries of `eval_set`, the reported one last.

    Queries differ by their `metric`, against the first of the models; a grade of `level` is relevant.
    """

    def __init__(
        self, models: Sequence[tuple[str, str, EvaluationArtifact]], eval_set: EvaluationSplit, metric: str, level: int
    ):
        self.models, self.eval_set, self.level = models, eval_set, level
        self.queries = dict(zip(eval_set.query_ids, eval_set.query_texts, strict=True))
        self.texts = dict(zip(eval_set.passage_ids, eval_set.passage_texts, strict=True))
        self.ids = {field(passage_id): passage_id for passage_id in eval_set.passage_ids}
        self.values = [dict(zip(one.per_query["query_id"], one.per_query[metric], strict=True)) for *_, one in models]

    def best_and_worst(self, count: int) -> tuple[list[Example], list[Example]]:
        """The queries that gained most and lost most against the reference; without one, none and the lowest."""
        after = self.values[-1]
        if len(self.models) == 1:
            lowest = sorted(after, key=lambda q: (after[q], q))[:count]
            return [], [self.example(q) for q in lowest if after[q] < 1]
        change = {q: after[q] - self.values[0][q] for q in after}
        falling = sorted(change, key=lambda q: (-change[q], q))
        best = [q for q in falling[:count] if change[q] > 0]
        worst = [q for q in reversed(falling[-count:] if count else []) if change[q] < 0]
        return [self.example(q) for q in best], [self.example(q) for q in worst]

    def example(self, query_id: str) -> Example:
        """Everything that is shown of a query."""
        grades = self.eval_set.qrels[query_id]
        positives = {p for p, grade in grades.items() if grade >= self.level}
        best = max(positives, key=lambda p: (grades[p], p), default=None)
        returned, seen = [], set()
        for (name, _, one), values in zip(self.models, self.values, strict=True):
            found = [(self.ids.get(p, p), score) for p, score in one.hits.get(field(query_id), [])]
            seen |= {passage_id for passage_id, _ in found[:HITS_SHOWN]}
            hits = self._hits(found, positives)
            returned.append(Returned(name, number(values[query_id], 2), first_rank(found, positives), hits))
        change = self.values[-1][query_id] - self.values[0][query_id]
        return Example(
            query=self.queries[query_id],
            query_id=query_id,
            change=signed(change, 2) if len(self.models) > 1 else "",
            improved=change > 0,
            returned=returned,
            positive=None if best in seen or best not in self.texts else shown(self.texts[best]),
        )

    def _hits(self, found: Sequence[tuple[str, float]], positives: set[str]) -> list[Hit]:
        return [
            Hit(rank, passage_id, number(score), passage_id in positives, shown(self.texts.get(passage_id, "")))
            for rank, (passage_id, score) in enumerate(found[:HITS_SHOWN], start=1)
        ]


def first_rank(found: Sequence[tuple[str, float]], positives: set[str]) -> str:
    """The rank of the first relevant passage, or ``> n`` when none is among the n found."""
    for rank, (passage_id, _) in enumerate(found, start=1):
        if passage_id in positives:
            return str(rank)
    return f"> {len(found)}"


def shown(text: str) -> Text:
    """A passage cut for reading: whole lines for code, whole words for prose."""
    text = text.strip("\n").expandtabs(4)
    whole = text if len(text) <= LONGEST else text[:LONGEST].rstrip() + " …"
    if is_code(text):
        lines = whole.split("\n")
        preview = whole if len(lines) <= PREVIEW_LINES + 1 else "\n".join(lines[:PREVIEW_LINES]) + "\n…"
        return Text(preview, whole, True)
    if len(whole) <= PREVIEW_CHARACTERS * 1.2:
        return Text(whole, whole, False)
    return Text(whole[:PREVIEW_CHARACTERS].rsplit(" ", 1)[0] + " …", whole, False)


def is_code(text: str) -> bool:
    """Whether a text reads like source code: several lines, most of them indented or ending as statements do."""
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) < 2:
        return False
    like = sum(line[0] in " \t#@}" or line.rstrip()[-1] in ":;{}()[],\\=" for line in lines)
    return like >= 0.6 * len(lines)
