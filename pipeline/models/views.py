"""What the commands about the registry print."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from rich.table import Table

from sharpen.errors import InputError
from sharpen.registry import aliases, approval, registry
from sharpen.registry.gate.gains import SHOWN_METRICS
from sharpen.registry.lineage import Difference, Lineage
from sharpen.reports.formatting import flat
from sharpen.terminal import plain_console, printable


def show_models(names: list[str], root: str) -> None:
    """One row a model: champion, its main figure, number of versions, aliases; then what waits for approval.

    Raises:
        InputError: at the end, when the pointers of some are damaged.
    """
    console = plain_console()
    if not console.is_terminal:
        # of a pipe or a file: nothing is cut off that a program may look for
        console = plain_console(width=300)
    if not names:
        console.print("no models yet; `sharpen run` makes one")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for column in ("model", "champion", "since", "ndcg_at_10", "versions", "aliases"):
        table.add_column(column)
    faults: list[str] = []
    waits: list[str] = []
    for name in names:
        champion, named, without = None, {}, "none"
        try:
            champion, named = registry.read_champion(root, name), aliases.list_aliases(root, name)
            waits += waiting_lines(root, name)
        except InputError as error:
            without = "damaged"
            faults += error.faults
        figure = champion.metrics.get("ndcg_at_10") if champion else None
        table.add_row(
            name,
            champion.version if champion else without,
            _day(champion.promoted_at) if champion else "",
            f"{figure:.3f}" if figure is not None else "",
            str(len(registry.list_versions(root, name))),
            ", ".join(f"{alias} {version}" for alias, version in named.items()),
        )
    console.print(table)
    for line in waits:
        _say(line)
    if faults:
        raise InputError(faults)


def waiting_lines(root: str, name: str) -> list[str]:
    """A line for each version that waits for approval, with the command that ends it. Raises InputError for damage."""
    return [
        f"{name} {version} {approval.STATES[state]}: "
        + (f"sharpen models reject {name} {version}" if state == approval.OUTDATED else _approve(name, version))
        for version, state in approval.waiting(root, name).items()
    ]


def show_model(name: str, root: str) -> None:
    """The champion's facts and all versions. Raises InputError when there is no such model."""
    versions = registry.list_versions(root, name)
    if not versions:
        registry.show(root, name)  # says which there are
    champion = registry.read_champion(root, name)
    if champion:
        _say(f"{name}: champion {champion.version} since {_day(champion.promoted_at)}")
        _say(f"address: {champion.address}")
        _say(f"reason:  {champion.reason}")
        for metric, value in sorted(champion.metrics.items()):
            if metric in SHOWN_METRICS:
                _say(f"  {metric:<14} {value:.3f}")
    marks = {version: [approval.STATES[state]] for version, state in approval.waiting(root, name).items()}
    for alias, version in aliases.list_aliases(root, name).items():
        marks.setdefault(version, []).append(alias)
    if champion:
        marks.setdefault(champion.version, []).insert(0, "champion")
    for version in versions:
        _say(f"{version}  {', '.join(marks.get(version, []))}".rstrip())
    for line in waiting_lines(root, name):
        _say(line)


def show_lineage(lineage: Lineage) -> None:
    """What a version was made of, and its figures."""
    version = lineage.version
    _say(f"{version.version}  {version.address}")
    facts = {
        "made": f"{_day(version.created_at)} by run {version.run_id}",
        "code": lineage.code_version,
        "content": version.content,
        "data fingerprint": lineage.data_fingerprint,
        **lineage.parents,
        "verdict": lineage.verdict,
    }
    for what, value in facts.items():
        if value:
            _say(f"{what + ':':<24} {value}")
    for reason in lineage.reasons:
        _say(f"  - {reason}")
    figures = {name: round(value, 4) for name, value in version.metrics.items()}
    groups = {"counts": lineage.counts, "metrics": figures, **lineage.settings}
    for name, values in groups.items():
        rows = flat(values)
        if rows:
            _say(f"{name}:")
        for setting, text in rows:
            _say(f"  {setting:<40} {text}")


def show_differences(first: Lineage, second: Lineage, found: Sequence[Difference]) -> None:
    """One line for each thing that is not equal, part by part."""
    names = first.version.version, second.version.version
    if not found:
        _say(f"{names[0]} and {names[1]} do not differ in settings, data and metrics")
        return
    part = ""
    for one in found:
        if one.part != part:
            part = one.part
            _say(f"{part} ({names[0]} -> {names[1]}):")
        change = "" if one.change is None else f"  ({one.change:+.4g})"
        _say(f"  {one.name:<40} {one.first or '(none)'} -> {one.second or '(none)'}{change}")


def _approve(name: str, version: str) -> str:
    return f"sharpen models approve {name} {version}, or reject"


def _say(text: str) -> None:
    plain_console().print(printable(text), soft_wrap=True)


def _day(moment: str) -> str:
    return datetime.datetime.fromisoformat(moment).strftime("%Y-%m-%d %H:%M")
