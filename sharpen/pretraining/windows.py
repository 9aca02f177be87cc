"""Passages as windows of token ids that a model can take: long ones are cut, short ones may be packed.

No token of a passage is lost. Windows are written into an Arrow file, which all processes of a machine map.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value

from sharpen.models.tokenizing import special_tokens
from sharpen.pretraining.masks import CONTINUATION, SPECIAL, WORD
from sharpen.progress import progress, without_bars
from sharpen.training.data.ragged_array import RaggedArray

_SLICE = 2_000
_FILE, _COUNTS = "windows.arrow", "counts.json"

Window = tuple[np.ndarray, np.ndarray]
"""Token ids (int32) and what each is (`masks`), special ones included."""


@dataclass
class Counts:
    """What the windows were made of.

    Attributes:
        passages: with at least one token, no two of the same text.
        repeated_passages, empty_passages: left out.
        cut_passages: longer than a window.
        windows: of all passages.
        tokens: of all windows, special ones not counted.
        window_length: most tokens of a window, special ones included.
    """

    passages: int = 0
    repeated_passages: int = 0
    empty_passages: int = 0
    cut_passages: int = 0
    windows: int = 0
    tokens: int = 0
    window_length: int = 0


class Windows:
    """The windows of a corpus, by number.

    Args:
        folder: what `write_windows` wrote.
    """

    def __init__(self, folder: Path) -> None:
        table = Dataset.from_file(str(folder / _FILE))
        self.ids, self.kinds = RaggedArray.of_column(table, "ids"), RaggedArray.of_column(table, "kinds")
        self.counts = Counts(**json.loads((folder / _COUNTS).read_text(encoding="utf-8")))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> Window:
        return self.ids[number], self.kinds[number]


def write_windows(texts: Dataset, tokenizer: Any, length: int, pack: bool, repeated: int, folder: Path) -> None:
    """Tokenise passages and cut them into windows, into files of an existing folder.

    Args:
        texts: a column ``text``.
        tokenizer: a fast one, which knows where words begin.
        length: tokens of a window, special ones included.
        pack: put short passages together; those of `_SLICE` passages, in their order.
        repeated: passages that were left out before.
        folder: where to.
    """
    counts = Counts(repeated_passages=repeated, window_length=length)
    cutter = WindowCutter(tokenizer, length)
    with without_bars(), progress("Tokenising passages", len(texts), "texts") as reporter:

        def windows_of(rows: dict[str, list[str]]) -> dict[str, list[np.ndarray]]:
            made = list(cutter.windows(rows["text"], pack, counts))
            reporter.advance(len(rows["text"]))
            return {"ids": [ids for ids, _ in made], "kinds": [kinds for _, kinds in made]}

        texts.map(
            windows_of,
            batched=True,
            batch_size=_SLICE,
            remove_columns=texts.column_names,
            features=Features({"ids": List(Value("int32")), "kinds": List(Value("int8"))}),
            cache_file_name=str(folder / _FILE),
            load_from_cache_file=False,
            new_fingerprint="windows",  # given, or the library would make one from the pickled tokenizer
        )
    (folder / _COUNTS).write_text(json.dumps(asdict(counts)), encoding="utf-8")


class WindowCutter:
    """Texts -> windows.

    Args:
        tokenizer: a fast one.
        length: tokens of a window, special ones included.
    """

    def __init__(self, tokenizer: Any, length: int) -> None:
        self.tokenizer = tokenizer
        self.before, self.after = special_tokens(tokenizer)
        self.room = length - len(self.before) - len(self.after)

    def windows(self, texts: Sequence[str], pack: bool, counts: Counts) -> Iterator[Window]:
        """The windows of some texts, in their order, short ones put together (`pack`); `counts` are raised."""
        waiting: list[Window] = []
        for piece in self._pieces(texts, counts):
            # packed texts stand apart by the token that ends a text
            taken = sum(len(ids) + len(self.after[:1]) for ids, _ in waiting)
            if waiting and (not pack or taken + len(piece[0]) > self.room):
                yield self._window(waiting, counts)
                waiting = []
            waiting.append(piece)
        if waiting:
            yield self._window(waiting, counts)

    def _pieces(self, texts: Sequence[str], counts: Counts) -> Iterator[Window]:
        encoded = self.tokenizer(
            list(texts), add_special_tokens=False, truncation=False, return_attention_mask=False, verbose=False
        )
        for row, ids in enumerate(encoded["input_ids"]):
            if not ids:
                counts.empty_passages += 1
                continue
            counts.passages += 1
            counts.cut_passages += len(ids) > self.room
            whole, kinds = np.array(ids, dtype=np.int32), word_starts(encoded.word_ids(row))
            for start, end in cuts(kinds, self.room):
                piece = kinds[start:end].copy()
                piece[0] = WORD
                yield whole[start:end], piece

    def _window(self, pieces: Iterable[Window], counts: Counts) -> Window:
        ids, kinds = [np.array(self.before, dtype=np.int32)], [np.full(len(self.before), SPECIAL, dtype=np.int8)]
        for number, (piece, kind) in enumerate(pieces):
            if number and self.after:
                ids.append(np.array(self.after[:1], dtype=np.int32))
                kinds.append(np.full(1, SPECIAL, dtype=np.int8))
            ids.append(piece)
            kinds.append(kind)
            counts.tokens += len(piece)
        ids.append(np.array(self.after, dtype=np.int32))
        kinds.append(np.full(len(self.after), SPECIAL, dtype=np.int8))
        counts.windows += 1
        return np.concatenate(ids), np.concatenate(kinds)


def word_starts(words: Sequence[int | None]) -> np.ndarray:
    """WORD for the first token of each word and CONTINUATION for its others (int8), from a tokenizer's word numbers."""
    numbers = np.array([-1 if word is None else word for word in words])
    first = np.ones(len(numbers), dtype=bool)
    first[1:] = (numbers[1:] != numbers[:-1]) | (numbers[1:] < 0)
    return np.where(first, WORD, CONTINUATION).astype(np.int8)


def cuts(kinds: np.ndarray, room: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the pieces of a text, each of at most `room` tokens, of like lengths and cut before a word.

    Args:
        kinds: (n) WORD or CONTINUATION of each token.
        room: most tokens of a piece; a longer word is cut.
    """
    start = 0
    while start < len(kinds):
        left = len(kinds) - start
        end = aimed = start + -(-left // -(-left // room))
        while end < len(kinds) and end > start and kinds[end] == CONTINUATION:
            end -= 1
        end = end if end > start else aimed
        yield start, end
        start = end
