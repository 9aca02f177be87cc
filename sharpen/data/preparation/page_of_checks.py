"""What the checks found, in the words, tables and charts of the data's page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sharpen.data.preparation.checks.language import main_languages
from sharpen.reports.charts import Figure, count_table
from sharpen.reports.formatting import percent

PLURAL = {"query": "queries", "passage": "passages"}
_LANGUAGES_SHOWN = 8
# shares above which a line is worth reading
_SMALLEST_SHARES = {"cut": 0.05, "near": 0.05, "leak": 0.01}

Table = tuple[list[str], list[tuple[str, list[str]]]]


def findings(checks: Mapping[str, Any]) -> list[str]:
    """What a reader should not miss, a sentence each, the most serious first."""
    return [*_faults(checks), *_shares(checks)]


def _faults(checks: Mapping[str, Any]) -> Iterator[str]:
    for kind, found in checks.get("secrets", {}).items():
        if found:
            counted = ", ".join(f"{what} in {one['texts']:,}" for what, one in found.items())
            yield f"Secrets or addresses in {PLURAL[kind]}: {counted}."
    for kind, found in checks["conflicting_labels"].items():
        if found["found"]:
            yield f"Labels of {kind} that contradict one another: {found['found']:,}."
    if pairs := checks["positives_equal_to_queries"]["pairs"]:
        yield f"{pairs:,} positive passages say the same as their query, so they measure nothing."
    if count := checks["negatives"]["that_are_positives"]:
        yield f"{count:,} given negatives are positives of their query, and were left out."
    for split, leaks in checks["duplicates"]["query"]["near"]["leaks"].items():
        if leaks["share"] > _SMALLEST_SHARES["leak"]:
            yield (
                f"{percent(leaks['share'])} of the {split} queries nearly repeat one that is trained on: {split} "
                "results are better than they will be on new questions."
            )


def _shares(checks: Mapping[str, Any]) -> Iterator[str]:
    for kind, tokens in checks["tokens"].items():
        if tokens["cut_share"] > _SMALLEST_SHARES["cut"]:
            yield (
                f"{percent(tokens['cut_share'])} of the {PLURAL[kind]} are longer than {tokens['limit']} tokens; "
                f"{percent(tokens['tokens_cut_share'])} of all their text is never seen by the model."
            )
    for kind, found in checks["duplicates"].items():
        if found["near"]["share"] > _SMALLEST_SHARES["near"]:
            yield f"{percent(found['near']['share'])} of the {PLURAL[kind]} nearly repeat another one."
    for kind, found in checks.get("languages", {}).items():
        shares = [f"{code} {percent(count / found['counted'])}" for code, count in main_languages(found).items()]
        if len(shares) > 1:
            yield f"The {PLURAL[kind]} are in several languages: {', '.join(shares[:_LANGUAGES_SHOWN])}."


def languages(checks: Mapping[str, Any]) -> list[Figure]:
    """Bars of the languages of queries and passages."""
    return [_languages(kind, found) for kind, found in checks.get("languages", {}).items()]


def _languages(kind: str, found: Mapping[str, Any]) -> Figure:
    counts = dict(found["languages"])
    unknown = counts.pop("", 0)
    rows = [(code, n, n / max(1, found["counted"])) for code, n in counts.items()]
    shown = rows[:_LANGUAGES_SHOWN]
    if rest := rows[_LANGUAGES_SHOWN:]:
        shown.append((f"{len(rest)} more", sum(n for _, n, _ in rest), sum(share for *_, share in rest)))
    if unknown:
        shown.append(("not clear", unknown, unknown / found["counted"]))
    return Figure(PLURAL[kind].capitalize(), of_how_many(found), count_table(shown))


def of_how_many(found: Mapping[str, Any]) -> str:
    """How many texts were looked at, in words."""
    if found["counted"] == found["of"]:
        return f"all {found['of']:,}"
    return f"a sample of {found['counted']:,} of {found['of']:,}"


def tokens(checks: Mapping[str, Any]) -> Table:
    """Head and rows: tokens of queries and passages against their limits."""
    head = ["limit", "median", "95 %", "longest", "cut", "of the tokens"]
    rows = [
        (
            PLURAL[kind],
            [
                *(f"{one[name]:,}" for name in ("limit", "p50", "p95", "max")),
                f"{one['cut']:,} ({percent(one['cut_share'])})",
                percent(one["tokens_cut_share"]),
            ],
        )
        for kind, one in checks["tokens"].items()
    ]
    return head, rows


def repeats(checks: Mapping[str, Any]) -> Table:
    """Head and rows: texts that come again."""
    head = ["to the letter", "other spelling", "nearly the same", "looked at"]
    rows = [
        (
            PLURAL[kind],
            [
                f"{one['exact']:,}",
                f"{one['normalised']:,}",
                f"{one['near']['near_duplicates']:,} ({percent(one['near']['share'])})",
                of_how_many(one["near"]),
            ],
        )
        for kind, one in checks["duplicates"].items()
    ]
    return head, rows


def leaks(checks: Mapping[str, Any]) -> Table:
    """Head and rows: what is held out and nearly repeated in training."""
    rows = [
        (f"{split} {PLURAL[kind]}", [f"{found['near_leaks']:,}", percent(found["share"]), f"{found['counted']:,}"])
        for kind, one in checks["duplicates"].items()
        for split, found in one["near"]["leaks"].items()
    ]
    return ["nearly repeated", "share", "looked at"], rows


def leak_notes(checks: Mapping[str, Any], removed: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What was done about leaks, and how far the numbers of near ones go.

    Args:
        checks: what was found.
        removed: split -> reason -> queries that were taken out of it.
    """
    taken = ", ".join(f"{count:,} {split}" for split, why in removed.items() if (count := sum(why.values())))
    lines = [f"Queries with the text or a passage of a held-out one were taken out: {taken}."] if taken else []
    sampled = [PLURAL[kind] for kind, one in checks["duplicates"].items() if one["near"]["counted"] < one["near"]["of"]]
    if sampled:
        lines.append(f"Of the {' and '.join(sampled)} a sample was compared, so there are at least as many near ones.")
    return lines


def negatives(checks: Mapping[str, Any]) -> str:
    """What is known of the negatives that the data bring, in a sentence."""
    found = checks["negatives"]
    if not found["given"]:
        parts = ["The data bring no negatives; they are mined"]
    else:
        parts = [f"The data bring {found['given']:,} negatives; {found['queries_without']:,} queries have none"]
    if found["that_are_positives"]:
        parts.append(f"{found['that_are_positives']:,} that are positives of their query were left out")
    if found["rows_with_an_empty_one"]:
        parts.append(f"{found['rows_with_an_empty_one']:,} rows with an empty one are in quarantine")
    return "; ".join(parts) + "."


def positives(checks: Mapping[str, Any]) -> Markup:
    """Bars of the number of positives that queries have."""
    found = checks["positives_per_query"]
    total = max(1, sum(found.values()))
    return count_table([(name, count, count / total) for name, count in found.items() if count])


def examples(checks: Mapping[str, Any]) -> list[tuple[str, Sequence[tuple[str, str]]]]:
    """Heading and rows (what it is, texts) of the examples of each check that found something."""
    sections: list[tuple[str, Sequence[tuple[str, str]]]] = []
    for kind, one in checks["tokens"].items():
        rows = [(f"{text['tokens']:,} tokens", text["text"]) for text in one["examples"]]
        sections.append((f"The longest {PLURAL[kind]}", rows))
    for kind, one in checks["duplicates"].items():
        near = one["near"]
        sections.append((f"{PLURAL[kind].capitalize()} that are nearly the same", _pairs(near["examples"])))
        sections.append((f"{PLURAL[kind].capitalize()} on both sides of a split", _pairs(near["leak_examples"])))
    for kind, one in checks["conflicting_labels"].items():
        rows = [
            (one["values"], " — ".join(one[name] for name in ("text", "passage") if name in one))
            for one in one["examples"]
        ]
        sections.append((f"Labels of {kind} that contradict one another", rows))
    same = [("", text) for text in checks["positives_equal_to_queries"]["examples"]]
    sections.append(("Positives that say the same as their query", same))
    sections.append(("Negatives without a text", [("", row) for row in checks["negatives"]["examples"]]))
    for kind, found in checks.get("secrets", {}).items():
        rows = [(what, f"{one['found']} in {one['id']}") for what, many in found.items() for one in many["examples"]]
        sections.append((f"Secrets and addresses in {PLURAL[kind]}", rows))
    return [(heading, rows) for heading, rows in sections if rows]


def _pairs(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    rows = []
    for one in found:
        sides = " and ".join(dict.fromkeys(side or "neither" for side in one["splits"]))
        rows.append((f"{percent(one['similarity'], 0)}, {sides}", f"{one['first']}\n{one['second']}"))
    return rows
