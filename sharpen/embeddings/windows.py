"""Windows of tokens that overlap: how a passage that is longer than the encoder reads is divided.

The first window is the passage as it is cut without windows. Each further one is a text of its own, with the encoder's
prompt and special tokens as any text and with the passage's title before it, as in DPR (Karpukhin et al. 2020, arXiv
2004.04906): a part from the middle often does not say what it is about. Every token is in a window, the last window is
as full as the others, and borders lie between words where there is such a border near.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sharpen.errors import InputError
from sharpen.models.encoder import Encoder
from sharpen.progress import progress

# Passages whose tokens and characters are in memory together.
_AT_ONCE = 256
# A border moves by a sixteenth of a window to lie between words; a fourth must be new where the title stands before.
_MOVED, _NEW = 16, 4


@dataclass(frozen=True)
class Windows:
    """The windows after the first of the passages that are too long for one, passage by passage.

    Attributes:
        passages: (w,) row of the passage of each, ascending.
        texts: what is encoded for each: its title and a part of its text.
        spans: (w, 2) the characters of that part in the passage.
        cut: row of each passage that has them -> end of its first window in characters.
    """

    passages: np.ndarray
    texts: list[str]
    spans: np.ndarray
    cut: dict[int, int]


@dataclass(frozen=True)
class _Window:
    """The tokens start, ..., end - 1 of a passage, after a head."""

    passage: _Passage
    start: int
    end: int
    head: str

    @property
    def span(self) -> tuple[int, int]:
        """Its characters, without white space around them."""
        start, end = self.passage.offsets[self.start][0], self.passage.end_of(self.end)
        part = self.passage.text[start:end]
        return start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())

    @property
    def text(self) -> str:
        start, end = self.span
        return self.head + self.passage.text[start:end]

    def halves(self) -> list[_Window]:
        middle = (self.start + self.end) // 2
        return [replace(self, end=middle), replace(self, start=middle)] if self.end - self.start > 1 else [self]


@dataclass(frozen=True)
class _Passage:
    """A passage that is too long.

    Attributes:
        row: of the passage.
        text: with its title.
        title: characters of the title and the space after it.
        cut: tokens of the first window.
        offsets, words: characters of each token, and the number of the word that it is of.
    """

    row: int
    text: str
    title: int
    cut: int
    offsets: list[tuple[int, int]]
    words: list[int | None]

    def end_of(self, tokens: int) -> int:
        """The end of so many tokens in characters, with those after them that are in no token."""
        following = self.offsets[tokens][0] if tokens < len(self.offsets) else len(self.text)
        return max(self.offsets[tokens - 1][1], following)

    def border(self, tokens: Iterable[int], otherwise: int) -> int:
        """The first of the tokens that begins a word, or another one."""
        return next((token for token in tokens if self._begins_word(token)), otherwise)

    def _begins_word(self, token: int) -> bool:
        start = self.offsets[token][0]
        around = self.text[max(0, start - 1) : start + 1]
        return self.words[token] != self.words[token - 1] or any(character.isspace() for character in around)


def divide(encoder: Encoder, texts: Sequence[str], titles: Sequence[str] | None = None) -> Windows:
    """The windows after the first of all texts, by the encoder's longest passage and its ``window_overlap``.

    Args:
        encoder: the model.
        texts: passages, titles included.
        titles: the title with which each text begins, or an empty one; None: there are none.

    Raises:
        InputError: the tokenizer does not say which characters its tokens are, or cuts texts at their beginning.
    """
    if not encoder.tokenizer.is_fast or encoder.tokenizer.truncation_side != "right":
        raise InputError(
            f"encoder.passage_windows: the tokenizer of {encoder.address or 'the model'} is a slow one or cuts texts "
            "at their beginning; set none, or take another model"
        )
    divider, found, cut = _Divider(encoder), [], {}
    with progress("Looking for long passages", len(texts), "passages") as reporter:
        for first in range(0, len(texts), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            windows, ends = divider.windows(texts[part], titles[part] if titles is not None else None, first)
            found += [(window.passage.row, window.text, window.span) for window in windows]
            cut |= ends
            reporter.advance(len(texts[part]))
    return Windows(
        np.array([row for row, _, _ in found], dtype=np.int64),
        [text for _, text, _ in found],
        np.array([span for _, _, span in found], dtype=np.int64).reshape(-1, 2),
        cut,
    )


class _Divider:
    """Divides passages for an encoder."""

    def __init__(self, encoder: Encoder) -> None:
        self.tokenizer, self.prompt = encoder.tokenizer, encoder.prompts["passage"]
        self.overlap = encoder.settings.window_overlap
        self.most = encoder.max_lengths["passage"] - self.tokenizer.num_special_tokens_to_add()
        self.room = self.most - len(self._encoded([""])[0])

    def windows(
        self, texts: Sequence[str], titles: Sequence[str] | None, first: int
    ) -> tuple[list[_Window], dict[int, int]]:
        """The windows of texts whose rows begin with `first`, and `Windows.cut` of them."""
        found, cut = [], {}
        for number, encoding in enumerate(self._encoded(texts)):
            if len(encoding) <= self.most:
                continue
            title = titles[number].strip() if titles is not None else ""
            passage = self._passage(first + number, texts[number], title, encoding)
            if further := [window for window in self._windows(passage) if window.span[0] < window.span[1]]:
                found += further
                cut[passage.row] = passage.end_of(passage.cut)
        return self._fitting(found), cut

    def _fitting(self, windows: list[_Window]) -> list[_Window]:
        """The windows, those divided again of which the tokenizer makes more tokens than it made of the passage."""
        while True:
            lengths = map(len, self._encoded([window.text for window in windows]))
            parts = [
                window.halves() if length > self.most else [window]
                for window, length in zip(windows, lengths, strict=True)
            ]
            divided = [window for part in parts for window in part]
            if len(divided) == len(windows):
                return windows
            windows = divided

    def _passage(self, row: int, text: str, title: str, encoding: Any) -> _Passage:
        before, spans, words = len(self.prompt), encoding.offsets, encoding.word_ids
        tokens = [n for n, (_, end) in enumerate(spans) if end > before]
        offsets = [(max(0, spans[n][0] - before), spans[n][1] - before) for n in tokens]
        titled = len(title) + 1 if title and text.startswith(f"{title} ") else 0
        cut = sum(n < self.most for n in tokens)
        return _Passage(row, text, titled, cut, offsets, [words[n] for n in tokens])

    def _windows(self, passage: _Passage) -> list[_Window]:
        total, moved = len(passage.offsets), self.room // _MOVED
        titled = sum(start < passage.title for start, _ in passage.offsets)
        repeated = self.room - titled - self.overlap >= max(1, self.room / _NEW)
        room = self.room - titled if repeated else self.room
        head = passage.text[: passage.title] if repeated else ""
        found, end = [], passage.cut
        while end < total:
            start = end - self.overlap
            if total - room <= start:
                start = passage.border(range(total - room, min(total - room + moved, start) + 1), total - room)
                end = total
            else:
                start = passage.border(range(start, start - moved - 1, -1), start)
                end = passage.border(range(start + room, start + room - moved - 1, -1), start + room)
            found.append(_Window(passage, start, end, head))
        return found

    def _encoded(self, texts: Sequence[str]) -> list[Any]:
        """The tokens of texts with the prompt, not cut and without special tokens."""
        if not texts:
            return []
        return self.tokenizer(
            [self.prompt + text for text in texts],
            add_special_tokens=False,
            truncation=False,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        ).encodings
