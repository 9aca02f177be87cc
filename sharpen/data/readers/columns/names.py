"""Which column of a table is what: by the names that FlagEmbedding, sentence-transformers and search logs give them.

sentence-transformers' data have the columns anchor, positive and negative (negative_1, negative_2, ...), or sentence1,
sentence2 and a score or label; what users call otherwise is said by `SourceSettings.columns`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sharpen.data.source_settings import SourceSettings
from sharpen.errors import InputError

Kind = Literal["rows", "labelled_pairs", "labelled_texts", "clicks"]

ALIASES: dict[str, tuple[str, ...]] = {
    "query": ("query", "anchor", "question", "sentence1", "sentence_1"),
    "positive": ("positive", "pos", "positives", "answer", "response", "sentence2", "sentence_2"),
    "negative": ("negative", "neg", "negatives"),
    "positive_score": ("positive_score", "pos_scores", "positive_scores"),
    "negative_score": ("negative_score", "neg_scores", "negative_scores"),
    "positive_id": ("positive_id", "pos_id", "positive_ids", "pos_ids"),
    "negative_id": ("negative_id", "neg_id", "negative_ids", "neg_ids"),
    "label": ("label", "score", "similarity", "similarity_score"),
    "prompt": ("prompt", "instruction"),
    "group": ("group",),
    "shown": ("shown", "document", "doc", "passage", "item"),
    "clicked": ("clicked", "click", "clicks"),
    "position": ("position", "rank"),
    "passage_id": ("passage_id", "_id", "id", "pid", "docid", "doc_id", "corpus_id"),
    "title": ("title",),
    "text": ("text", "passage", "contents", "content", "document", "body"),
}
_SEVERAL = frozenset({"positive", "negative"})
ONCE = frozenset(alias for what, aliases in ALIASES.items() if what not in _SEVERAL for alias in aliases)
"""Names of columns of which a table may have one."""
_POSITIVE = frozenset({"positive", "pos", "positives"})
_NUMBER = re.compile(r"[_ -]?\d+")
_SCORE = frozenset({"score", "similarity", "similarity_score"})

ADVICE = "name the columns there, or say which they are: columns: {query: ..., positive: ...}"


@dataclass(frozen=True)
class Columns:
    """Which columns are what.

    Attributes:
        kind: what the rows are.
        of: what -> names of columns, in their order.
        unused: names of the columns that are nothing.
        named: what the user said, rather than the names.
    """

    kind: Kind
    of: dict[str, list[str]]
    unused: list[str]
    named: frozenset[str]

    def first(self, what: str) -> str:
        """The column that is something; empty for none."""
        return next(iter(self.of.get(what, ())), "")

    @property
    def is_similarity(self) -> bool:
        """Whether the labels of pairs are degrees by their name, rather than classes."""
        return self.first("label").strip().lower() in _SCORE


def match(names: Sequence[str], settings: SourceSettings, shown: str) -> tuple[dict[str, list[str]], list[str]]:
    """What each column is, and the columns that are nothing by what the user said and by their names.

    Args:
        names: of the columns.
        settings: of the source.
        shown: the file, for messages.

    Raises:
        InputError: a column that the user named is not there.
    """
    if missing := [name for name in [*settings.columns.values(), *settings.fields] if name not in names]:
        raise InputError(f"{shown}: no column {missing[0]!r}; it has {', '.join(map(str, names))[:300]}")
    of = {what: [name] for what, name in settings.columns.items()}
    taken = {*settings.columns.values(), *settings.fields}
    plain = {name: name.strip().lower() for name in names if name not in taken}
    for what, aliases in ALIASES.items():
        if what in of:
            continue
        for alias in aliases:
            several = what in _SEVERAL and not alias[-1].isdigit()
            fitting = [n for n, text in plain.items() if text == alias or (several and _is_numbered(text, alias))]
            if fitting:
                of[what] = fitting if several else fitting[:1]
                break
    used = {name for columns in of.values() for name in columns}
    return of, [name for name in names if name not in used and name not in taken]


def _is_numbered(text: str, alias: str) -> bool:
    return text.startswith(alias) and _NUMBER.fullmatch(text[len(alias) :]) is not None


def columns_of(names: Sequence[str], settings: SourceSettings, shown: str) -> Columns:
    """What the columns are and what the rows are. Raises InputError, which says what is missing.

    Args:
        names: of the columns.
        settings: of the source.
        shown: the file, for messages.
    """
    of, unused = match(names, settings, shown)
    kind = _kind(of, settings)
    needed = {
        "rows": ("query", "positive"),
        "labelled_pairs": ("query", "positive", "label"),
        "labelled_texts": ("text", "label"),
        "clicks": ("query", "shown", "clicked"),
    }[kind]
    if missing := [what for what in needed if what not in of]:
        advice = ADVICE if kind == "rows" else f"say which it is: columns: {{{missing[0]}: ...}}"
        raise InputError(f"{shown}: no column {' and no column '.join(missing)}; {advice}")
    return Columns(kind, of, unused, frozenset(settings.columns))


def _kind(of: dict[str, list[str]], settings: SourceSettings) -> Kind:
    if settings.format == "clicks":
        return "clicks"
    if settings.format == "auto" and {"query", "shown", "clicked"} <= of.keys() and "positive" not in of:
        return "clicks"
    if "query" not in of and {"text", "label"} <= of.keys():
        return "labelled_texts"
    if {"query", "positive", "label"} <= of.keys() and "negative" not in of:
        # a label beside a column named positive would contradict it
        certain = of["positive"][0].strip().lower() in _POSITIVE
        return "rows" if certain and "label" not in settings.columns else "labelled_pairs"
    return "rows"
