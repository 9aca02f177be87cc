"""What a merged model says of itself: a section of its model card, from the contents of ``merging.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharpen.markdown import code_span, escaped, split_front_matter, with_front_matter
from sharpen.reports.formatting import interval, label, number, signed

CARD = "README.md"
_FORMS = {
    "interpolation": "Its weights lie between those of the base model and of the tuned one (LM-Cocktail, arXiv "
    "2311.13534).",
    "average": "Its weights are the mean of those of several models.",
    "task_arithmetic": "Its weights are those of the base model and a part of what each tuned one changed (task "
    "arithmetic, arXiv 2212.04089).",
}


def terms(facts: Mapping[str, Any]) -> list[str]:
    """``0.4 x base`` of each model, in words."""
    return [f"{model['coefficient']:.4g} x {model['role']} {model['address']}" for model in facts["models"]]


def write(folder: Path, facts: Mapping[str, Any]) -> None:
    """Add the section to the card of the tuned model, or begin a card."""
    path = folder / CARD
    head, body = split_front_matter(path.read_text(encoding="utf-8") if path.is_file() else "# Merged model\n")
    head["tags"] = [*dict.fromkeys([*(head.get("tags") or []), "merge"])]
    text = "\n".join([body.rstrip(), "", "## Merging", "", *section(facts)]) + "\n"
    path.write_text(with_front_matter(head, text), encoding="utf-8")


def section(facts: Mapping[str, Any]) -> list[str]:
    """Lines of the section."""
    lines = [_FORMS[facts["method"]], "", "| model | role | coefficient |", "|---|---|---:|"]
    lines += [
        f"| {code_span(model['address'])} | {model['role']} | {model['coefficient']:.4g} |" for model in facts["models"]
    ]
    if not facts["searched"]:
        return lines
    metric = label(facts["metric"])
    lines += ["", f"Chosen by dev queries and the guard set {escaped(facts['guard']['name'])}: {facts['reason']}.", ""]
    lines += [f"| weight | {metric} on dev | gain | {metric} on the guard set | change |", "|---:|---:|---:|---:|---:|"]
    for row in facts["searched"]:
        cells = [f"{row['weight']:g}"]
        for part in ("dev", "guard"):
            found = row[part]
            bounds = interval(found["ci_low"], found["ci_high"])
            cells += [number(found["candidate"]), f"{signed(found['difference'])} ({bounds})"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
