"""Reading a YAML file that people wrote: whatever it holds, faults are one line with the place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from sharpen.errors import InputError
from sharpen.terminal import one_line

LARGEST_FILE = 2**20
# aliases make ten lines stand for billions of values
MOST_VALUES = 100_000
DEEPEST = 50
# a float's range; whole numbers beyond some 14,000 bits cannot be written down again
LARGEST_BITS = 1024


class _Loader(yaml.SafeLoader):
    """Plain values only; a value that its tag or form does not fit has a place."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > DEEPEST:
            mark = self.peek_event().start_mark
            raise ComposerError(problem=f"nested deeper than {DEEPEST} levels", problem_mark=mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, int) and value.bit_length() > LARGEST_BITS:
                raise ValueError
            return value
        except (ValueError, KeyError, IndexError, AttributeError, TypeError, OverflowError):
            kind = node.tag.rpartition(":")[2]
            raise ConstructorError(
                problem=f"{one_line(str(node.value), 40)!r} is no {kind}", problem_mark=node.start_mark
            ) from None


def read_yaml(path: Path, what: str = "configuration file") -> dict[str, Any]:
    """The mapping that a YAML file holds; empty for an empty file.

    Args:
        path: of the file.
        what: what it is called in the message when it is not there.

    Raises:
        InputError: it cannot be read, is no YAML, holds something else, or holds more than settings can be: over
            1 MiB, 100,000 values with aliases resolved, or 50 levels.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: cannot be read: it is a folder or a pipe, not a file")
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise InputError(f"{path}: is larger than 1 MiB; this cannot be a {what}")
        values = _values(data.decode("utf-8-sig"), path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such {what}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        said = [getattr(error, name, None) for name in ("context", "problem")]
        problem = ", ".join(part for part in said if part) or str(error)
        raise InputError(f"{path}{where}: not valid YAML: {one_line(problem)}") from None
    except RecursionError:
        raise InputError(f"{path}: nested deeper than {DEEPEST} levels") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: must hold settings as name: value, not a {type(values).__name__}")
    return values


def _values(text: str, path: Path) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, path, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count(node: yaml.Node, path: Path, counted: dict[int, int | None]) -> int:
    """How many values a node stands for; each anchor is walked once. Raises InputError: too many, or a name twice."""
    where = f"{path}:{node.start_mark.line + 1}"
    if id(node) in counted:
        found = counted[id(node)]
        if found is None:
            raise InputError(f"{where}: the anchor holds itself")
        return found
    counted[id(node)] = None
    total = 1
    if isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in names:
                line = key.start_mark.line + 1
                raise InputError(f"{path}:{line}: {one_line(key.value, 80)} stands twice; keep one")
            names.add(key.value if isinstance(key, yaml.ScalarNode) else "")
            total += _count(key, path, counted) + _count(value, path, counted)
    elif isinstance(node, yaml.SequenceNode):
        total += sum(_count(value, path, counted) for value in node.value)
    if total > MOST_VALUES:
        raise InputError(
            f"{where}: stands for more than {MOST_VALUES:,} values, aliases resolved; write it out shorter"
        )
    counted[id(node)] = total
    return total
