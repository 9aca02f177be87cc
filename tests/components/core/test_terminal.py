"""Texts that rich would take for markup, emoji or orders to the terminal."""

from __future__ import annotations

import io

from rich.table import Table

from components.core.terminal import plain_console, without_controls

TEXTS = ["/work/proj[v2]/report.html", "x [/y] z", "a:smile:b", "[bold]"]


def test_texts_are_printed_as_they_are_in_lines_and_in_tables() -> None:
    out = io.StringIO()
    console = plain_console(file=out, width=200)
    table = Table()
    table.add_column("[red]name")
    for text in TEXTS:
        console.print(f"Report: {text}", style="bold")
        table.add_row(text)
    console.print(table)
    shown = out.getvalue()
    assert "[red]name" in shown
    assert all(shown.count(text) == 2 for text in TEXTS)


def test_what_a_terminal_obeys_is_left_out() -> None:
    assert without_controls("a\x1b]0;title\x07b\x1b[2Jc\r\u202ed\ne\tf é") == "a]0;titleb[2Jcd\ne\tf é"
