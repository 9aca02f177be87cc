"""In which language a text is written, by py3langid: naive Bayes over byte n-grams (Lui and Baldwin, 2012)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import polars as pl

from sharpen.data.preparation.checks.sampling import sample, sample_of_splits
from sharpen.hardware.spill import in_slices, rows_of, with_column, with_constant

# more of a text does not change the answer, and takes longer
_BYTES = 200
# below it the answer is wrong more often than right: single words, code, numbers
LEAST_CONFIDENCE = 0.35
# with which none of 4,500 English questions was taken for another language, and 8 of 10 German and French ones of 40 to
# 60 characters were known; shorter texts rarely reach it
SURE = 0.9
# what fewer texts have is mostly mistaken
LEAST_SHARE = 0.01


def language_of(text: str, confidence: float = LEAST_CONFIDENCE) -> str:
    """The ISO 639-1 code of a text's language; empty where it cannot be said with this `confidence` at least."""
    code, found = _identifier().classify(text.encode("utf-8", "replace")[:_BYTES])
    return code if len(code) == 2 and found >= confidence else ""


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def with_languages(table: pl.DataFrame, most: int) -> pl.DataFrame:
    """The table with the column language, empty where it is not known.

    Args:
        table: with the columns text, text_key and perhaps split; a language that it knows already stays.
        most: texts that are looked at; of more, a sample, up to half of it from dev and test.
    """
    if "language" not in table.columns:
        table = with_constant(table, "language", "", pl.String)
    rows = _looked_at(table, most)
    looked = rows_of(table.select("text", "language"), rows).with_columns(row=rows)
    unknown = looked.filter(pl.col("language") == "")
    codes = pl.Series("detected", [language_of(text) for text in unknown["text"]], dtype=pl.String)
    detected = unknown.select("row").with_columns(codes).filter(pl.col("detected") != "")

    def languages(start: int, length: int) -> pl.DataFrame:
        known = table.select("language").slice(start, length).with_row_index("row", start)
        joined = known.join(detected, on="row", how="left", maintain_order="left")
        return joined.select(language=pl.coalesce("detected", "language"))

    return with_column(table, in_slices(table.height, languages)["language"])


def language_mix(table: pl.DataFrame, most: int) -> dict[str, Any]:
    """Of a table and a number as in `with_languages`: counted (texts looked at), of (all), languages (code -> texts,
    the most frequent first; empty: cannot be said) and, where the texts have splits, by_split (split -> languages)."""
    columns = [name for name in ("language", "split") if name in table.columns]
    looked = rows_of(table.select(columns), _looked_at(table, most))
    found = {"counted": looked.height, "of": table.height, "languages": _counted(looked["language"])}
    if "split" in table.columns:
        splits = sorted(set(looked["split"]))
        found["by_split"] = {one: _counted(looked.filter(pl.col("split") == one)["language"]) for one in splits}
    return found


def _counted(codes: pl.Series) -> dict[str, int]:
    return dict(Counter(sorted(codes)).most_common())


def main_languages(mix: Mapping[str, Any]) -> dict[str, int]:
    """Of a `language_mix` the languages of at least `LEAST_SHARE` of the texts whose language can be said -> texts."""
    known = {code: count for code, count in mix["languages"].items() if code}
    return {code: count for code, count in known.items() if count >= LEAST_SHARE * sum(known.values())}


def _looked_at(table: pl.DataFrame, most: int) -> pl.Series:
    return sample_of_splits(table, most) if "split" in table.columns else sample(table, most)
