"""All checks of a prepared data set, as one part of `stats.json`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
from tokenizers import Tokenizer

from sharpen.data.dataset import DataSet
from sharpen.data.preparation.checks.labels import positives_equal_to_queries, positives_per_query
from sharpen.data.preparation.checks.language import language_mix, with_languages
from sharpen.data.preparation.checks.lengths import cut_texts
from sharpen.data.preparation.checks.near_texts import near_texts
from sharpen.data.preparation.checks.sampling import HELD_OUT, sample, sample_of_splits
from sharpen.data.preparation.checks.secrets import find_secrets
from sharpen.data.preparation.settings import DataSettings
from sharpen.data.readers import ReadReport
from sharpen.data.relevance import relevant
from sharpen.data.text import passage_texts
from sharpen.hardware.spill import rows_of
from sharpen.progress import progress
from sharpen.settings import EncoderSettings

SHARED = "train and held out"


def with_language_columns(data: DataSet, settings: DataSettings) -> DataSet:
    """The data set with the column language of queries and passages, of more than `check_sample` for a sample."""
    if not settings.detect_language:
        return data
    queries, corpus = (with_languages(table, settings.check_sample) for table in (data.queries, data.corpus))
    return replace(data, queries=queries, corpus=corpus)


def run_checks(
    data: DataSet, report: ReadReport, settings: DataSettings, tokenizer: Tokenizer | None
) -> dict[str, Any]:
    """What the checks say.

    Args:
        data: the data set, split and with its languages.
        report: what reading brought up.
        settings: sample, limits, and whether secrets are looked for.
        tokenizer: of the base model; None: tokens are estimated.

    Returns:
        JSON-ready: languages, tokens, duplicates, positives_equal_to_queries, positives_per_query, negatives and, on
        request, secrets.
    """
    most = settings.check_sample
    tables = {"query": data.queries, "passage": data.corpus}
    limits = {kind: _limit(settings, kind) for kind in tables}
    found: dict[str, Any] = {}
    with progress("checking", 5 if settings.find_secrets else 4, "checks") as reporter:
        if settings.detect_language:
            found["languages"] = {kind: language_mix(table, most) for kind, table in tables.items()}
        reporter.advance()
        found["tokens"] = {
            kind: cut_texts(table, limits[kind], tokenizer) for kind, table in _encoded(data, most).items()
        }
        reporter.advance()
        found["duplicates"] = {
            kind: {
                "exact": report.repeats[f"{kind} exact"],
                "normalised": report.repeats[f"{kind} normalised"],
                "near": near_texts(table, tables[kind].height),
            }
            for kind, table in (("query", _query_texts(data, most)), ("passage", _passage_texts(data, most)))
        }
        reporter.advance()
        found |= {
            "positives_equal_to_queries": positives_equal_to_queries(data),
            "positives_per_query": positives_per_query(data),
            "negatives": _negatives(data, report),
        }
        reporter.advance()
        if settings.find_secrets:
            found["secrets"] = {
                "query": find_secrets(data.queries, "query_id"),
                "passage": find_secrets(data.corpus.select("passage_id", passage_texts(data.corpus)), "passage_id"),
            }
            reporter.advance()
    return found


def _limit(settings: DataSettings, kind: str) -> int:
    """Tokens that a model sees of a text; where the settings name none, those that training sees unless told."""
    name = f"{kind}_max_len"
    limit = getattr(settings, name)
    return EncoderSettings.model_fields[name].default if limit is None else limit


def _query_texts(data: DataSet, most: int) -> pl.DataFrame:
    """text, text_key, split of a sample of the queries."""
    return rows_of(data.queries.select("text", "text_key", "split"), sample_of_splits(data.queries, most))


def _passage_texts(data: DataSet, most: int) -> pl.DataFrame:
    """text, text_key, split of a sample of the passages.

    split is that of the queries which they answer, `SHARED` or, of no query, empty.
    """
    positives = relevant(data.qrels.lazy())
    answers = positives.filter(pl.col("split") != "train").select("passage_id").collect(engine="streaming")
    of_answers = _split_of_passages(positives, answers)
    held_out = of_answers.filter(pl.col("split").is_in(HELD_OUT))["passage_id"]
    rows = sample_of_splits(data.corpus, most, is_held_out=pl.col("passage_id").is_in(held_out.implode()))
    looked = rows_of(data.corpus.select("passage_id", "title", "text", "text_key"), rows)
    splits = _split_of_passages(positives, looked)
    found = looked.select("passage_id").join(splits, on="passage_id", how="left", maintain_order="left")
    return looked.select(passage_texts(looked), "text_key").with_columns(found.select(pl.col("split").fill_null("")))


def _split_of_passages(positives: pl.LazyFrame, passages: pl.DataFrame) -> pl.DataFrame:
    """passage_id, split of those `passages` that answer a query in `positives`."""
    pairs = positives.join(passages.lazy().select("passage_id"), on="passage_id", how="semi").collect(
        engine="streaming"
    )
    of_passage = pairs.group_by("passage_id").agg(
        train=(pl.col("split") == "train").any(), held_out=pl.col("split").filter(pl.col("split") != "train").max()
    )
    both = pl.col("train") & pl.col("held_out").is_not_null()
    split = pl.when(both).then(pl.lit(SHARED)).when("train").then(pl.lit("train")).otherwise("held_out")
    return of_passage.select("passage_id", split=split)


def _encoded(data: DataSet, most: int) -> dict[str, pl.DataFrame]:
    """Samples of texts as a model gets them: queries with their own instructions, passages with their titles."""
    queries = rows_of(data.queries.select("instruction", "text", "text_key"), sample(data.queries, most))
    passages = rows_of(data.corpus.select("title", "text", "text_key"), sample(data.corpus, most))
    return {
        "query": queries.select(pl.concat_str("instruction", "text").alias("text"), "text_key"),
        "passage": passages.select(passage_texts(passages), "text_key"),
    }


def _negatives(data: DataSet, report: ReadReport) -> dict[str, Any]:
    """Queries that bring no negatives, and negatives that reading set aside or left out."""
    with_some = data.given_negatives["query_id"].n_unique()
    blank = [row for row in report.bad_rows if row.reason == "empty_text" and row.field.startswith("neg")]
    return {
        "queries_without": data.queries.height - with_some,
        "given": data.given_negatives.height,
        "rows_with_an_empty_one": len(blank),
        "examples": [str(row) for row in blank[:3]],
        "that_are_positives": report.repeats["negative is a positive"],
    }
