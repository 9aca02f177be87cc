"""How the splits came about and what was selected for training, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

USES = {"train": "trained on", "dev": "dev", "test": "test"}


def split_notes(stats: Mapping[str, Any]) -> list[str]:
    """A line for each thing about the splits that a user should know; data sets of earlier versions have none."""
    facts = stats.get("splitting", {})
    return [*_windows(facts), *_selected(facts), *_earlier(facts), *_time(facts), *_large(facts, stats["dropped"])]


def split_rows(stats: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The same as rows of a table: what, and how much."""
    facts = stats.get("splitting", {})
    if not facts.get("split_by"):
        return []
    rows = [("test and dev are cut by", str(facts["split_by"]))]
    rows += [(f"{USES[split]} in earlier runs, too", f"{n:,}") for split, n in facts["earlier"].items()]
    rows += [(f"new, {USES[split]}", f"{n:,}") for split, n in facts["new"].items()]
    large, masked = facts["large_components"], stats["dropped"].get("positives_masked", 0)
    rows += [("queries in components larger than half of a split", f"{large['queries']:,}")] if large["queries"] else []
    rows += [("positives masked, as they are shared with dev or test", f"{masked:,}")] if masked else []
    rows += [(f"first time of {split}", moment) for split, moment in facts.get("first_time", {}).items()]
    selected = facts.get("selected", {})
    return rows + [(f"examples {what.replace('_', ' ')}", f"{n:,}") for what, n in selected.items()]


def _windows(facts: Mapping[str, Any]) -> Iterator[str]:
    for given, window in facts.get("windows", {}).items():
        untimed = f"; {window['without_time']:,} have no time and are in it" if window["without_time"] else ""
        yield (
            f"window: since {given} ({window['start']}): {window['inside']:,} training queries, "
            f"{window['before']:,} are older{untimed}"
        )
    for given, files in facts.get("files", {}).items():
        yield (
            f"window: since {given}: of {files['files']:,} files {files['older']:,} are older, by the date in their "
            f"path ({files['by_path']:,}) or by when they were last written ({files['by_modification']:,})"
        )


def _selected(facts: Mapping[str, Any]) -> Iterator[str]:
    if selected := facts.get("selected"):
        yield (
            f"selected: {selected['new']:,} new examples and {selected['replayed']:,} of the others; "
            f"{selected['left_out']:,} are left out"
        )


def _earlier(facts: Mapping[str, Any]) -> Iterator[str]:
    if earlier := facts.get("earlier"):
        stay = ", ".join(f"{count:,} {USES[split]}" for split, count in earlier.items())
        new = ", ".join(f"{count:,} {USES[split]}" for split, count in facts["new"].items()) or "none"
        yield f"splits: {stay} as in earlier runs; new: {new}"


def _time(facts: Mapping[str, Any]) -> Iterator[str]:
    for split, moment in facts.get("first_time", {}).items():
        ties = facts["ties"][split]
        more = f"; {ties:,} queries have this very time and were drawn by lot" if ties else ""
        yield f"split by time: {split} begins at {moment}{more}"
    if untimed := facts.get("queries_without_time"):
        yield f"split by time: {untimed:,} queries without a time are trained on"


def _large(facts: Mapping[str, Any], dropped: Mapping[str, int]) -> Iterator[str]:
    large = facts.get("large_components", {})
    if large.get("queries"):
        done = "cut by text and group" if large["cut"] else "trained on, as data.large_components is train"
        yield (
            f"note: {large['queries']:,} queries hang together in {large['components']:,} component(s) larger than "
            f"half of a split; they are {done}"
        )
    if masked := dropped.get("positives_masked"):
        yield f"note: {masked:,} positives of training queries are masked, as they answer dev or test queries too"
