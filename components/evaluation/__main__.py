"""`python -m components.evaluation`: evaluate a model; `score` in front scores any TREC run, `compare` evaluations."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from typing import Any

import click

from components.command_line import main, step_command
from sharpen.evaluation.settings import (
    CompareAddresses,
    EvaluationAddresses,
    EvaluationSettings,
    ScoreAddresses,
    ScoreSettings,
)
from sharpen.settings import EncoderSettings
from sharpen.terminal import plain_console


def _evaluate(addresses: EvaluationAddresses, settings: EvaluationSettings, encoder: EncoderSettings) -> None:
    from sharpen.evaluation.evaluate import evaluate
    from sharpen.evaluation.summary import evaluation_lines

    evaluate(
        addresses.model,
        addresses.data,
        addresses.split,
        addresses.output,
        settings,
        encoder,
        references=addresses.against,
        context={"negatives": addresses.negatives},
        settings_of=addresses.settings_of,
    )
    _show(evaluation_lines(addresses.output, settings))
    if not addresses.against:
        following = ["--model", "TUNED", "--data", addresses.data, "--split", addresses.split]
        following += ["--base", addresses.output, "--output", "OUT"]
        _show([f"next    python -m components.evaluation {shlex.join(following)}"])


def _compare(addresses: CompareAddresses, settings: EvaluationSettings) -> None:
    from sharpen.evaluation.comparison import compare_finished
    from sharpen.evaluation.summary import comparison_lines
    from sharpen.evaluation.systems.names import parse_references
    from sharpen.store import storage

    compared = compare_finished(addresses.candidate, parse_references(addresses.references, reserved=()), settings)
    _show(comparison_lines(addresses.candidate, compared, settings))
    if addresses.output:
        storage.write_json(addresses.output, compared)
        _show([f"written {addresses.output}"])


def _score(addresses: ScoreAddresses, settings: ScoreSettings) -> None:
    from sharpen.evaluation.score import score
    from sharpen.evaluation.summary import score_lines

    _show(score_lines(score(addresses, settings)))
    if addresses.output:
        _show([f"written {addresses.output}"])


def _show(lines: Iterable[Any]) -> None:
    console = plain_console()
    for line in lines:
        console.print(line, soft_wrap=isinstance(line, str))


def command(arguments: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the arguments ask for, and what is left of them."""
    if arguments[:1] == ["score"]:
        summary = "Metrics of any TREC run: what trec_eval gives, to the last digit that it prints."
        models = [ScoreAddresses, ScoreSettings]
        return step_command("evaluation score", summary, models, _score), arguments[1:]
    if arguments[:1] == ["compare"]:
        summary = "Compare a finished evaluation with any number of others of the same queries; nothing is measured."
        models = [CompareAddresses, EvaluationSettings]
        return step_command("evaluation compare", summary, models, _compare), arguments[1:]
    summary = (
        "Measure a model on a split of a data set, compare it with finished evaluations of the same queries, and "
        "write metrics, per-query scores, the run and a report. 'score' as first word scores any TREC run, "
        "'compare' compares finished evaluations."
    )
    models = [EvaluationAddresses, EvaluationSettings, EncoderSettings]
    return step_command("evaluation", summary, models, _evaluate), arguments


if __name__ == "__main__":
    main(*command(sys.argv[1:]))
