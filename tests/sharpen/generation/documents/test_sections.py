"""Texts and titles of documents in each format."""

from __future__ import annotations

import pytest

from sharpen.generation.documents.sections import Section, UnreadableDocument, read_sections


def _pdf(text: str, title: str = "") -> bytes:
    """The smallest PDF with a page of text, written by hand after ISO 32000-1, 7.5."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Title (%s) >>" % title.encode(),
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R /Info 5 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return out + trailer % (len(objects) + 1, table)


def test_text_is_called_by_its_file() -> None:
    assert read_sections("a/user-manual_2.txt", b"\xef\xbb\xbfone\r\ntwo") == [Section("user manual 2", "one\ntwo")]


def test_markdown_has_the_titles_above_each_section() -> None:
    text = b"""---
title: "The manual"
---
before

# Install

first

```
# no heading
```

## On Linux

second

Later
=====
third
"""
    assert read_sections("m.md", text) == [
        Section("The manual", "before"),
        Section("The manual > Install", "first\n\n```\n# no heading\n```"),
        Section("The manual > Install > On Linux", "second"),
        Section("The manual > Later", "third"),
    ]


def test_html_has_the_titles_and_nothing_that_is_no_text() -> None:
    text = """<title>T &amp; U</title><style>p {}</style><nav>menu <a href=x>home</a></nav>
    <h1>Head</h1><p>Hello <b>bold</b>&nbsp;you<script>steal()</script></p><ul><li>a<li>b</ul>
    <h2>Sub</h2>text<footer>imprint</footer><h1>Other</h1>rest"""
    assert read_sections("x.html", text.encode()) == [
        Section("T & U > Head", "Hello bold you\n\na\nb"),
        Section("T & U > Head > Sub", "text"),
        Section("T & U > Other", "rest"),
    ]


def test_html_in_the_charset_that_it_declares() -> None:
    page = '<meta charset="windows-1251"><title>Дом</title>Привет'.encode("windows-1251")
    assert read_sections("x.htm", page) == [Section("Дом", "Привет")]


def test_pdf_has_its_title_and_text() -> None:
    assert read_sections("f.pdf", _pdf("Fish live in water.", "Fish")) == [Section("Fish", "Fish live in water.")]
    assert read_sections("some-report.pdf", _pdf("Text.")) == [Section("some report", "Text.")]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"\xff\xfe\x00", r"not UTF-8 text \(byte 1\)"),
        ("a.md", b"  \n", "no text"),
        ("a.html", b"<p>\xff</p>", "no charset"),
        ("a.pdf", b"%PDF-1.4 broken", "damaged PDF"),
        ("a.pdf", _pdf(""), "no text"),
    ],
)
def test_what_cannot_be_read_says_why(name: str, data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableDocument, match=reason):
        read_sections(name, data)
