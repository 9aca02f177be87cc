"""How numbers are written for people: on the terminal and in the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MINUS = "−"

LABELS = {
    "ndcg": "nDCG",
    "recall": "Recall",
    "mrr": "MRR",
    "map": "MAP",
    "precision": "Precision",
    "hit_rate": "Hit rate",
    "spearman": "Spearman",
    "pearson": "Pearson",
    "accuracy": "Accuracy",
    "f1": "Macro F1",
    "knn_accuracy": "k-NN accuracy",
    "knn_f1": "k-NN macro F1",
    "v_measure": "V-measure",
}


def label(metric: str) -> str:
    """``ndcg_at_10`` -> ``nDCG@10``."""
    kind, _, k = metric.partition("_at_")
    return f"{LABELS.get(kind, kind)}@{k}" if k else LABELS.get(kind, kind)


def number(value: float, digits: int = 3) -> str:
    """A score between 0 and 1 without its leading zero, as tables of metrics have it: .634, 1.000."""
    text = f"{abs(value):.{digits}f}"
    sign = MINUS if value < 0 and float(text) != 0 else ""
    return sign + (text[1:] if text.startswith("0.") else text)


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign: +.103, −.012, ±.000."""
    text = number(value, digits)
    if float(f"{abs(value):.{digits}f}") == 0:
        return "±" + text
    return text if value < 0 else "+" + text


def interval(low: float, high: float, digits: int = 3) -> str:
    """``+.085 … +.121``: `low` and `high` with so many `digits`."""
    return f"{signed(low, digits)} … {signed(high, digits)}"


def percent(share: float, digits: int = 1) -> str:
    """A share of 1 with so many `digits`: 12.5 %."""
    return f"{100 * share:.{digits}f} %"


def p_text(p: float) -> str:
    """A p-value: .034, or < .001."""
    return "< .001" if p < 0.001 else number(p, 3)


def plain(value: float) -> str:
    """Any number: whole ones with thousands separators, others with four significant digits."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", MINUS)
    if abs(value) >= 1000:
        return f"{value:,.1f}".replace("-", MINUS)
    return f"{value:.4g}".replace("-", MINUS)


def flat(values: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings or figures as (dotted name, value) rows, each value as it would be typed.

    Records of a list are numbered from 1; histograms (``edges`` and ``counts``) are left out, for they are drawn.
    """
    rows: list[tuple[str, str]] = []
    for key, value in values.items() if isinstance(values, Mapping) else enumerate(values, start=1):
        if isinstance(value, Mapping) and "edges" in value and "counts" in value:
            continue
        records = isinstance(value, list) and all(isinstance(row, Mapping) for row in value)
        if value and (isinstance(value, Mapping) or records):
            rows += flat(value, f"{prefix}{key}.")
        else:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            rows.append((f"{prefix}{key}", shown or "–"))
    return rows


def is_number(value: Any) -> bool:
    """Whether a value is a finite number (and not true or false)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value - value == 0
