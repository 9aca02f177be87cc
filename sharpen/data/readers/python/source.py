"""Retrieval data from Python code: the first sentence of a docstring asks for the function that it describes.

Query: first sentence of a function's docstring. Passage: the function's source, decorators and signature included,
without any docstring. The pairs of a file belong together, so that a split by group never puts functions of one
file on both sides. The same kind of pair is the basis of CodeSearchNet (Husain et al., 2019).
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sharpen.data.dataset import DataSet
from sharpen.data.readers.data_format import DataFormat, InputFile
from sharpen.data.readers.python.files import is_python_source, python_files, source_name
from sharpen.data.readers.rows import ReadReport, RowError
from sharpen.data.readers.tables import DataSetBuilder
from sharpen.errors import InputError

SHORTEST_QUERY, LONGEST_QUERY = 4, 40  # words
SHORTEST_PASSAGE = 3  # lines that are not blank
MOST_PASSAGES = 3


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and its passage, and the file that both come from."""

    query: str
    passage: str
    file: str


def find(address: str) -> InputFile | None:
    """The Python files behind a ``python-source:`` address. Raises InputError as `python_files`."""
    if not is_python_source(address):
        return None
    return InputFile(address, source_name(address), FORMAT, python_files(address), python_version())


def read(item: InputFile, source: str, split: str, report: ReadReport) -> DataSet:
    """Read the pairs of Python code; a query's group is its file.

    A query that describes more than `MOST_PASSAGES` different functions says too little to find one and is left out.

    Args:
        item: the files of ``python-source:stdlib``, ``python-source:<package>`` or ``python-source:<folder>``.
        source: name of the source that the queries get.
        split: the split that all queries get.
        report: takes files that do not parse, and notices.

    Raises:
        InputError: not a single pair in the code.
    """
    address, tables = item.address, DataSetBuilder()
    passages_of: dict[int, dict[int, Pair]] = {}
    pairs_read = 0
    for name, path in item.files.items():
        for pair in _pairs_of_file(name, path, report):
            pairs_read += 1
            passages_of.setdefault(tables.key(pair.query), {}).setdefault(tables.key(pair.passage), pair)
    report.rows += pairs_read
    vague = 0
    for found in passages_of.values():
        if len(found) > MOST_PASSAGES:
            vague += len(found)
            continue
        for pair in found.values():
            query = tables.query_by_text(pair.query, split, source, "", f"{source}/{pair.file}")
            tables.add_qrel(query, tables.passage_by_text(pair.passage), 1, split)
    pairs = sum(len(found) for found in passages_of.values()) - vague
    report.notice(f"{address}: function whose description fits more than {MOST_PASSAGES}", vague)
    report.notice(f"{address}: pair repeated", pairs_read - pairs - vague)
    if not pairs:
        raise InputError(
            f"{address}: no function with a first docstring sentence of {SHORTEST_QUERY} to {LONGEST_QUERY} words"
        )
    return tables.data_set(report, address)


def _pairs_of_file(name: str, path: Path, report: ReadReport) -> list[Pair]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    report.on_bytes(len(data))
    try:
        return list(pairs_in(decode(data), name))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        report.rows += 1
        line = getattr(error, "lineno", None) or 1
        raw = data.split(b"\n")[line - 1] if line <= data.count(b"\n") + 1 else b""
        report.add(
            str(path), line, RowError("broken_python", detail=str(error).split(" (")[0] or "nested too deep"), raw
        )
        return []


def decode(data: bytes) -> str:
    """Source text as the tokenizer sees it: encoding cookie obeyed, line ends made ``\\n``. Raises SyntaxError."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise SyntaxError(f"not {encoding} text: byte {error.start + 1}") from None
    except LookupError:  # rot13, hex, zlib: codecs, but none of text
        raise SyntaxError(f"unknown encoding: {encoding}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def pairs_in(source: str, file: str) -> Iterator[Pair]:
    """The pairs of one file, in the order of the file.

    Raises:
        SyntaxError, ValueError: not Python.
        RecursionError, MemoryError: nested deeper than the parser goes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in somebody else's code
        tree = ast.parse(source)
    lines = source.encode().split(b"\n")
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_overload(node):
            continue
        # half of a surrogate pair, which a docstring can escape, is no text that can be stored
        query = first_sentence(ast.get_docstring(node) or "").encode("utf-8", "backslashreplace").decode()
        if not SHORTEST_QUERY <= len(query.split()) <= LONGEST_QUERY:
            continue
        passage = without_docstrings(node, lines)
        if sum(bool(line.strip()) for line in passage.split("\n")) >= SHORTEST_PASSAGE:
            yield Pair(query, passage, file)


def _is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(
        (isinstance(decorator, ast.Name) and decorator.id == "overload")
        or (isinstance(decorator, ast.Attribute) and decorator.attr == "overload")
        for decorator in node.decorator_list
    )


_ROLE = re.compile(r":[\w:+.-]+:`~?!?([^`<]*?)(?:\s*<[^`>]*>)?`")
# a full stop ends the sentence unless an abbreviation, an initial or a small letter says otherwise
_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bvs)(?<!\bcf)(?<!\b[A-Za-z])[.!?](?=\s+[^a-z\s]|\s*$)")
# a signature, an equation or a bullet instead of a sentence
_LIKE_CODE = re.compile(r"""[\w.]+\(.*\)\s*(->|:|--|-|<|=|$)|[^\w'"]|.*(<==>|\s=\s)""")


def first_sentence(docstring: str) -> str:
    """The first sentence of a docstring, without markup; empty when it is not a sentence.

    Docstrings that begin with a signature, a doctest or a field list describe nothing in words.
    """
    paragraph = re.split(r"\n\s*\n", docstring.strip(), maxsplit=1)[0]
    lines = []
    for line in paragraph.split("\n"):
        if line.lstrip().startswith((">>>", ":param", ":return", ":rtype", "@param", "@return", "----", "====")):
            break
        lines.append(line.strip())
    text = _ROLE.sub(r"\1", " ".join(lines)).replace("``", "").replace("`", "")
    text = " ".join(text.split())
    if end := _END.search(text):
        text = text[: end.end()]
    letters = sum(character.isalpha() or character.isspace() for character in text)
    return "" if _LIKE_CODE.match(text) or letters < 0.7 * len(text) else text


def without_docstrings(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[bytes]) -> str:
    """Source of a function from its first decorator on, dedented, without its docstring and those inside it.

    Args:
        node: the function.
        lines: the file's lines in UTF-8, because columns of syntax trees count bytes.
    """
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    cut = list(lines[first - 1 : node.end_lineno])
    cut[-1] = cut[-1][: node.end_col_offset]
    for inner in ast.walk(node):
        if (
            isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and ast.get_docstring(inner) is not None
        ):
            _blank(cut, inner.body[0], first, alone=len(inner.body) == 1)
    indent = len(cut[0]) - len(cut[0].lstrip())
    remaining = [line[indent:] if not line[:indent].strip() else line.lstrip() for line in cut if line is not _GONE]
    return "\n".join(line.decode() for line in remaining).rstrip()


_GONE = b"\0gone"


def _blank(cut: list[bytes], docstring: ast.stmt, first: int, *, alone: bool) -> None:
    """Take a docstring out of the lines; ``...`` stands in for it where it is the whole body."""
    start, end = docstring.lineno - first, (docstring.end_lineno or docstring.lineno) - first
    before, after = cut[start][: docstring.col_offset], cut[end][docstring.end_col_offset :]
    if before.strip() or alone or after.strip(b" \t;"):
        cut[start] = (before + (b"..." if alone else after.lstrip(b" \t;"))).rstrip()
        start += 1
    for index in range(start, end + 1):
        cut[index] = _GONE


def python_version() -> str:
    """Version of the interpreter, on which the standard library and the parser depend."""
    return ".".join(map(str, sys.version_info[:3]))


FORMAT = DataFormat("Python source", "python-source:stdlib|PACKAGE|FOLDER", read, find=find)
