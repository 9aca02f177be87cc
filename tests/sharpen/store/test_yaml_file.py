"""YAML files that people wrote: what is read, and that every fault is one line with its place."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sharpen.errors import InputError
from sharpen.store.yaml_file import read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)


def test_anchors_and_merge_keys_are_resolved(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("base: &base {temperature: 0.05}\ntraining:\n  <<: *base\n  seed: 1\nlist: [*base, 2026-01-01]\n")
    values = read_yaml(path)
    assert values["training"] == {"temperature": 0.05, "seed": 1}
    assert values["list"][0] == {"temperature": 0.05} and str(values["list"][1]) == "2026-01-01"
    path.write_text("# nothing but a comment\n")
    assert read_yaml(path) == {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (BOMB, r":\d+: stands for more than 100,000 values, aliases resolved"),
        ("a: &a [1, *a]\n", ":1: the anchor holds itself"),
        ("a: 1\nb: " + "[" * 60 + "]" * 60, ":2: not valid YAML: nested deeper than 50 levels"),
        ("a: " + "[" * 20_000, "nested deeper than 50 levels"),
        ("a:\n  b: 2021-13-45\n", ":2: not valid YAML: '2021-13-45' is no timestamp"),
        ("a: !!int abc\n", ":1: not valid YAML: 'abc' is no int"),
        ("a: !!float abc\n", "is no float"),
        ("a: !!bool abc\n", "is no bool"),
        ("a: !!int ''\n", "is no int"),
        ("a: !!timestamp abc\n", "is no timestamp"),
        ("a: " + "9" * 5000, "is no int"),
        ("a: 0x" + "f" * 5000, "is no int"),
        ("a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor for the tag"),
        ("a: !unknown 1\n", "could not determine a constructor for the tag"),
        ("? [a, b]\n: 1\n", "found unhashable key"),
        ("a: 1\nb: 2\na: 3\n", ":3: a stands twice; keep one"),
        ("a: {b: 1, b: 2}\n", ":1: b stands twice"),
        ("a: *unknown\n", "found undefined alias"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
        ("- a\n", "must hold settings as name: value, not a list"),
        ("a: \x00\n", "special characters are not allowed"),
        ("a: '" + "x" * 2**20 + "'\n", "is larger than 1 MiB"),
    ],
)
def test_a_fault_is_one_line(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    started = time.monotonic()
    with pytest.raises(InputError, match=fault) as caught:
        read_yaml(path)
    [line] = caught.value.faults
    assert line.startswith(str(path)) and "\n" not in line and len(line) < 400
    assert time.monotonic() - started < 10


def test_what_is_no_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: caf\xe9\n")
    os.mkfifo(tmp_path / "pipe.yaml")
    for path, fault in (
        (tmp_path / "latin.yaml", "not UTF-8 text"),
        (tmp_path / "pipe.yaml", "a folder or a pipe"),
        (tmp_path, "a folder or a pipe"),
        (tmp_path / ("x" * 300), "cannot be read .File name too long"),
        (tmp_path / "none.yaml", "no such configuration file"),
    ):
        with pytest.raises(InputError, match=fault) as caught:
            read_yaml(path)
        assert len(caught.value.faults) == 1
