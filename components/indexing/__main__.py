"""`python -m components.indexing`: index a corpus; with `search` in front, ask an index."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from components.command_line import main, step_command
from sharpen.errors import InputError
from sharpen.index.settings import IndexAddresses, IndexSettings, SearchAddresses, SearchSettings
from sharpen.settings import EncoderSettings
from sharpen.terminal import plain_console, printable

if TYPE_CHECKING:
    from sharpen.index.search import Answer

SNIPPET = 160


def _index(addresses: IndexAddresses, settings: IndexSettings, encoder: EncoderSettings) -> None:
    from sharpen.index.build import index

    index(addresses.data, addresses.model, addresses.output, settings, encoder)


def _search(addresses: SearchAddresses, settings: SearchSettings) -> None:
    started = time.monotonic()
    from sharpen.index.search import OpenIndex

    opened = OpenIndex(addresses.index, addresses.model, settings.prompt)
    if opened.note:
        print(f"note: {opened.note}", file=sys.stderr)
    if not settings.json_output:
        print(f"{opened.manifest.passages:,} passages, ready in {time.monotonic() - started:.1f} s", file=sys.stderr)
    if not addresses.text and sys.stdin.isatty():
        print("one query a line; Ctrl-D ends", file=sys.stderr)
    for text in [addresses.text] if addresses.text else _queries(sys.stdin.buffer):
        show(opened.ask(text, settings.top), as_json=settings.json_output)


def show(answer: Answer, *, as_json: bool) -> None:
    """Print the hits of one query: a table, or one line of JSON."""
    if as_json:
        print(json.dumps(answer.as_values(), ensure_ascii=False), flush=True)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2), show_header=True)
    table.add_column("", justify="right")
    table.add_column("score", justify="right")
    table.add_column("passage", overflow="fold", max_width=32)
    table.add_column("title and text", overflow="ellipsis")
    for hit in answer.hits:
        line = " ".join(f"{hit.title or ''} {hit.text or ''}".split())
        snippet = line if len(line) <= SNIPPET else line[: SNIPPET - 1].rstrip() + "…"
        table.add_row(str(hit.rank), f"{hit.score:.4f}", printable(hit.passage_id), printable(snippet))
    console = plain_console()
    console.print(table)
    console.print(f"{len(answer.hits)} passages in {answer.seconds:.2f} s")


def _queries(lines: Iterable[bytes]) -> Iterator[str]:
    """The queries of standard input, one a line that is not blank. Raises InputError: a line is not UTF-8."""
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise InputError(
                f"standard input, line {number}: not UTF-8 text (byte {error.start + 1}); convert it, or set the "
                "terminal to UTF-8"
            ) from None
        if text:
            yield text


def command(arguments: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the arguments ask for, and what is left of them."""
    if arguments[:1] == ["search"]:
        summary = "Find the passages of an index that answer a query."
        return step_command("indexing search", summary, [SearchAddresses, SearchSettings], _search), arguments[1:]
    summary = (
        "Encode a corpus and write an index: embeddings as Parquet files for a vector database, a FAISS file, and a "
        "manifest that says how to ask it. 'search' as first word asks an index."
    )
    return step_command("indexing", summary, [IndexAddresses, IndexSettings, EncoderSettings], _index), arguments


if __name__ == "__main__":
    main(*command(sys.argv[1:]))
