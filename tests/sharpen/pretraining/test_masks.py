"""What is masked: against the definition position by position, rates by statistics, draws by their seed."""

from __future__ import annotations

import numpy as np
import pytest

from sharpen.pretraining.masks import (
    CONTINUATION,
    SPECIAL,
    WORD,
    corrupted,
    masked_positions,
    unseen_words,
    visible_positions,
)

# [CLS] a long-er word and a separator in between [SEP]
KINDS = np.array([SPECIAL, WORD, WORD, CONTINUATION, CONTINUATION, SPECIAL, WORD, WORD, CONTINUATION, SPECIAL])


def kinds_of(rng: np.random.Generator, size: int) -> np.ndarray:
    drawn = np.where(rng.random(size) < 0.35, CONTINUATION, WORD)
    drawn[0] = WORD
    return np.array([SPECIAL, *drawn, SPECIAL])


@pytest.mark.parametrize("seed", range(5))
def test_the_decoder_sees_what_the_definition_says(seed: int) -> None:
    """RetroMAE, equation 7: row i attends to j if x_j is in the context sampled for i, or j is 0 and i is not."""
    rng = np.random.default_rng(seed)
    kinds = kinds_of(rng, 40)
    hidden = unseen_words(kinds, 0.5, bool(seed % 2), rng)
    visible = visible_positions(kinds, hidden)
    for i in range(1, len(kinds)):
        for j in range(len(kinds)):
            in_context = j != i and (kinds[j] == SPECIAL or not hidden[i, j])
            assert visible[i, j] == (in_context or j == 0), (i, j)
        assert visible[i, 0] and not visible[i, i]
    assert not visible[0, 0] and visible[0].any()


def test_each_position_has_a_context_of_its_own() -> None:
    hidden = unseen_words(np.ones(60, dtype=int), 0.5, False, np.random.default_rng(1))
    assert len({row.tobytes() for row in hidden}) == 60


def test_rates() -> None:
    rng = np.random.default_rng(3)
    for whole_word in (False, True):
        encoder, decoder = [], []
        for _ in range(200):
            kinds = kinds_of(rng, 100)
            ordinary = kinds != SPECIAL
            encoder.append(masked_positions(kinds, 0.3, whole_word, rng)[ordinary].mean())
            decoder.append(unseen_words(kinds, 0.5, whole_word, rng)[:, ordinary].mean())
        assert np.mean(encoder) == pytest.approx(0.3, abs=0.005)
        # 200 texts x 100 rows x about 65 draws
        assert np.mean(decoder) == pytest.approx(0.5, abs=0.005)
        if not whole_word:
            assert set(encoder) == {0.3}


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_whole_words_or_none_and_never_a_special_token(share: float) -> None:
    words = [[1], [2, 3, 4], [6], [7, 8]]
    for seed in range(40):
        rng = np.random.default_rng(seed)
        masked = masked_positions(KINDS, share, True, rng)
        hidden = unseen_words(KINDS, share, True, rng)
        for row in (masked, *hidden):
            assert not row[KINDS == SPECIAL].any()
            assert all(len(set(row[word].tolist())) == 1 for word in words)
        assert masked.any()


def test_single_tokens_of_a_word_are_masked_without_whole_words() -> None:
    found = [masked_positions(KINDS, 0.3, False, np.random.default_rng(seed)) for seed in range(40)]
    assert any(0 < row[2:5].sum() < 3 for row in found)
    assert all(row.sum() == 2 and not row[KINDS == SPECIAL].any() for row in found)


def test_replaced_as_in_bert() -> None:
    ids, masked = np.arange(10, 40_010), np.zeros(40_000, dtype=bool)
    masked[::2] = True
    ordinary = np.arange(100_000, 200_000)
    found = corrupted(ids, masked, 4, ordinary, np.random.default_rng(0))
    assert np.array_equal(found[~masked], ids[~masked])
    assert (found[masked] == 4).mean() == pytest.approx(0.8, abs=0.01)
    assert (found[masked] >= 100_000).mean() == pytest.approx(0.1, abs=0.01)
    assert (found[masked] == ids[masked]).mean() == pytest.approx(0.1, abs=0.01)


def test_the_seed_decides() -> None:
    def draw(seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [masked_positions(KINDS, 0.3, True, rng), unseen_words(KINDS, 0.5, True, rng)]

    assert all(np.array_equal(one, other) for one, other in zip(draw(1), draw(1), strict=True))
    assert not np.array_equal(draw(1)[1], draw(2)[1])
