"""What `sharpen explain` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sharpen.diagnosis.explain import KINDS, NOTHING, Explanation
from sharpen.diagnosis.finding import Finding
from sharpen.terminal import plain_console, printable

_GUIDE = "docs/why-worse.md explains every cause"


def show_explanation(explained: Explanation, lines: Sequence[str] = ()) -> None:
    """Headline, causes with their figures and settings, and the command that tries the first of them.

    Args:
        explained: what was found.
        lines: about the run and its verdict, shown first.
    """
    console = plain_console()
    for line in lines:
        console.print(printable(line))
    console.print(Text(printable(explained.headline), style="bold"))
    for kind, title in KINDS.items():
        if found := explained.of(kind):
            console.print(f"\n{title}", style="bold")
            console.print(_table(found))
    if not explained.of("harm", "doubt"):
        console.print(f"\n{NOTHING}", style="bold")
    for line in explained.missing:
        console.print(printable(f"not looked at, as it is gone: {line}"), style="dim", soft_wrap=True)
    first = next((one for one in explained.findings if one.command), None)
    if first:
        console.print(f"\nNext ({first.cause}):")
        console.print(Padding(Text(printable(first.command)), (0, 0, 0, 2)))
    console.print(_GUIDE, style="dim")


def _table(found: Sequence[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0), header_style="dim")
    table.add_column("cause", ratio=2, overflow="fold")
    table.add_column("sure", no_wrap=True)
    table.add_column("what shows it, and what to change", ratio=6, overflow="fold")
    for one in found:
        table.add_row(printable(one.cause), one.sure, _evidence(one))
    return table


def _evidence(one: Finding) -> Text:
    text = Text(printable(one.evidence) + ".")
    for change in one.changes:
        effect = f" ({change.effect})" if change.effect else ""
        text.append("\n--set " + printable(change.assignment), style="bold").append(printable(effect))
    if one.advice:
        text.append(f"\n{printable(one.advice[0].upper() + one.advice[1:])}.")
    return text
