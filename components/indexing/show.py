"""What indexing and a search print."""

from __future__ import annotations

import json

from rich.table import Table

from sharpen.index import manifest
from sharpen.index.search import Answer
from sharpen.progress import clock
from sharpen.store import storage
from sharpen.terminal import plain_console, printable

_SNIPPET = 160


def show_index(output: str) -> None:
    """Print a summary of a finished index."""
    marker = storage.read_manifest(output)
    for line in summary(storage.read_json(storage.join(output, manifest.NAME)), marker.facts["seconds"]["total"]):
        print(line)
    size = sum(file["size"] for file in marker.files)
    print(f"index  {output} ({size / 1e6:,.1f} MB)", flush=True)


def summary(made: dict, seconds: float) -> list[str]:
    """The manifest in a few lines."""
    stored, quality = made["embeddings"], made["quality"]
    lines = [
        f"{made['passages']:,} passages in {clock(seconds)}: {stored['dimension']} dimensions as "
        f"{stored['precision']}, search {made['faiss']['factory']}"
    ]
    if quality:
        shares = ", ".join(f"{name} {share:.3f}" for name, share in quality["exhaustive"].items())
        lines.append(
            f"recall@{quality['k']} of {quality['queries']:,} {quality['asked']}: {quality['searched']:.3f} as it is "
            f"searched ({shares})"
        )
    return lines


def show_answer(answer: Answer, as_json: bool) -> None:
    """Print the hits of one query: a table, or one line of JSON."""
    if as_json:
        print(json.dumps(answer.as_values(), ensure_ascii=False), flush=True)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2), show_header=True)
    table.add_column("", justify="right")
    table.add_column("score", justify="right")
    table.add_column("passage", overflow="fold", max_width=32)
    table.add_column("title and text", overflow="ellipsis")
    for hit in answer.hits:
        table.add_row(
            str(hit.rank), f"{hit.score:.4f}", printable(hit.passage_id), printable(snippet(hit.title, hit.text))
        )
    console = plain_console()
    console.print(table)
    console.print(f"{len(answer.hits)} passages in {answer.seconds:.2f} s")


def snippet(title: str | None, text: str | None) -> str:
    """Title and the beginning of the text in one line; empty where the index holds neither."""
    line = " ".join(f"{title or ''} {text or ''}".split())
    return line if len(line) <= _SNIPPET else line[: _SNIPPET - 1].rstrip() + "…"
