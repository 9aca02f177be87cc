"""Click logs: what was shown for a query and what of it was clicked become positives and hard negatives.

People look at high positions more often than at low ones, so that a click at a low one says more. By the position-based
model a click is a look, which depends on the position alone, times relevance (Craswell et al. 2008). With the
propensities of the positions, clicks weighted by 1 / propensity and divided by the impressions estimate the relevance
without that bias (Joachims, Swaminathan and Schnabel 2017, arXiv 1608.04468).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharpen.data.readers.columns.names import Columns
from sharpen.data.readers.query_facts import QueryFacts
from sharpen.data.readers.rows import ReadReport, RowError, checked_text, group_field, kind_of_value
from sharpen.data.readers.tables import DataSetBuilder
from sharpen.data.source_settings import ClickSettings


@dataclass(slots=True)
class Shown:
    """What is known of a passage for a query.

    Attributes:
        impressions: how often it was shown.
        clicks: how often it was clicked.
        weighted: clicks, each divided by the propensity of its position.
        examined: how often it was looked at, as the propensities expect.
    """

    impressions: int = 0
    clicks: int = 0
    weighted: float = 0.0
    examined: float = 0.0

    @property
    def click_rate(self) -> float:
        """The estimate of the relevance: weighted clicks per impression."""
        return self.weighted / self.impressions

    def verdict(self, settings: ClickSettings) -> int | None:
        """1 for a positive, 0 for a hard negative, None where the log does not say enough."""
        if self.impressions < settings.min_impressions:
            return None
        if self.clicks >= settings.min_clicks and self.click_rate >= settings.min_click_rate:
            return 1
        if self.examined >= settings.min_examined and self.click_rate <= settings.max_negative_click_rate:
            return 0
        return None


def propensity(settings: ClickSettings, position: int) -> float:
    """How probably a user looks at a position, from 1."""
    if isinstance(settings.propensities, list):
        return settings.propensities[min(position, len(settings.propensities)) - 1]
    if settings.propensities == "reciprocal":
        return 1 / position
    return 1 / math.log2(position + 1) if settings.propensities == "log2" else 1.0


@dataclass
class _Query:
    text: str
    prompt: str
    group: str
    facts: QueryFacts
    shown: dict[str, Shown]


class ClickLog:
    """Adds up the rows of a log, in any order, and says what they mean.

    A row is one passage that was shown (``shown`` a text, ``clicked`` 0 or 1), or a whole result page (``shown`` a
    list, ``clicked`` as many 0 and 1, or those of the list that were clicked).

    Args:
        settings: thresholds and propensities.
        pool: ids of the candidate pool that ``shown`` refers to; None: it holds texts.
    """

    def __init__(self, settings: ClickSettings, pool: frozenset[str] | None = None) -> None:
        self.settings, self.pool = settings, pool
        self._queries: dict[tuple[int, str], _Query] = {}

    def add(self, row: Mapping[str, Any], columns: Columns, facts: QueryFacts, tables: DataSetBuilder) -> None:
        """Add a row. Raises RowError.

        Args:
            row: its values.
            columns: which of them is what.
            facts: of its query.
            tables: know the texts' keys.
        """
        query = checked_text(row.get(columns.first("query")), columns.first("query"))
        prompt = str(row.get(columns.first("prompt")) or "")
        impressions = self._impressions(row, columns)
        group = group_field({"group": row.get(columns.first("group"))}, columns.first("group"))
        found = self._queries.setdefault((tables.key(query), prompt), _Query(query, prompt, group, facts, {}))
        # whatever the order of the rows
        found.text, found.group = min(found.text, query), min(filter(None, (found.group, group)), default="")
        found.facts = max(found.facts, facts, key=lambda known: (known.time is not None, known.time, known.fields))
        for passage, clicked, position in impressions:
            shown, look = found.shown.setdefault(passage, Shown()), propensity(self.settings, position)
            shown.impressions += 1
            shown.examined += look
            if clicked:
                shown.clicks += 1
                shown.weighted += 1 / look

    def _impressions(self, row: Mapping[str, Any], columns: Columns) -> list[tuple[str, bool, int]]:
        """Passage, whether it was clicked, and position of everything that a row shows."""
        name = columns.first("shown")
        value = row.get(name)
        page = isinstance(value, list | tuple)
        passages = [self._passage(one, f"{name}[{n}]") for n, one in enumerate(value)] if page else []
        if not page:
            passages = [self._passage(value, name)]
        name = columns.first("clicked")
        clicked = _clicked(row.get(name), name, passages) if page else [_truth(row.get(name), name)]
        name = columns.first("position")
        positions = self._positions(row.get(name) if name else None, name or "position", len(passages), page=page)
        return list(zip(passages, clicked, positions, strict=True))

    def _passage(self, value: Any, name: str) -> str:
        if self.pool is None:
            return checked_text(value, name)
        found = str(value) if isinstance(value, int) and not isinstance(value, bool) else checked_text(value, name)
        if found not in self.pool:
            raise RowError("unknown_id", name, found[:80])
        return found

    def _positions(self, value: Any, name: str, count: int, *, page: bool) -> list[int]:
        if value is None and (page or self.settings.propensities == "none"):
            return list(range(1, count + 1))
        positions = list(value) if page and isinstance(value, list | tuple) else [value]
        if len(positions) != count:
            raise RowError("wrong_type", name, f"found {len(positions)} positions of {count} passages")
        return [_position(one, name) for one in positions]

    def write(self, tables: DataSetBuilder, source: str, split: str, report: ReadReport, shown: str) -> None:
        """Put positives and hard negatives into the tables; queries without a positive are left out with a notice.

        Args:
            tables: to add to.
            source, split: of the queries.
            report: takes the notices.
            shown: the file, for notices.
        """
        without, unclear = 0, 0
        for query in self._queries.values():
            verdicts = {passage: found.verdict(self.settings) for passage, found in query.shown.items()}
            # nobody looks for the query's own text
            same_text = {p for p in verdicts if self.pool is None and tables.key(p) == tables.key(query.text)}
            unclear += sum(verdict is None for verdict in verdicts.values())
            if 1 not in {verdict for passage, verdict in verdicts.items() if passage not in same_text}:
                without += 1
                continue
            query_id = tables.query_by_text(
                query.text, split, source, query.prompt, query.group, task_type=query.facts.task_type
            )
            tables.describe_query(query_id, query.facts.fields, query.facts.time)
            for text, verdict in verdicts.items():
                if verdict is None or text in same_text:
                    continue
                passage_id = text if self.pool is not None else tables.passage_by_text(text)
                if verdict:
                    tables.add_qrel(query_id, passage_id, 1, split)
                else:
                    tables.add_negative(query_id, passage_id)
        report.notice(f"{shown}: query of the log without a positive", without)
        report.notice(f"{shown}: shown passage of which the log does not say enough", unclear)


def _clicked(value: Any, name: str, passages: Sequence[str]) -> list[bool]:
    """Which passages of a page were clicked."""
    if not isinstance(value, list | tuple):
        raise RowError("wrong_type", name, f"expected a list, found {kind_of_value(value)}")
    if len(value) == len(passages) and all(_TRUTHS.get(_plain(one)) is not None for one in value):
        return [_truth(one, name) for one in value]
    chosen = {str(one).strip() for one in value}
    if unknown := sorted(chosen.difference(passages)):
        raise RowError("unknown_id", name, f"{unknown[0][:80]} was not shown")
    return [passage in chosen for passage in passages]


_TRUTHS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


def _truth(value: Any, name: str) -> bool:
    found = _TRUTHS.get(_plain(value))
    if found is None:
        raise RowError("wrong_type", name, f"expected 0 or 1, found {str(value)[:40]!r}")
    return found


def _plain(value: Any) -> str:
    return "" if value is None else str(value).strip().lower().removesuffix(".0")


def _position(value: Any, name: str) -> int:
    try:
        position = int(str(value).strip().removesuffix(".0"))
    except ValueError:
        position = 0
    if position < 1:
        raise RowError("wrong_type", name, f"expected a position from 1, found {str(value)[:40]!r}")
    return position
