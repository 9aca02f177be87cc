"""Put the report together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sharpen.evaluation.artifact import EvaluationArtifact
from sharpen.evaluation.report import breakdowns, vector_figures
from sharpen.evaluation.report.examples import Examples
from sharpen.evaluation.report.figures import ReportData, draw
from sharpen.evaluation.report.provenance import Provenance
from sharpen.evaluation.report.query_list import query_list
from sharpen.evaluation.report.verdict import count, verdicts
from sharpen.evaluation.settings import EvaluationSettings, metric_names
from sharpen.evaluation.significance import group_sums, mean_interval
from sharpen.evaluation.split import EvaluationSplit
from sharpen.evaluation.vector_summary import MAP, SEPARATION
from sharpen.models.model_usage import usage_rows
from sharpen.reports import charts
from sharpen.reports.formatting import flat, interval, label, number, p_text, signed
from sharpen.reports.gains import GainRow, gain_tables
from sharpen.reports.html_page import templates, with_script
from sharpen.settings import EncoderSettings

# Parts of training.json and report.json that are shown elsewhere, here or in the mining's own report.
NOT_FIGURES = ("settings", "encoder", "log", "examples")

GENERIC_NAMES = ("model", "models", "finetuning", "output", "out", "snapshot")

# The first has the colour of its name, any other one of these.
ROLES = ("base", "champion")
OTHER_ROLES = ("other-1", "other-2", "other-3", "other-4")

PAGE = templates(Path(__file__).parent).get_template("page.html.j2")
SCRIPT = Path(__file__).with_name("query_list.js").read_text(encoding="utf-8")


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
    """The report as one HTML file with nothing to fetch, and one script, for the list of queries.

    Args:
        candidate: the evaluation that the report is about; what else lies in its folder is shown too.
        references: name (``base``, ``champion``, any other) -> evaluation of the same queries; may be empty.
        comparison: comparison.json, or empty.
        eval_set: texts and judgements.
        settings, encoder: what was set.
        background: what earlier steps left; sections without content are left out.
        dev: dev.json; None: dev is what was measured.
    """
    shown_as = "tuned" if "base" in references else "this model"
    models = _named(candidate, references, shown_as)
    metric, level = settings.primary_metric, settings.relevance_level
    mean = _interval_of_mean(candidate, settings)
    best, worst = Examples(models, eval_set, metric, level).best_and_worst(settings.report_queries)
    listed = query_list(models, eval_set, metric, level, label(metric))
    return PAGE.render(
        title=title(candidate, background),
        facts=candidate.facts,
        verdicts=verdicts(candidate.metrics, mean, comparison, len(eval_set.query_ids), settings),
        gains=gains(comparison, settings),
        scores=[
            (label(name), charts.score_bars([(model, role, one.metrics[name]) for model, role, one in models]))
            for name in settings.headline_metrics
        ],
        all_scores=all_scores(models, settings),
        shown_as=shown_as,
        dev=dev_table(dev, settings) if dev is not None else None,
        main_name=models[0][0] if references else None,
        best=best,
        worst=worst,
        metric=label(metric),
        level=f"{100 * settings.confidence_level:g} %",
        **_parts(models, settings),
        listed=listed,
        figures=draw(ReportData(models, eval_set, comparison, settings, background)),
        facts_of={
            part: flat({k: v for k, v in getattr(background, part).items() if k not in NOT_FIGURES})
            for part in ("training", "mining", "data")
        },
        usages=(
            [name for name, *_ in models],
            usage_rows({name: one.facts.get("encoding", {}) for name, _, one in models}),
        ),
        merging=merging_sentences(background.merging),
        settings=setting_groups(background, settings, encoder),
        provenance=provenance(candidate, references),
        **with_script(SCRIPT, listed.data),
    )


def _parts(models: Sequence[tuple[str, str, EvaluationArtifact]], settings: EvaluationSettings) -> dict[str, Any]:
    """What is shown of the other files in the evaluations' folders; empty where they are not there."""
    candidate, metric = models[-1][2], settings.primary_metric
    maps, map_key = vector_figures.embedding_maps([(name, _extra(one, MAP)) for name, _, one in models])
    return {
        "slices": breakdowns.slices(_extra(candidate, "slices.json"), metric),
        "guard": breakdowns.guard(_extra(candidate, "guard.json"), settings.headline_metrics),
        "variants": breakdowns.variants(_extra(candidate, "variants.json"), metric),
        "tasks": breakdowns.tasks(_extra(candidate, "tasks.json")),
        "maps": maps,
        "map_key": map_key,
        "separation": vector_figures.score_separation([(name, _extra(one, SEPARATION)) for name, _, one in models]),
    }


def _named(
    candidate: EvaluationArtifact, references: Mapping[str, EvaluationArtifact], shown_as: str
) -> list[tuple[str, str, EvaluationArtifact]]:
    """(name, role, evaluation): base, champion, the others as they were named, and the candidate, drawn on top."""
    others = [name for name in references if name not in ROLES]
    roles = {name: OTHER_ROLES[i % len(OTHER_ROLES)] for i, name in enumerate(others)}
    first = [name for name in ROLES if name in references]
    return [(name, roles.get(name, name), references[name]) for name in [*first, *others]] + [
        (shown_as, "tuned", candidate)
    ]


def _extra(one: EvaluationArtifact, name: str) -> dict[str, Any]:
    """A JSON file of the evaluation's folder; empty where it was not written."""
    file = one.run_file.parent / name
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


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


def merging_sentences(merging: Mapping[str, Any]) -> list[str]:
    """Whether the model was merged and why so, from merging.json; empty where there is none."""
    notes = merging.get("notes")
    return (
        [str(merging["reason"]), *(map(str, notes) if isinstance(notes, list) else ())] if "reason" in merging else []
    )


def setting_groups(
    background: Provenance, settings: EvaluationSettings, encoder: EncoderSettings
) -> list[tuple[str, list[tuple[str, str]]]]:
    """(group, rows of name and value): `settings` and `encoder` of the evaluation, and the steps' in `background`."""
    groups = [
        ("Training", flat(background.training.get("settings") or {})),
        ("Merging", flat(background.merging.get("settings") or {})),
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
