"""Slices and guard sets as settings name them. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence

SOURCE, LANGUAGE, SEEN_PASSAGE = "source", "language", "seen_passage"
QUERY_WORDS, QUERY_TOKENS = "query_words", "query_tokens"
FIELDS = "fields"
SLICES = (SOURCE, LANGUAGE, SEEN_PASSAGE, QUERY_WORDS, QUERY_TOKENS, FIELDS)
GENERAL = "general"
"""The guard set that comes with Sharpen."""


def check_slices(values: Sequence[str]) -> None:
    """Raise ValueError for a name that is no slice, or stands twice."""
    for number, value in enumerate(values):
        field = value.removeprefix(f"{FIELDS}.")
        if value not in SLICES and not (field != value and field):
            raise ValueError(f"{value!r} is no slice; known: {', '.join(SLICES)}, and fields.NAME for one field")
        if value in values[:number]:
            raise ValueError(f"{value} is named twice")
