"""Pairs of a docstring's first sentence and the function without docstrings."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest

from sharpen.data.dataset import DataSet
from sharpen.data.readers import ReadReport, detect_inputs, read_input
from sharpen.data.readers.python.files import python_files, source_name
from sharpen.data.readers.python.source import decode, first_sentence, pairs_in
from sharpen.errors import InputError


def read_python(address: str, name: str, findings: ReadReport) -> DataSet:
    [item] = detect_inputs(address)
    return read_input(item, name, "train", findings)


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("Return the sum of two numbers.", "Return the sum of two numbers."),
        ("Return the sum. Then more.", "Return the sum."),
        ("Return the\n    sum of both\n\n    More text.", "Return the sum of both"),
        ("Use e.g. This one, i.e. That. Next.", "Use e.g. This one, i.e. That."),
        ("Compare with version 3.11 of it. Next.", "Compare with version 3.11 of it."),
        ("Is it there? Yes.", "Is it there?"),
        ("Call :meth:`~json.loads` on ``text`` and `more`.", "Call json.loads on text and more."),
        ("See :class:`the encoder <json.JSONEncoder>` for it.", "See the encoder for it."),
        ("Summary line\n:param x: a number", "Summary line"),
        ("Summary line\n>>> f(1)\n2", "Summary line"),
        (">>> f(1)\n2", ""),
        ("f(x) -> int: the value of it", ""),
        ("f(x)", ""),
        ("x = y + z in all of the cases", ""),
        ("* a bullet that says something", ""),
        ("0123456789 0123456789 01234 it", ""),
        ("", ""),
    ],
)
def test_first_sentence(docstring: str, sentence: str) -> None:
    assert first_sentence(docstring) == sentence


SOURCE = '''
import typing

class Thing:
    """A class docstring that is not used."""

    @property
    @cached(
        1)
    def näme(self):
        """Give the näme of this thing back.

        More that is not the query.
        """
        x = "ä"; y = """
not indented"""
        return x + y

    def one_line(self): "Do everything on one single line."; a = 1; return a

    async def outer(self):
        """Wait for the inner function to end."""
        class Inner:
            """An inner class of the function."""

        async def inner():
            "Do what the inner function does."
            await x
            return 1

        return await inner()

@typing.overload
def many(x: int) -> int:
    """Only say the type of this one."""
    a = 1
    return a

def short():
    """Far too short to be searched for."""
    return 1

def terse():
    """Too terse."""
    a = 1
    return a

def wordy():
    """%s"""
    a = 1
    return a
''' % ("word " * 41)

EXPECTED = {
    "Give the näme of this thing back.": '''@property
@cached(
    1)
def näme(self):
    x = "ä"; y = """
not indented"""
    return x + y''',
    "Wait for the inner function to end.": """async def outer(self):
    class Inner:
        ...

    async def inner():
        await x
        return 1

    return await inner()""",
    "Do what the inner function does.": """async def inner():
    await x
    return 1""",
}


def test_pairs_of_a_file() -> None:
    assert {pair.query: pair.passage for pair in pairs_in(SOURCE, "a.py")} == EXPECTED


def test_a_docstring_beside_other_statements() -> None:
    source = 'def f(a,\n      b): "Do everything on one single line."; c = a; return c + b\n# end\n'
    source += 'def g(\n    a,\n    b,\n): """Do nothing at all in here."""\n'
    found = [pair.passage for pair in pairs_in(source, "a.py")]
    assert found == ["def g(\n    a,\n    b,\n): ..."]
    for passage in found:
        ast.parse(passage)


def test_every_passage_of_the_standard_library_parses_and_holds_no_docstring() -> None:
    checked = 0
    for name, path in list(python_files("python-source:stdlib").items())[::5]:
        for pair in pairs_in(decode(path.read_bytes()), name):
            [function] = ast.parse(pair.passage).body
            assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            inside = [
                n for n in ast.walk(function) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            ]
            assert not any(ast.get_docstring(node) for node in inside), (name, pair.query)
            checked += 1
    assert checked > 300


def test_sources_in_other_encodings() -> None:
    assert "ä" in decode("# -*- coding: latin-1 -*-\r\nx = 'ä'\r".encode("latin-1"))
    assert decode(b"\xef\xbb\xbfx = 1\r\ny = 2") == "x = 1\ny = 2"
    with pytest.raises(SyntaxError):
        decode(b"x = '\xff'")


def package(root: Path) -> Path:
    def function(name: str, says: str, body: int) -> str:
        return textwrap.dedent(f'''
            def {name}():
                """{says}"""
                a = {body}
                return a
            ''')

    for name, text in {
        "a.py": function("a", "Return the first of all numbers.", 1) + function("b", "Say this in four places.", 1),
        "inner/b.py": function("b", "Say this in four places.", 2) + function("c", "Say this in two places.", 3),
        "inner/c.py": function("b", "Say this in four places.", 4) + function("c", "Say this in TWO places.", 5),
        "d.py": function("b", "Say this in four places.", 6) + function("a", "Return the first of all numbers.", 1),
        "bad.py": "x = 1\ndef broken(:\n",
        "tests/test_a.py": function("t", "Test what is not to be read.", 1),
        ".hidden/a.py": function("t", "Hide what is not to be read.", 1),
        "readme.txt": "no code",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_folder_of_code(tmp_path: Path) -> None:
    root = package(tmp_path / "my code")
    findings = ReadReport()
    address = f"python-source:{root}"
    data = read_python(address, "code", findings)
    texts = dict(data.queries.select("query_id", "text").rows())
    positives = {texts[query]: list(judged.values()) for query, judged in data.qrels_of("train").items()}
    assert positives == {"Return the first of all numbers.": [1], "Say this in TWO places.": [1, 1]}
    assert data.corpus.height == 3
    groups = dict(data.queries.select("text", "group").rows())
    assert groups == {"Return the first of all numbers.": "code/a.py", "Say this in TWO places.": "code/inner/b.py"}
    assert {group for _, group in findings.groups} == {"code/inner/b.py", "code/inner/c.py"}
    assert findings.notices == {
        f"{address}: function whose description fits more than 3": 4,
        f"{address}: pair repeated": 1,
    }
    [bad] = findings.bad_rows
    assert (bad.file, bad.line, bad.reason, bad.raw) == (str(root / "bad.py"), 2, "broken_python", "def broken(:")


def test_an_installed_package_is_found_by_its_import_name() -> None:
    names = list(python_files("python-source:click"))
    assert "core.py" in names and names == sorted(names)
    assert list(python_files("python-source:typing_extensions")) == ["typing_extensions.py"]
    inner = list(python_files("python-source:kfp.dsl"))
    assert "component_decorator.py" in inner


def test_the_standard_library() -> None:
    findings = ReadReport()
    data = read_python("python-source:stdlib", "python-stdlib", findings)
    assert data.queries.height > 3000 and data.corpus.height > 3000 and not findings.counts
    words = data.queries["text"].str.split(" ").list.len()
    assert words.is_between(4, 40).all()
    files = {group.removeprefix("python-stdlib/") for group in data.queries["group"]}
    assert "json/decoder.py" in files
    assert not any(part in ("test", "tests", "idlelib", "site-packages") for file in files for part in file.split("/"))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("python-source:", "name stdlib, an installed package or a folder"),
        ("python-source:no_such_package_here", "no package 'no_such_package_here' is installed"),
        ("python-source:./no/such/folder", "no such folder"),
        ("python-source:EMPTY", "no Python file there"),
        ("python-source:BARE", "no function with a first docstring sentence"),
        ("python-source:_thread", "no Python source"),
        ("python-source:click.nothing", "no Python source"),
    ],
)
def test_code_that_is_not_there(tmp_path: Path, address: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "a.py").write_text("x = 1\n")
    address = address.replace("EMPTY", str(tmp_path / "empty")).replace("BARE", str(tmp_path / "bare"))
    with pytest.raises(InputError, match=message):
        read_python(address, "x", ReadReport())


def test_names_of_python_sources(tmp_path: Path) -> None:
    assert source_name("python-source:stdlib") == "python-stdlib"
    assert source_name("python-source:click") == "click"
    assert source_name(f"python-source:{tmp_path}/") == tmp_path.name


@pytest.mark.parametrize(
    "source",
    [
        *(
            f"# coding: {codec}\n".encode()
            for codec in ("rot13", "hex", "zlib", "bz2", "undefined", "punycode", "mbcs")
        ),
        b"if a:\n    pass\n" + b"elif b:\n    pass\n" * 6000,
        b"x = " + b"-" * 6000 + b"1\n",
        b"x = " + b"1 + " * 100_000 + b"1\n",
        b"x = " + b"a." * 50_000 + b"b\n",
        b"# coding: unicode_escape\nx = '\\ud800'\n",
    ],
)
def test_a_file_that_no_parser_takes_is_one_bad_row(tmp_path: Path, source: bytes) -> None:
    (tmp_path / "bad.py").write_bytes(source)
    (tmp_path / "good.py").write_text(
        'def add(a, b):\n    """Add two numbers and return the sum."""\n    total = a + b\n    return total\n'
    )
    findings = ReadReport()
    data = read_python(f"python-source:{tmp_path}", "source", findings)
    assert findings.counts == {"broken_python": 1} and data.queries.height == 1
    [bad] = findings.bad_rows
    assert bad.detail and bad.file == f"{tmp_path}/bad.py"


def test_half_a_character_in_a_docstring_stays_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        'def f(a):\n    """Return the \\ud800 of a number."""\n    b = a\n    return b\n', encoding="utf-8"
    )
    data = read_python(f"python-source:{tmp_path}", "source", ReadReport())
    assert data.queries["text"].to_list() == ["Return the \\ud800 of a number."]
