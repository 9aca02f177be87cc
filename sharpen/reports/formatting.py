"""How numbers are written for people: on the terminal and in the report."""

from __future__ import annotations

MINUS = "−"

LABELS = {
    "ndcg": "nDCG",
    "recall": "Recall",
    "mrr": "MRR",
    "map": "MAP",
    "precision": "Precision",
    "hit_rate": "Hit rate",
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
