"""What is masked: tokens of the encoder's input, and for each token what the decoder may see.

Every draw depends on nothing but the generator that is given.
"""

from __future__ import annotations

import numpy as np

# What a token of a window is.
SPECIAL, WORD, CONTINUATION = 0, 1, 2


def masked_positions(kinds: np.ndarray, share: float, whole_word: bool, rng: np.random.Generator) -> np.ndarray:
    """Which tokens are masked (L, bool): at least one, never a special one.

    As in BERT's code, the number is round(share x tokens). Whole words come in random order, and one that would exceed
    the number is passed over.

    Args:
        kinds: (L) SPECIAL, WORD (first token of a word) or CONTINUATION.
        share: of the tokens that are not special.
        whole_word: words are masked whole.
        rng: of the draw.
    """
    ordinary = np.flatnonzero(kinds != SPECIAL)
    wanted = max(1, round(share * len(ordinary)))
    masked = np.zeros(len(kinds), dtype=bool)
    if not whole_word:
        masked[rng.permutation(ordinary)[:wanted]] = True
        return masked
    words = np.split(ordinary, np.flatnonzero(kinds[ordinary] == WORD)[1:])
    number = 0
    for word in rng.permutation(len(words)):
        if number and number + len(words[word]) > wanted:
            continue
        masked[words[word]] = True
        number += len(words[word])
        if number >= wanted:
            break
    return masked


def corrupted(
    ids: np.ndarray, masked: np.ndarray, mask_id: int, ordinary: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The ids (L) with masked tokens replaced as in BERT: 80 % by the mask, 10 % by a random token, 10 % by none.

    Args:
        ids: (L) of the text.
        masked: (L) which tokens are.
        mask_id: of the mask token.
        ordinary: ids to draw random tokens from.
        rng: of the draw.
    """
    positions = np.flatnonzero(masked)
    drawn, others = rng.random(len(positions)), rng.choice(ordinary, size=len(positions))
    replaced = ids.copy()
    replaced[positions] = np.where(drawn < 0.8, mask_id, np.where(drawn < 0.9, others, ids[positions]))
    return replaced


def unseen_words(kinds: np.ndarray, share: float, whole_word: bool, rng: np.random.Generator) -> np.ndarray:
    """Which tokens are drawn as not seen (L, L, bool) by each token; each row is a draw of its own, special ones never.

    Arguments as for `masked_positions`; `share` is the chance of each token or whole word.
    """
    units = (kinds == WORD) if whole_word else (kinds != SPECIAL)
    unit_of = np.maximum(np.cumsum(units) - 1, 0)
    drawn = rng.random((len(kinds), max(1, int(units.sum()))), dtype=np.float32) < share
    return drawn[:, unit_of] & (kinds != SPECIAL)


def visible_positions(kinds: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """What each token of the decoder attends to (L, L, bool): RetroMAE's position-specific mask, equation 7.

    Row i, which restores token i, sees column j unless j = i or j is not in its draw. Position 0, where the sentence
    embedding stands, is seen by every other row, and special tokens are. Row 0 restores nothing; it sees all the
    others, since a softmax needs something to see.

    Args:
        kinds: (L) as for `masked_positions`.
        unseen: (L, L) as `unseen_words` gives it.
    """
    visible = ~unseen | (kinds == SPECIAL)
    visible[:, 0] = True
    visible[0, :] = True
    np.fill_diagonal(visible, False)
    return visible
