"""Token ids of the training queries and texts: made once, ahead of the training, and read by number.

They are written into Arrow files, which all processes of a machine map into memory. Only texts whose words are
shuffled are tokenised while training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value

from sharpen.data.text_type import TextType
from sharpen.models import tokenizing
from sharpen.models.encoder import Encoder
from sharpen.progress import progress, without_bars
from sharpen.training.data.examples import Examples
from sharpen.training.data.ragged_array import RaggedArray

_SLICE = 2_000


class Tokens:
    """Token ids, ready to be encoded.

    Args:
        examples: what is numbered.
        encoder: gives tokenizer, prompts and lengths.
        folder: where `write_tokens` wrote for the same examples and encoder; None: tokenise now, in memory.
    """

    def __init__(self, examples: Examples, encoder: Encoder, folder: Path | None = None) -> None:
        self.examples, self.encoder = examples, encoder
        tables = [
            tokenised(examples, encoder, kind) if folder is None else Dataset.from_file(str(_file(folder, kind)))
            for kind in ("query", "passage")
        ]
        self._queries, self._passages = (RaggedArray.of_column(table, "ids") for table in tables)

    def queries(self, numbers: Iterable[int]) -> list[np.ndarray]:
        """Token ids of these queries (rows of `Examples.queries`)."""
        return [self._queries[number] for number in numbers]

    def passages(self, numbers: Iterable[int]) -> list[np.ndarray]:
        """Token ids of these texts (rows of `Examples.texts`)."""
        return [self._passages[number] for number in numbers]

    def tokenize(self, passages: Sequence[str]) -> list[np.ndarray]:
        """Token ids of passage texts that are not those of the examples."""
        return [np.array(ids, dtype=np.int32) for ids in self.encoder.tokenize(passages, "passage")]


def write_tokens(examples: Examples, encoder: Encoder, folder: Path) -> None:
    """Tokenise all queries and texts of `examples` by the `encoder` into files in an existing folder."""
    for kind in ("query", "passage"):
        tokenised(examples, encoder, kind, _file(folder, kind))


def tokenised(examples: Examples, encoder: Encoder, kind: TextType, file: Path | None = None) -> Dataset:
    """A table with one column, ids (int32): the token ids of every query or text.

    Args:
        examples: what is numbered.
        encoder: gives tokenizer, prompts and lengths.
        kind: queries or passages.
        file: Arrow file to write; None: the table is in memory.
    """
    table, what = (examples.query_table, "queries") if kind == "query" else (examples.text_table, "passages")
    with without_bars(), progress(f"Tokenising {what}", len(table), "texts") as reporter:

        def ids_of(rows: dict[str, list[str]]) -> dict[str, Any]:
            ids = _ids_of(rows, encoder, kind)
            reporter.advance(len(ids))
            return {"ids": ids}

        return table.map(
            ids_of,
            batched=True,
            batch_size=_SLICE,
            remove_columns=table.column_names,
            features=Features({"ids": List(Value("int32"))}),
            cache_file_name=None if file is None else str(file),
            keep_in_memory=file is None,
            load_from_cache_file=False,
            # Given, or the library would make one from the pickled tokenizer.
            new_fingerprint=f"{kind}-ids",
        )


def _ids_of(rows: dict[str, list[Any]], encoder: Encoder, kind: TextType) -> list[list[int]]:
    """Token ids of rows; both sides of a symmetric task are passages without a prompt."""
    symmetric = rows["symmetric"]
    if not any(symmetric):
        return encoder.tokenize(rows["text"], kind, rows.get("instruction"))
    found: list[list[int]] = [[]] * len(symmetric)
    for alike in (False, True):
        chosen = [number for number, value in enumerate(symmetric) if value == alike]
        texts = [rows["text"][number] for number in chosen]
        if alike:
            ids = encoder.tokenize(texts, "passage", prompt="")
        else:
            given = rows.get("instruction")
            ids = encoder.tokenize(texts, kind, [given[number] for number in chosen] if given else None)
        for number, one in zip(chosen, ids, strict=True):
            found[number] = one
    return found


def tokenizer_facts(encoder: Encoder) -> dict[str, Any]:
    """What decides the token ids of a text, besides the code: equal facts, equal ids."""
    return {
        "tokenizer": tokenizing.content_hash(encoder.tokenizer),
        "tokenizers": metadata.version("tokenizers"),
        "prompts": dict(encoder.prompts),
        "format": encoder.settings.query_instruction_format,
        "lengths": dict(encoder.max_lengths),
    }


def _file(folder: Path, kind: str) -> Path:
    return folder / f"{kind}-ids.arrow"
