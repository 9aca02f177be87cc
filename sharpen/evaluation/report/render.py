"""Put the report together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sharpen.evaluation.artifact import EvaluationArtifact
from sharpen.evaluation.report.examples import Examples
from sharpen.evaluation.report.figures import ReportData, draw
from sharpen.evaluation.report.provenance import Provenance
from sharpen.evaluation.report.verdict import count, verdicts
from sharpen.evaluation.settings import EvaluationSettings, metric_names
from sharpen.evaluation.significance import group_sums, mean_interval
from sharpen.evaluation.split import EvaluationSplit
from sharpen.models.model_usage import usage_rows
from sharpen.reports import charts
from sharpen.reports.formatting import flat, interval, label, number, p_text, signed
from sharpen.reports.gains import GainRow, gain_tables
from sharpen.reports.html_page import templates
from sharpen.settings import EncoderSettings

# Parts of training.json and report.json that are shown elsewhere, here or in the mining's own report.
NOT_FIGURES = ("settings", "encoder", "log", "examples")

GENERIC_NAMES = ("model", "models", "finetuning", "output", "out", "snapshot")

# Drawn in this order, so the candidate lies on top.
ROLES = ("base", "champion", "tuned")


def render_report(
    candidate: EvaluationArtifact,
    references: Mapping[str, EvaluationArtifact],
    comparison: Mapping[str, Any],
    eval_set: EvaluationSplit,
    settings: EvaluationSettings,
    encoder: EncoderSettings,
    background: Provenance,
    dev: Mapping[str, Any] | None = None,
) -> str:
    """The report as one HTML file without scripts and without anything to fetch.

    Args:
        candidate: the evaluation that the report is about.
        references: name (``base``, ``champion``) -> evaluation of the same queries; may be empty.
        comparison: comparison.json, or empty.
        eval_set: texts and judgements.
        settings, encoder: what was set.
        background: what earlier steps left; sections without content are left out.
        dev: dev.json; None: dev is what was measured.
    """
    shown_as = "tuned" if "base" in references else "this model"
    models = [(name, name, references[name]) for name in ROLES if name in references] + [(shown_as, "tuned", candidate)]
    main_name = models[0][0] if references else None
    examples = Examples(
        candidate,
        references[main_name] if main_name else None,
        *(eval_set, settings.primary_metric, settings.relevance_level),
    )
    used = {name: one.facts.get("encoding", {}) for name, _, one in models}
    mean = _interval_of_mean(candidate, settings)
    best, worst = examples.best_and_worst(settings.report_queries)
    template = templates(Path(__file__).parent).get_template("page.html.j2")
    return template.render(
        title=title(candidate, background),
        facts=candidate.facts,
        verdicts=verdicts(candidate.metrics, mean, comparison, len(eval_set.query_ids), settings),
        gains=gains(comparison, settings),
        scores=[
            (label(metric), charts.score_bars([(name, role, one.metrics[metric]) for name, role, one in models]))
            for metric in settings.headline_metrics
        ],
        all_scores=all_scores(models, settings),
        shown_as=shown_as,
        dev=dev_table(dev, settings) if dev is not None else None,
        main_name=main_name,
        best=best,
        worst=worst,
        metric=label(settings.primary_metric),
        level=f"{100 * settings.confidence_level:g} %",
        figures=draw(ReportData(models, eval_set, comparison, settings, background)),
        facts_of={
            part: flat({k: v for k, v in getattr(background, part).items() if k not in NOT_FIGURES})
            for part in ("training", "mining", "data")
        },
        usages=([name for name, *_ in models], usage_rows(used)),
        settings=setting_groups(background, settings, encoder),
        provenance=provenance(candidate, references),
    )


def _interval_of_mean(candidate: EvaluationArtifact, settings: EvaluationSettings) -> tuple[float, float]:
    """Bootstrap interval of the candidate's primary metric, within 0 and 1."""
    sums, sizes = group_sums(
        candidate.per_query.select(settings.primary_metric).to_numpy(), candidate.per_query["group"].to_list()
    )
    low, high = mean_interval(
        sums, sizes, resamples=settings.resamples, confidence_level=settings.confidence_level, seed=settings.seed
    )
    return max(low[0], 0.0), min(high[0], 1.0)


def title(candidate: EvaluationArtifact, background: Provenance) -> str:
    """The model's name as its training states it, else one made of its base model, else the end of its address."""
    for key in ("model_name", "name"):
        if isinstance(background.training.get(key), str) and background.training[key]:
            return background.training[key]
    if base := background.training.get("base_model"):
        return f"{short_name(str(base))}, fine-tuned"
    return short_name(str(candidate.facts["model"]))


def short_name(address: str) -> str:
    """The end of an address; ``model`` alone says nothing, so then with the part before it."""
    parts = address.rstrip("/").split("/")
    return "/".join(parts[-2:] if parts[-1] in GENERIC_NAMES else parts[-1:])


def gains(comparison: Mapping[str, Any], settings: EvaluationSettings) -> list[tuple[str, list[GainRow], Markup]]:
    """(reference, its rows, axis) for every reference, with p corrected over the metrics that are shown."""
    found = {
        name: [(metric, other["metrics"][metric]) for metric in settings.headline_metrics]
        for name, other in comparison.get("against", {}).items()
    }
    return gain_tables({name: [(metric, r, p_text(r["p_holm"])) for metric, r in rows] for name, rows in found.items()})


def all_scores(
    models: Sequence[tuple[str, str, EvaluationArtifact]], settings: EvaluationSettings
) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Header and rows of the table of every metric."""
    rows = [
        (label(metric), [number(one.metrics[metric], 4) for *_, one in models])
        for metric in metric_names(settings.cutoffs)
    ]
    return [name for name, *_ in models], rows


@dataclass(frozen=True)
class DevTable:
    """The figures of dev: what stands above the table, its header and its rows."""

    note: str
    header: list[str]
    rows: list[tuple[str, list[str]]]


def dev_table(dev: Mapping[str, Any], settings: EvaluationSettings) -> DevTable:
    """Means of the headline metrics on dev, and the change against each reference with its interval."""
    if not dev["queries"]:
        return DevTable(
            "The data have no dev split, so settings can only be compared by the figures that also decide. Raise "
            "data.dev_share, or bring a dev split.",
            [],
            [],
        )
    note = (
        f"{count(dev['queries'], dev['groups'])} that neither train nor decide: choose between settings by these, and "
        "leave the figures above to the gate."
    )
    header = [title for name in dev["against"] for title in (name, f"change against {name}")] + ["this model"]
    rows = []
    for metric in settings.headline_metrics:
        cells = []
        for found in dev["against"].values():
            r = found[metric]
            change = f"{signed(r['difference'])} ({interval(r['ci_low'], r['ci_high'])})"
            cells += [number(r["reference"]), change]
        rows.append((label(metric), [*cells, number(dev["metrics"][metric])]))
    return DevTable(note, header, rows)


def setting_groups(
    background: Provenance, settings: EvaluationSettings, encoder: EncoderSettings
) -> list[tuple[str, list[tuple[str, str]]]]:
    """(group, rows of name and value): `settings` and `encoder` of the evaluation, and the steps' in `background`."""
    groups = [
        ("Training", flat(background.training.get("settings") or {})),
        ("Evaluation", flat(settings.model_dump(mode="json"))),
        ("Encoder", flat(encoder.model_dump(mode="json"))),
    ]
    return [(name, rows) for name, rows in groups if rows]


def provenance(candidate: EvaluationArtifact, references: Mapping[str, EvaluationArtifact]) -> list[tuple[str, str]]:
    """Addresses, fingerprints and versions."""
    facts = candidate.facts
    shown_elsewhere = {"queries", "passages", "split", "cutoffs", "relevance_level", "ignore_identical_ids", "encoding"}
    rows = [("evaluation", candidate.address)]
    for name, reference in references.items():
        rows.append((f"{name}: evaluation", reference.address))
        rows.append((f"{name}: model", str(reference.facts.get("model"))))
        rows.append((f"{name}: model hash", str(reference.facts.get("model_hash"))))
    return rows + flat({key: value for key, value in facts.items() if key not in shown_elsewhere})
