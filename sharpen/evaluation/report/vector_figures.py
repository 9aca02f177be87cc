"""What is drawn of the models' vectors, side by side: a map of a sample, and scores of relevant and other passages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from sharpen.reports import charts
from sharpen.reports.charts import Figure
from sharpen.reports.formatting import number

OTHER = "m7"
"""Colour of what has no label of its own."""

UNLABELLED = {"query": "m0", "passage": "m1"}
"""Colours where there are no labels at all."""


def score_separation(found: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Figure]:
    """A pair of histograms for each (model, separation.json); models without one are left out."""
    figures = []
    for name, one in found:
        if not one.get("queries"):
            continue
        series = [
            ("best relevant passage", "positive", one["positive"]),
            ("best other passage", "negative", one["negative"]),
        ]
        note = (
            f"the relevant passage scores above the best other one for {_percent(one['above'])} of the queries; "
            f"AUC {number(one['auc'])}, overlap {_percent(one['overlap'])}"
        )
        title = f"{name}: scores of the best relevant and the best other passage; {note}"
        figures.append(Figure(name, note, charts.histogram(title, series)))
    return figures


def embedding_maps(found: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[list[Figure], list[tuple[str, str]]]:
    """A drawing for each (model, map.json), turned so that they can be compared, and the key of their colours."""
    maps = [(name, one) for name, one in found if one.get("points", {}).get("id")]
    if not maps:
        return [], []
    first = maps[0][1]
    labels = sorted({label for _, one in maps for label in one["points"]["label"] if label})
    classes = {label: f"m{i}" for i, label in enumerate(labels[:7])}
    figures = []
    for number_of_map, (name, one) in enumerate(maps):
        plane = _plane(one) if number_of_map == 0 else turned(one, first)
        note = f"the two components hold {_percent(sum(one['explained']))} of the variance"
        figures.append(Figure(name, note, _drawn(f"Embedding map of {name}: {note}", one, plane, classes)))
    if not classes:
        return figures, [("queries", UNLABELLED["query"]), ("their relevant passages", UNLABELLED["passage"])]
    named = zip(first["points"]["label"], first["points"]["kind"], strict=True)
    others = any(not label and kind != "rest" for label, kind in named)
    return figures, [*classes.items(), *([("others", OTHER)] if others else [])]


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def _plane(one: Mapping[str, Any]) -> np.ndarray:
    return np.column_stack([one["points"]["x"], one["points"]["y"]]).astype(float)


def turned(one: Mapping[str, Any], first: Mapping[str, Any]) -> np.ndarray:
    """The points of a map, turned and mirrored to lie as those of the `first` do (orthogonal Procrustes).

    Axes of principal components have no direction, so two maps of equal vectors may else look different.
    """
    plane, other = _plane(one), _plane(first)
    row_of = {key: row for row, key in enumerate(_keys(first))}
    shared = [(row, row_of[key]) for row, key in enumerate(_keys(one)) if key in row_of]
    if not shared:
        return plane
    rows, theirs = (np.array(column) for column in zip(*shared, strict=True))
    left, _, right = np.linalg.svd(plane[rows].T @ other[theirs])
    return plane @ (left @ right)


def _keys(one: Mapping[str, Any]) -> list[tuple[bool, str]]:
    return [(kind == "query", name) for kind, name in zip(one["points"]["kind"], one["points"]["id"], strict=True)]


def _drawn(title: str, one: Mapping[str, Any], plane: np.ndarray, classes: Mapping[str, str]) -> Markup:
    layers: dict[str, list[tuple[float, float]]] = {}
    points = [(float(x), float(y)) for x, y in plane]
    for point, kind, label in zip(points, one["points"]["kind"], one["points"]["label"], strict=True):
        colour = classes.get(label, OTHER) if classes else UNLABELLED.get(kind, "")
        colour = "rest" if kind == "rest" else f"{kind} {colour}"
        layers.setdefault(colour, []).append(point)
    order = {"rest": 0, "passage": 1, "query": 2}
    ordered = sorted(layers.items(), key=lambda item: (order[item[0].partition(" ")[0]], item[0]))
    pairs = [(points[row], points[pair]) for row, pair in enumerate(one["points"]["pair"]) if pair >= 0]
    return charts.point_map(title, ordered, pairs)
