"""Documents -> queries for them: read, ask, filter, write. Start reading here."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from sharpen.data.dataset import QRELS, QUERIES, DataSet
from sharpen.data.generated import generated_fields
from sharpen.data.text import key_id, passage_texts
from sharpen.errors import InputError, StepFailed
from sharpen.generation.documents.read import Passages, read_passages
from sharpen.generation.filters.candidates import Candidate, candidates_of, good, mark_repeats
from sharpen.generation.page import render_page
from sharpen.generation.prompting.answers import Answer, parse_answer
from sharpen.generation.prompting.checks import REASONS, addresses_model
from sharpen.generation.prompting.prompt import prompt_hash
from sharpen.generation.requests import Requests, read_examples, sampled
from sharpen.generation.settings import GenerationSettings
from sharpen.generation.statistics import statistics, summary
from sharpen.language_model.ask import Answers
from sharpen.language_model.ask_all import ask_all
from sharpen.language_model.budget import Budget
from sharpen.run_context import run_id
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from sharpen.version import code_version

if TYPE_CHECKING:
    from sharpen.generation.filters.round_trip import RoundTrip

logger = logging.getLogger(__name__)

PRODUCER = "query_generation"
SOURCE = "generated"
REPORT, PAGE, LEFT_OUT = "report.json", "report.html", "left_out.jsonl"


def generate_queries(
    documents: str,
    output: str,
    settings: GenerationSettings,
    encoder: EncoderSettings,
    *,
    base_model: str = "",
    examples: str = "",
) -> storage.Manifest:
    """Write queries for documents, and write those that pass all filters as a data set whose queries are all of train.

    Each query has the fields origin, style, model, prompt and passage; the folder holds report.json, report.html and
    left_out.jsonl, too. What was answered before is taken from the journal.

    Args:
        documents: files, folders or collections of passages; comma-separated.
        output: address of the folder to write.
        settings: who writes what, and what is accepted.
        encoder: how texts become vectors for the round trip.
        base_model: model that must find a query's passage; empty: nothing is checked so.
        examples: the user's queries, shown as examples; may be empty.

    Returns:
        The marker of the written folder.

    Raises:
        InputError: unusable documents or examples; an endpoint, key or model that is not there.
        StepFailed: the endpoint does not answer for too long, or no query passes the filters.
    """
    started = time.monotonic()
    storage.check_access(output, write=True)
    shown = read_examples(examples)
    passages = read_passages(documents, settings)
    rows = sampled(passages.table, settings)
    if not rows:
        raise InputError(
            f"documents: no passage has min_passage_characters ({settings.min_passage_characters}); lower it"
        )
    texts = passage_texts(passages.table).to_list()
    view = _view(base_model, texts, encoder) if base_model and settings.round_trip_top else None
    requests = Requests(passages.table, rows, shown, settings, view)
    answers, budget = _ask(requests, settings)

    candidates = _candidates(requests, answers, settings)
    mark_repeats(candidates, [example.query for example in shown], near=settings.near_duplicates)
    found = view.check(candidates, settings) if view else {}
    report: dict[str, Any] = {
        **statistics(candidates, answers, budget, passages.table),
        "passages": {**_passage_facts(passages, texts), "sampled": len(rows), "examples": len(shown)},
        "round_trip": found,
        "settings": settings.model_dump(mode="json"),
        "provenance": _provenance(settings, candidates, base_model, documents),
        "seconds": round(time.monotonic() - started, 2),
    }
    if not good(candidates):
        raise StepFailed(_nothing(report))
    return _write(output, candidates, passages, report)


def _view(base_model: str, texts: Sequence[str], encoder: EncoderSettings) -> RoundTrip:
    from sharpen.generation.filters.round_trip import RoundTrip  # and with it torch

    return RoundTrip(base_model, texts, encoder)


def _ask(requests: Requests, settings: GenerationSettings) -> tuple[Answers[Answer], Budget]:
    return ask_all(
        *(settings, range(len(requests)), requests.make, lambda record: parse_answer(record.content)),
        what="writing queries",
        characters=2 * settings.chunk_characters,
    )


def _candidates(requests: Requests, answers: Answers[Answer], settings: GenerationSettings) -> list[Candidate]:
    """The queries of all valid answers, in the order of the requests."""
    return [
        one
        for number, (answer, model) in sorted(answers.valid.items())
        for one in candidates_of(requests.make(number), answer, model, settings.max_query_characters)
    ]


def _passage_facts(passages: Passages, texts: Sequence[str]) -> dict[str, Any]:
    return {
        "passages": passages.table.height,
        "speaking_to_a_model": sum(map(addresses_model, texts)),
        **passages.facts,
    }


def _provenance(
    settings: GenerationSettings, candidates: Sequence[Candidate], base_model: str, documents: str
) -> dict[str, Any]:
    return {
        "documents": documents,
        "endpoint": settings.endpoint,
        "model": settings.model,
        "answered_as": sorted({one.model for one in candidates if one.model}),
        "prompt_hash": prompt_hash(),
        "base_model": base_model,
        "code_version": code_version(),
    }


def _nothing(report: dict[str, Any]) -> str:
    reasons = ", ".join(f"{count:,} {REASONS[reason]}" for reason, count in report["left_out"].items())
    invalid, refused = report["requests"]["invalid_answers"], report["requests"]["refused"]
    parts = [f"left out: {reasons}"] if reasons else []
    parts += [f"{invalid:,} answers were not valid"] if invalid else []
    parts += [f"{refused:,} requests were refused: {report['requests']['first_refusals'][0]}"] if refused else []
    details = "; ".join(parts)
    return (
        f"no query is left of {report['queries']['written']:,} that were written"
        + (f" ({details})" if details else "")
        + "; try a larger language model, another generation.structured_output, or a larger budget"
    )


def data_set(candidates: Sequence[Candidate], passages: pl.DataFrame, model: str) -> DataSet:
    """The accepted queries with all passages.

    Args:
        candidates: of which those without a fault are written.
        passages: the table.
        model: that wrote them, where the endpoint does not name it.
    """
    ids, documents = passages["passage_id"].to_list(), passages["document"].to_list()
    prompt = prompt_hash()[:16]
    queries, qrels = [], []
    for one in good(candidates):
        named = [ids[row] for row in one.rows]
        fields = generated_fields(style=one.style, model=one.model or model, prompt=prompt, passage=" ".join(named))
        query_id = key_id(one.key)
        queries.append((query_id, one.text, "train", SOURCE, "", documents[one.rows[0]], fields))
        qrels += [(query_id, passage, 1, "train") for passage in named]
    schema = {**QUERIES, "fields": pl.String}
    return DataSet(
        corpus=passages.select("passage_id", "title", "text", "text_key"),
        queries=pl.DataFrame(queries, schema=schema, orient="row").sort("query_id"),
        qrels=pl.DataFrame(qrels, schema=QRELS, orient="row").sort("query_id", "passage_id"),
    )


def _write(
    output: str, candidates: Sequence[Candidate], passages: Passages, report: dict[str, Any]
) -> storage.Manifest:
    data = data_set(candidates, passages.table, report["provenance"]["model"])
    report["fingerprint"] = data.fingerprint()
    facts: dict[str, Any] = {
        "fingerprint": report["fingerprint"],
        "model": report["provenance"]["model"],
        "prompt_hash": report["provenance"]["prompt_hash"],
        "metrics": {**report["queries"], **report["cost"]},
    }
    with storage.publish(output, producer=PRODUCER, run_id=run_id(), rows=data.counts(), facts=facts) as folder:
        data.save(folder)
        _write_texts(folder, candidates, passages.table, report)
    logger.info("\n".join(summary(report, output)))
    return storage.read_manifest(output)


def _write_texts(folder: Path, candidates: Sequence[Candidate], passages: pl.DataFrame, report: dict[str, Any]) -> None:
    ids = passages["passage_id"].to_list()
    rows = [
        {"text": one.text, "style": one.style, "passages": [ids[row] for row in one.rows], "reason": one.fault}
        for one in candidates
        if one.fault
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / LEFT_OUT).write_text(lines, encoding="utf-8", errors="backslashreplace")
    written = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    (folder / REPORT).write_text(written, encoding="utf-8", errors="backslashreplace")
    (folder / PAGE).write_text(render_page(report, candidates, passages), encoding="utf-8", errors="backslashreplace")
