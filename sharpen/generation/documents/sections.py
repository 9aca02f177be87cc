"""A document's text as sections, each with the titles above it: plain text, Markdown, HTML and PDF."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import PurePosixPath

_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*\n", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:\s*[\"']?(.+?)[\"']?\s*$", re.MULTILINE)
_CHARSET = re.compile(rb"<meta[^>]+charset=[\"']?([\w-]+)", re.IGNORECASE)
_NOT_TEXT = frozenset({"script", "style", "noscript", "template", "nav", "footer", "aside", "form", "svg", "button"})
_HEADINGS = frozenset({"h1", "h2", "h3"})
_INLINE = frozenset(
    {"a", "abbr", "b", "bdi", "cite", "code", "data", "del", "dfn", "em", "font", "i", "img", "ins", "kbd", "mark"}
    | {"q", "s", "samp", "small", "span", "strong", "sub", "sup", "time", "u", "var", "wbr"}
)


class UnreadableDocument(Exception):
    """Why a document cannot be read, in words; never leaves `documents`."""


@dataclass(frozen=True)
class Section:
    """A part of a document: its titles, joined by `` > ``, and its text."""

    title: str
    text: str


def read_sections(name: str, data: bytes) -> list[Section]:
    """The sections of a document that hold text.

    Args:
        name: of the file; its suffix says the format, and a document without a title is called by it.
        data: its content.

    Raises:
        UnreadableDocument: damaged, encrypted, not UTF-8, or without any text.
    """
    path = PurePosixPath(name)
    stem = " ".join(re.split(r"[-_\s]+", path.stem)).strip()
    sections = FORMATS[path.suffix.lower()](data, stem)
    found = [Section(_line(section.title), section.text.strip()) for section in sections if section.text.strip()]
    if not found:
        raise UnreadableDocument("it holds no text")
    return found


def _line(text: str) -> str:
    return " ".join(text.split())[:300]


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UnreadableDocument(f"not UTF-8 text (byte {error.start + 1}); convert it") from None


def _plain(data: bytes, stem: str) -> list[Section]:
    return [Section(stem, _decoded(data))]


def _markdown(data: bytes, stem: str) -> list[Section]:
    from markdown_it import MarkdownIt

    text, title = _decoded(data), ""
    if front := _FRONT_MATTER.match(text):
        named = _FRONT_TITLE.search(front[1])
        title, text = (named[1] if named else ""), text[front.end() :]
    lines, tokens = text.split("\n"), MarkdownIt().parse(text)
    headings = [
        (token.map, int(token.tag[1:]), inline.content)
        for token, inline in pairwise(tokens)
        if token.type == "heading_open" and token.map and token.level == 0
    ]
    first = next((content for _, level, content in headings if level == 1), "")
    sections, above, start = [], [title or first or stem], 0
    path: list[tuple[int, str]] = []
    for (begin, end), level, content in headings:
        sections.append(Section(" > ".join(above), "\n".join(lines[start:begin])))
        path = [*(part for part in path if part[0] < level), (level, content)]
        above = _without_repeats([title or first or stem, *(content for _, content in path)])
        start = end
    return [*sections, Section(" > ".join(above), "\n".join(lines[start:]))]


def _without_repeats(titles: list[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, titles)))


class _Html(HTMLParser):
    """Collects text by the headings above it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title, self.titles = "", ["", "", ""]
        self.sections: list[Section] = []
        self.text: list[str] = []
        self.skipped: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in _NOT_TEXT:
            self.skipped.append(tag)
        elif tag == "title" or tag in _HEADINGS:
            self.close_section()
            self.inside = tag
            if tag != "title":
                level = int(tag[1]) - 1
                self.titles[level:] = [""] * (3 - level)
        elif tag not in _INLINE:
            self.text.append("\n\n" if tag == "p" else "\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.skipped:
            # what was left open inside ends with it
            del self.skipped[self.skipped.index(tag) :]
        elif tag == self.inside:
            self.inside = ""
        elif tag not in _INLINE:
            self.text.append("\n")

    def handle_data(self, data: str) -> None:
        if self.skipped:
            return
        if self.inside == "title":
            self.title += data
        elif self.inside:
            self.titles[int(self.inside[1]) - 1] += data
        else:
            self.text.append(data)

    def close_section(self) -> None:
        lines = [" ".join(line.split()) for line in "".join(self.text).split("\n")]
        self.sections.append(Section(" > ".join(map(_line, filter(None, self.titles))), _paragraphs(lines)))
        self.text = []


def _paragraphs(lines: list[str]) -> str:
    return re.sub(r"\n{2,}", "\n\n", "\n".join(lines)).strip()


def _html(data: bytes, stem: str) -> list[Section]:
    declared = _CHARSET.search(data[:2048])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = data.decode(declared[1].decode() if declared else "ascii")
        except (LookupError, UnicodeDecodeError):
            raise UnreadableDocument("not UTF-8 text, and no charset that fits is declared; convert it") from None
    parser = _Html()
    parser.feed(text)
    parser.close()
    parser.close_section()
    title = _line(parser.title)
    return [
        Section(" > ".join(_without_repeats([title or ("" if part.title else stem), part.title])), part.text)
        for part in parser.sections
    ]


def _pdf(data: bytes, stem: str) -> list[Section]:
    from pypdf import PdfReader

    try:
        reader = PdfReader(BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableDocument("it is encrypted; save it without a password")
        pages = [page.extract_text() for page in reader.pages]
        named = reader.metadata.title if reader.metadata else ""
    except UnreadableDocument:
        raise
    except Exception as error:  # the parser has no common class for damaged files
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UnreadableDocument(f"damaged PDF: {reason}") from None
    return [Section(_line(named or "") or stem, "\n\n".join(page.strip() for page in pages))]


FORMATS: dict[str, Callable[[bytes, str], list[Section]]] = {
    **dict.fromkeys((".txt", ".text", ".rst"), _plain),
    **dict.fromkeys((".md", ".markdown"), _markdown),
    **dict.fromkeys((".html", ".htm", ".xhtml"), _html),
    ".pdf": _pdf,
}
"""Suffix of a file -> what reads it."""
