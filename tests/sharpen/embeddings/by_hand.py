"""Windows of passages, tokenised, encoded and combined by hand: the slow reference."""

from __future__ import annotations

import numpy as np
import torch

from sharpen.models.encoder import Encoder

# each is one token of the tiny model
WORDS = "river tree moon milk winter train doctor yellow number sugar sea road door cat sun hand".split()


def words(count: int, seed: int) -> str:
    """A text of so many tokens."""
    return " ".join(np.random.default_rng(seed).choice(WORDS, count).tolist())


def token_windows(encoder: Encoder, title: str, text: str) -> list[list[int]]:
    """The token ids of each window of a passage whose words are tokens, special tokens included."""

    def ids(part: str) -> list[int]:
        return encoder.tokenizer(part, add_special_tokens=False)["input_ids"]

    prompt, head, body = ids(encoder.prompts["passage"]), ids(title), ids(text)
    room = encoder.max_lengths["passage"] - 2 - len(prompt)
    overlap, tokens = encoder.settings.window_overlap, head + body
    found, end = [prompt + tokens[:room]], room
    room -= len(head)
    while end < len(tokens):
        start = min(end - overlap, len(tokens) - room)
        end = start + room
        found.append(prompt + head + tokens[start:end])
    first, last = encoder.tokenizer.cls_token_id, encoder.tokenizer.sep_token_id
    return [[first, *one, last] for one in found]


def window_vectors(encoder: Encoder, title: str, text: str) -> np.ndarray:
    """The vector (w, d) of each window, encoded alone."""
    with torch.inference_mode():
        return np.concatenate([encoder(**encoder.pad([one])).numpy() for one in token_windows(encoder, title, text)])
