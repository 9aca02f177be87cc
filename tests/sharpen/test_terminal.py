"""Texts that rich would take for markup, emoji or orders to the terminal."""

from __future__ import annotations

import io
import sys
import unicodedata

import pytest
from rich.table import Table

from sharpen.markdown import code_span, escaped
from sharpen.terminal import one_line, plain_console, printable

TEXTS = ["/home/ann/proj[v2]/report.html", "x [/y] z", "a:smile:b", "[bold]"]


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


def test_what_people_write_stays_as_it_is() -> None:
    # combined emoji, Persian with a joiner, spaces that are no blanks, lines and columns
    for text in ("naïve 検索", "👩\u200d🔬", "می\u200cخواهم", "10\u00a0000\u3000円", "a\tb\nc", "[/b] {x} \\x1b"):
        assert printable(text) == text


def test_no_control_character_is_left() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    left = [c for c in printable(every) if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert sorted(set(left)) == ["\t", "\n"]
    assert not any(
        unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        for c in printable(every)
    )
    assert printable("\x1b[31m\u202e\ud800") == "\\x1b[31m\\u202e\\ud800"
    printable(every).encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\tand a tab", "two\\nlines\\tand a tab"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("no\u200bwidth\ufeff", "no\\u200bwidth\\ufeff"),
        ("half \ud800 of a pair", "half \\ud800 of a pair"),
        ("Größe 汉字 😀", "Größe 汉字 😀"),
    ],
)
def test_one_line(text: str, shown: str) -> None:
    assert one_line(text) == shown
    assert one_line("a" * 300, 5) == "aaaaa..."


def test_text_in_markdown_stays_text() -> None:
    assert escaped("a\n# b\t*c* <d> \x1b[2J") == "a # b \\*c\\* &lt;d&gt; \\\\x1b\\[2J"
    assert code_span("one\n`two`") == "`` one `two` ``"
