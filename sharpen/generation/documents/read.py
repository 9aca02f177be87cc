"""Everything that a user names as documents, as one table of passages."""

from __future__ import annotations

import importlib.util
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from sharpen.data.dataset import CORPUS
from sharpen.data.readers import read_corpus, split_addresses
from sharpen.data.readers.globs import expand
from sharpen.data.source_settings import HUB_SCHEMES
from sharpen.data.text import passage_texts, text_keys
from sharpen.errors import InputError
from sharpen.generation.documents.chunking import chunk
from sharpen.generation.documents.sections import FORMATS, UnreadableDocument, read_sections
from sharpen.generation.settings import GenerationSettings
from sharpen.progress import progress
from sharpen.store import storage
from sharpen.terminal import one_line

SHOWN_FAULTS = 5
PASSAGES = {**CORPUS, "document": pl.String}


@dataclass
class Passages:
    """What documents were made of.

    Attributes:
        table: passage_id, title, text, document (null: the passage is a document of its own), text_key; sorted by
            passage_id; texts differ.
        facts: how many documents of which suffix, unreadable ones, passages that were given, equal ones.
    """

    table: pl.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)


def read_passages(addresses: str, settings: GenerationSettings) -> Passages:
    """The passages of documents, of which long sections are cut, and of collections of passages, as they are.

    Args:
        addresses: files, folders or wildcards of documents; what `data.corpus` takes; comma-separated.
        settings: length and overlap of passages, and the share of unreadable documents.

    Raises:
        InputError: nothing there, too many unreadable documents, or no passage.
    """
    named = split_addresses(addresses)
    if not named:
        raise InputError("documents: no address given; name files, a folder or passages")
    documents: list[tuple[str, Path]] = []
    tables: list[pl.DataFrame] = []
    for address in named:
        found = _documents_at(address)
        if found:
            documents += found
        else:
            given = read_corpus(address).corpus.select(*CORPUS)
            tables.append(given.with_columns(document=pl.lit(None, dtype=pl.String)))
    _check_parsers([name for name, _ in documents])
    facts: dict[str, Any] = {"passages_given": sum(table.height for table in tables)}
    tables.append(_chunked(documents, settings, facts))
    table = pl.concat(tables)
    table = table.with_columns(text_keys(passage_texts(table)))
    unique = table.unique("text_key", keep="first", maintain_order=True).unique("passage_id", keep="first")
    facts["equal_passages"] = table.height - unique.height
    if unique.is_empty():
        raise InputError(f"documents: {addresses} holds no passage")
    return Passages(unique.sort("passage_id"), facts)


def _documents_at(address: str) -> list[tuple[str, Path]]:
    """(name, local file) of the documents at an address; none where it holds passages."""
    if address.startswith((*HUB_SCHEMES, "python-source:")) or storage.is_complete(address):
        return []
    found: list[tuple[str, Path]] = []
    for one in expand(address):
        path = storage.localize(one)
        if path.is_file():
            if PurePosixPath(one.partition("?")[0]).suffix.lower() in FORMATS:
                found.append((PurePosixPath(one.partition("?")[0]).name, path))
        elif not any((path / name).exists() for name in ("corpus.jsonl", "corpus.jsonl.gz")):
            files = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix.lower() in FORMATS)
            found += [(file.relative_to(path).as_posix(), file) for file in files if not _is_private(file, path)]
    return found


def _is_private(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _check_parsers(names: list[str]) -> None:
    needed = [name for name in names if name.lower().endswith(".pdf")]
    if needed and importlib.util.find_spec("pypdf") is None:
        raise InputError(f"{needed[0]}: PDF files need a parser; pip install 'sharpen[pdf]'")


def _numbers(count: int) -> list[str]:
    """1, ..., count, of equal width, so that ids are sorted as the document is."""
    return [f"{number:0{len(str(count))}}" for number in range(1, count + 1)]


def _chunked(documents: list[tuple[str, Path]], settings: GenerationSettings, facts: dict[str, Any]) -> pl.DataFrame:
    rows: list[tuple[str, str, str, str]] = []
    faults: list[str] = []
    repeated: Counter[str] = Counter()
    with progress("reading documents", len(documents), "documents") as reporter:
        for name, path in documents:
            repeated[name] += 1
            document = name if repeated[name] == 1 else f"{name} ({repeated[name]})"
            try:
                sections = read_sections(name, path.read_bytes())
            except (UnreadableDocument, OSError) as error:
                faults.append(one_line(f"documents: {name}: {error}", 300))
            else:
                cut = [
                    (section.title, text)
                    for section in sections
                    for text in chunk(section.text, settings.chunk_characters, settings.chunk_overlap)
                ]
                ids = [document] if len(cut) == 1 else [f"{document}#{one}" for one in _numbers(len(cut))]
                rows += [(one, title, text, document) for one, (title, text) in zip(ids, cut, strict=True)]
            reporter.advance()
    if len(faults) > max(1, settings.max_bad_documents * len(documents)) or (faults and not rows):
        more = len(faults) - SHOWN_FAULTS
        raise InputError(
            [
                *faults[:SHOWN_FAULTS],
                *([f"documents: {more:,} more cannot be read"] if more > 0 else []),
                f"documents: {len(faults):,} of {len(documents):,} cannot be read, more than max_bad_documents; repair "
                "or remove them",
            ]
        )
    suffixes = Counter(PurePosixPath(name).suffix.lower() for name, _ in documents)
    facts |= {"documents": len(documents), "formats": dict(sorted(suffixes.items())), "unreadable": faults}
    return pl.DataFrame(rows, schema=PASSAGES, orient="row")
