"""What was pre-trained on what, and how it went: pretraining.json as one HTML page. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharpen.progress import clock
from sharpen.reports.formatting import flat, plain
from sharpen.reports.html_page import templates
from sharpen.reports.training_curves import logged_value, read_log, training_curves

_LOSSES = (
    logged_value("encoder_loss", "Loss of the encoder"),
    logged_value("decoder_loss", "Loss of the decoder"),
)


def render_page(facts: Mapping[str, Any]) -> str:
    """The page for the contents of pretraining.json; ``logs`` among them is where the output of the job's pods is."""
    counts, log = facts["counts"], read_log(facts)
    losses = [figure for draw in _LOSSES if (figure := draw(log)) is not None]
    first, last = (facts[name] for name in ("first_loss", "last_loss"))
    cards = [
        (f"{counts['passages']:,}", f"passages, {counts['cut_passages']:,} of them cut"),
        (f"{counts['windows']:,}", f"windows, {counts['tokens']:,} tokens"),
        (f"{facts['steps']:,}", f"steps, {facts['epochs']:.3g} epochs"),
        (" → ".join(plain(value) for value in (first, last) if value is not None), "first and last loss"),
        (plain(round(facts["windows_per_second"], 1)), "windows a second"),
    ]
    trained_on = [
        ("method", facts["settings"]["method"]),
        ("base model", facts["base_model"]),
        ("data", facts["data"]),
        ("fingerprint of the passages", facts["corpus_fingerprint"]),
        ("pooling", facts["pooling"]),
        ("code", facts["code_version"]),
        *([("logs of every pod", facts["logs"])] if facts.get("logs") else []),
    ]
    return (
        templates(Path(__file__).parent)
        .get_template("page.html.j2")
        .render(
            facts=facts,
            took=clock(facts["seconds"]),
            cards=cards,
            notices=facts["warnings"],
            figures=[*training_curves(facts), *losses],
            trained_on=trained_on,
            settings=[(part.capitalize(), flat(facts[part])) for part in ("settings", "encoder", "counts")],
        )
    )
