"""The choice of negatives a second time: query by query, passage by passage, straight from the definition."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from sharpen.data.text import normalize
from sharpen.mining import rng
from sharpen.mining.rng import RngStream
from sharpen.mining.settings import MiningSettings
from tests.sharpen.mining.corpora import Rankings, Second, World


class Slow:
    """Texts, scores and known positives of a world as plain dictionaries."""

    def __init__(self, made: World, second: Second | None = None, level: int = 1) -> None:
        self.world, self.second = made, second
        self.passages = dict(made.data.corpus.select("passage_id", "text").iter_rows())
        self.texts = {passage_id: normalize(text) for passage_id, text in self.passages.items()}
        self.queries = {row["query_id"]: row for row in made.data.queries.iter_rows(named=True)}
        self.positives: dict[str, set[str]] = {}
        self.known: dict[str, set[str]] = {}
        self.irrelevant: dict[str, set[str]] = {}
        for query_id, passage_id, grade, _ in made.data.qrels.iter_rows():
            for fits, table in (
                (grade >= level, self.positives),
                (grade > 0, self.known),
                (grade == 0, self.irrelevant),
            ):
                if fits:
                    table.setdefault(query_id, set()).add(passage_id)

    def score(self, query_id: str, passage_id: str) -> float:
        return float(np.dot(self.world.query_vectors[query_id], self.world.passage_vectors[passage_id]))

    def rescored(self, query_id: str, passage_id: str) -> float:
        """What the margins are judged by: the cross-encoder if there is one."""
        if self.second is None:
            return self.score(query_id, passage_id)
        return self.second(self.queries[query_id]["text"], self.passages[passage_id])

    def rescored_anchor(self, query_id: str) -> float:
        return min(self.rescored(query_id, passage_id) for passage_id in self.positives[query_id])

    def anchor(self, query_id: str) -> float:
        return min(self.score(query_id, passage_id) for passage_id in self.positives[query_id])

    def known_texts(self, query_id: str) -> set[str]:
        own = normalize(self.queries[query_id]["text"])
        same = [other for other, row in self.queries.items() if normalize(row["text"]) == own]
        return {self.texts[passage_id] for other in same for passage_id in self.known.get(other, ())}

    def given(self, query_id: str) -> list[str]:
        """The first passage of each given text that may be a negative."""
        kept: dict[str, str] = {}
        brought = {p for q, p in self.world.data.given_negatives.iter_rows() if q == query_id}
        for passage_id in sorted(brought | self.irrelevant.get(query_id, set())):
            text = self.texts[passage_id]
            if not self.forbidden(query_id, text):
                kept.setdefault(text, passage_id)
        return sorted(kept.values())

    def forbidden(self, query_id: str, text: str) -> bool:
        return text in self.known_texts(query_id) or text == normalize(self.queries[query_id]["text"])

    def passes(self, query_id: str, passage_id: str, settings: MiningSettings) -> bool:
        """The rules, but for copies."""
        score = self.score(query_id, passage_id)
        text = self.texts[passage_id]
        if self.forbidden(query_id, text) or text in {self.texts[given] for given in self.given(query_id)}:
            return False
        if settings.max_score is not None and score > settings.max_score:
            return False
        if settings.min_score is not None and score < settings.min_score:
            return False
        return self.margin(query_id, passage_id, settings) is None

    def margin(self, query_id: str, passage_id: str, settings: MiningSettings) -> str | None:
        """The margin that filters a passage out, or the ceiling."""
        score, positive = self.rescored(query_id, passage_id), self.rescored_anchor(query_id)
        if self.second is not None:
            score, positive = 1 / (1 + math.exp(-score)), 1 / (1 + math.exp(-positive))
        if settings.absolute_margin is not None and score > positive - settings.absolute_margin:
            return "absolute_margin"
        if settings.relative_margin is not None and score > positive - abs(positive) * settings.relative_margin:
            return "relative_margin"
        if self.second is not None and settings.rescoring_max_score is not None:
            return "rescoring_max_score" if score > settings.rescoring_max_score else None
        return None

    def rule(self, query_id: str, passage_id: str, above: list[str], settings: MiningSettings) -> str | None:
        """The first rule but for the margins that filters a passage out below passages with the texts `above`."""
        text, score = self.texts[passage_id], self.score(query_id, passage_id)
        own = normalize(self.queries[query_id]["text"])
        same = [other for other, row in self.queries.items() if normalize(row["text"]) == own]
        if any(passage_id in self.known.get(other, ()) for other in same):
            return "known_positive_id"
        if text in self.known_texts(query_id):
            return "known_positive_text"
        if text == own:
            return "query_text"
        if text in {self.texts[given] for given in self.given(query_id)}:
            return "given_negative"
        if text in above:
            return "repeated_text"
        if settings.max_score is not None and score > settings.max_score:
            return "max_score"
        if settings.min_score is not None and score < settings.min_score:
            return "min_score"
        return None

    def dropped(self, query_id: str, settings: MiningSettings, others: Rankings | None = None) -> Counter[str]:
        """How many candidates of the range each rule filters out; the cross-encoder's, of those it was asked about."""
        start, end = self.range(settings)
        ranking = self.ranking(query_id, settings, others)
        above: list[str] = []
        found: Counter[str] = Counter()
        left = []
        for passage_id, rank, _ in ranking:
            rule = self.rule(query_id, passage_id, above, settings)
            above.append(self.texts[passage_id])
            if start < rank <= end:
                left.append(None if rule else passage_id)
                found.update([rule] if rule else [])
        if self.second is None:
            fit = [passage_id for passage_id in left if passage_id]
            return found + Counter(rule for p in fit if (rule := self.margin(query_id, p, settings)))
        if settings.sampling == "random":
            priority = rng.generator(settings.seed, query_id, RngStream.SAMPLE).random(len(left))
            left = [left[place] for place in np.argsort(priority)]
        waiting = [passage_id for passage_id in left if passage_id]
        wanted = settings.negative_number - int(np.floor(settings.random_share * settings.negative_number + 0.5))
        # as many as are missing, then twice as many as are still missing, then four times ...
        more = 1
        while wanted > 0 and waiting:
            asked, waiting = waiting[: more * wanted], waiting[more * wanted :]
            rules = [self.margin(query_id, passage_id, settings) for passage_id in asked]
            found.update(rule for rule in rules if rule)
            wanted -= rules.count(None)
            more *= 2
        return found

    def range(self, settings: MiningSettings) -> tuple[int, int]:
        start, end = settings.ranks
        if len(self.texts) >= end:
            return start, end
        return min(start, max(0, len(self.texts) - settings.negative_number)), len(self.texts)

    def ranking(
        self, query_id: str, settings: MiningSettings, others: Rankings | None = None
    ) -> list[tuple[str, int, str]]:
        """(passage, rank, source) of every passage that a source ranked, best rank first."""
        _, end = self.range(settings)
        further = settings.further_ranks if settings.top_up.startswith("further_ranks") else 0
        reach = max(end + further, settings.negative_number)
        by_model = sorted(self.texts, key=lambda passage_id: (-self.score(query_id, passage_id), passage_id))
        best: dict[str, tuple[int, int]] = {}
        for number, source in enumerate(settings.candidate_sources):
            found = by_model if source == "model" else (others or {})[source].get(query_id, [])
            for rank, passage_id in enumerate(found[:reach], start=1):
                best[passage_id] = min((rank, number), best.get(passage_id, (10**9, 0)))
        ordered = sorted(best, key=lambda passage_id: best[passage_id])
        return [(p, best[p][0], settings.candidate_sources[best[p][1]]) for p in ordered]

    def choose(
        self, query_id: str, settings: MiningSettings, others: Rankings | None = None
    ) -> list[tuple[str, str, int | None, str | None]]:
        """(passage, picked by, rank, source) of one query."""
        passage_ids = sorted(self.texts)
        start, end = self.range(settings)
        ranking = self.ranking(query_id, settings, others)
        seen: set[str] = set()
        fit = []
        for passage_id, _, _ in ranking:
            fit.append(self.passes(query_id, passage_id, settings) and self.texts[passage_id] not in seen)
            seen.add(self.texts[passage_id])

        number = settings.negative_number
        at_random = int(np.floor(settings.random_share * number + 0.5))
        in_range = [column for column, (_, rank, _) in enumerate(ranking) if start < rank <= end]
        columns = [column for column in in_range if fit[column]]
        if settings.sampling == "random":
            priority = rng.generator(settings.seed, query_id, RngStream.SAMPLE).random(len(in_range))
            columns.sort(key=lambda column: priority[in_range.index(column)])
        taken = sorted(columns[: number - at_random])
        chosen: list[tuple[str, str, int | None, str | None]] = [
            (ranking[column][0], "search", *ranking[column][1:]) for column in taken
        ]
        if settings.top_up.startswith("further_ranks"):
            for column, (passage_id, rank, source) in enumerate(ranking):
                if end < rank <= end + settings.further_ranks and fit[column] and len(chosen) < number - at_random:
                    chosen.append((passage_id, "further_rank", rank, source))
        wanted = at_random
        if settings.top_up.endswith("random"):
            wanted = number - len(chosen)
        barred = {self.texts[row[0]] for row in chosen} | {self.texts[p] for p, rank, _ in ranking if rank <= start}
        for purpose, size in ((RngStream.CORPUS, 4 * wanted + 16), (RngStream.CORPUS_AGAIN, 4096)):
            generator = rng.generator(settings.seed, query_id, purpose)
            if not wanted or (self.second and purpose is RngStream.CORPUS_AGAIN):
                break
            seen = set()
            for row in generator.choice(len(passage_ids), size=min(size, len(passage_ids)), replace=False):
                passage_id = passage_ids[row]
                new = self.texts[passage_id] not in barred | seen
                seen.add(self.texts[passage_id])
                if wanted and new and self.passes(query_id, passage_id, settings):
                    chosen.append((passage_id, "random", None, None))
                    barred.add(self.texts[passage_id])
                    wanted -= 1
        ranks = {passage_id: (rank, source) for passage_id, rank, source in ranking}
        given = [(passage_id, "given", *ranks.get(passage_id, (None, None))) for passage_id in self.given(query_id)]
        return chosen + given
