"""The data_prep step: user's input -> a checked, merged and split data set."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from tokenizers import Tokenizer

from sharpen.data import examples
from sharpen.data.judgements import merge_judgements, read_judgements
from sharpen.data.preparation.checks import conflicting_labels, main_languages, run_checks, with_language_columns
from sharpen.data.preparation.contract import DataContract, check_contract, read_contract
from sharpen.data.preparation.data_plan import DataPlan, NothingNew
from sharpen.data.preparation.merging import merge
from sharpen.data.preparation.settings import DataSettings
from sharpen.data.preparation.sources import read_sources
from sharpen.data.preparation.splits import make_splits
from sharpen.data.preparation.statistics import metrics, statistics, summary
from sharpen.data.preparation.working_set import WorkingSet
from sharpen.data.readers import REASONS, ReadReport
from sharpen.data.readers.rows import BadRow
from sharpen.data.source_settings import Given
from sharpen.data.window import is_relative
from sharpen.errors import InputError
from sharpen.hardware.spill import limit_memory
from sharpen.run_context import run_id
from sharpen.store import storage

logger = logging.getLogger(__name__)

QUARANTINE = "quarantine.jsonl"
STATISTICS = "stats.json"


def prepare(
    train_data: Sequence[Given],
    eval_data: Sequence[Given],
    output: str,
    settings: DataSettings,
    plan: DataPlan | None = None,
    tokenizer: Tokenizer | None = None,
) -> storage.Manifest:
    """Read, check, merge and split the input, and write the data set with `quarantine.jsonl` and `stats.json`.

    The result depends on the content of the input and on the settings, not on the order of files or rows. Large tables
    are mapped from files on the way, so that memory grows by a few numbers a row.

    Args:
        train_data: training data as `parse_sources` takes them; splits that they bring are kept.
        eval_data: evaluation data; their queries become the test (and dev) queries. May be empty.
        output: address of the folder to write.
        settings: limits, shares, and what to do about leaks.
        plan: what earlier runs fix, and what is trained on; None: nothing, and everything.
        tokenizer: of the base model, which says how much of the texts is cut; None: tokens are estimated.

    Returns:
        The marker of the written folder. Its facts: fingerprint of the data, `brought_splits` (those of the input),
        `moving` (windows move with the days) and `metrics` (numbers for the UI).

    Raises:
        NothingNew: nothing is left that may be trained on.
        InputError: unusable input, too many bad rows, leaks where they are forbidden, no training or test query, or
            data that do not keep the contract.
    """
    storage.check_access(output, write=True)
    contract = read_contract(settings.contract) if settings.contract else DataContract.checked({})
    limit_memory()
    report, plan = ReadReport(), plan or DataPlan()
    with _with_bad_rows(report, output):
        sources = read_sources(train_data, eval_data, report, settings.corpus, plan)
    _check_share(report, settings.max_bad_share, output)
    conflicts = conflicting_labels(sources.data, report)
    working_set = merge(sources.data)
    if settings.judgements:
        working_set.data, counts = merge_judgements(working_set.data, read_judgements(settings.judgements))
        report.notices.update({f"judgements {what}: {settings.judgements}": n for what, n in counts.items() if n})
    working_set.splitting["files"] = sources.files
    with _with_bad_rows(report, output):
        leaks = make_splits(working_set, sources.groups, settings, plan, sources.windows)
    working_set.data = with_language_columns(working_set.data, settings)
    stats = statistics(working_set, sources, report, leaks)
    checked = run_checks(working_set.data, report, settings, tokenizer)
    stats["checks"] = {**checked, "conflicting_labels": conflicts}
    if mix := stats["checks"].get("languages"):
        stats["languages"] = main_languages(mix["query"])
    check_contract(contract, stats, settings.contract)
    moving = any(is_relative(window.given) for window in sources.windows.values())
    _write(output, working_set, report, {**stats, "settings": settings.model_dump()}, moving)
    logger.info("\n".join(summary(stats, output)))
    return storage.read_manifest(output)


def _write(output: str, working_set: WorkingSet, report: ReadReport, stats: dict[str, Any], moving: bool) -> None:
    """Write the folder.

    Args:
        output: its address.
        working_set: what was prepared.
        report: with the rows in quarantine.
        stats: what `stats.json` gets.
        moving: whether windows move with the days.
    """
    facts: dict[str, Any] = {
        "fingerprint": stats["fingerprint"],
        "brought_splits": sorted(working_set.brought_splits),
        "moving": moving,
        "metrics": metrics(stats),
    }
    with storage.publish(
        output, producer="data_prep", run_id=run_id(), rows=working_set.data.counts(), facts=facts
    ) as folder:
        working_set.data.save(folder)
        if working_set.read_examples is not None:
            (folder / examples.FILE).write_bytes(examples.as_bytes(working_set.read_examples))
        (folder / QUARANTINE).write_bytes(_lines(report.bad_rows))
        (folder / STATISTICS).write_text(
            json.dumps(stats, indent=2, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )


@contextmanager
def _with_bad_rows(report: ReadReport, output: str) -> Iterator[None]:
    """Add the bad rows to an InputError: what is missing may be missing because its row was bad."""
    try:
        yield
    except InputError as error:
        if not report.counts or isinstance(error, NothingNew):
            raise
        where = _quarantine_uri(output)
        storage.write_bytes(where, _lines(report.bad_rows))
        advice = f"All are listed in {where}: repair them"
        raise InputError([*error.faults, *report.first_faults(advice)]) from None


def _check_share(report: ReadReport, allowed: float, output: str) -> None:
    """Raise InputError when too many rows are bad; all of them are written next to the output, to be repaired."""
    where = _quarantine_uri(output)
    if report.bad <= max(1, allowed * report.rows):
        storage.delete(where)  # what an earlier attempt left there is repaired now
        return
    storage.write_bytes(where, _lines(report.bad_rows))
    advice = (
        f"{report.bad / report.rows:.1%} of the rows is more than max_bad_share ({allowed:.1%}); they are listed "
        f"in {where}: repair them, or raise max_bad_share"
    )
    raise InputError(report.first_faults(advice))


def _quarantine_uri(output: str) -> str:
    address, mark, options = output.partition("?") if storage.is_remote(output) else (output, "", "")
    return f"{address.rstrip('/')}.{QUARANTINE}{mark}{options}"


def _lines(rows: list[BadRow]) -> bytes:
    values = ({**asdict(row), "why": REASONS[row.reason]} for row in rows)
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values).encode()
