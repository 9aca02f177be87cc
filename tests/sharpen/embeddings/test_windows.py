"""Long passages in windows: what is in them, their mean, the cache and the processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharpen.embeddings import embed, embed_passages, embed_texts, passages
from sharpen.embeddings.windows import divide
from sharpen.errors import InputError
from sharpen.models import model_config
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from tests.sharpen.embeddings.by_hand import token_windows, window_vectors, words
from tests.sharpen.embeddings.counting import Counted

pytestmark = pytest.mark.model

# most fit into a window of 32 tokens, one has more than sixty
LENGTHS = [*range(1, 31), 31, 35, 52, 53, 54, 100, 1500, 7]
TEXTS = [words(length, seed) for seed, length in enumerate(LENGTHS)]
TITLES = ["" if seed % 3 else words(4, seed) for seed in range(len(LENGTHS))]
PASSAGES = [f"{title} {text}".strip() for title, text in zip(TITLES, TEXTS, strict=True)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARPEN_CACHE", str(tmp_path / "a cache"))
    monkeypatch.setattr(embed, "MIN_TEXTS_TO_CACHE", 1)


def loaded(model: Path, **settings: Any) -> Encoder:
    values = {"precision": "fp32", "passage_max_len": 32, "passage_windows": "mean", "window_overlap": 8, **settings}
    return Encoder.load(str(model), EncoderSettings.checked(values), device="cpu")


@pytest.mark.parametrize("at_once", [3, 1024])
@pytest.mark.parametrize(
    "settings", [{}, {"window_overlap": 0, "passage_instruction_for_retrieval": "find the: "}, {"window_overlap": 15}]
)
def test_the_mean_is_that_of_windows_that_are_tokenised_and_encoded_by_hand(
    settings: dict[str, Any], at_once: int, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passages, "_PASSAGES_AT_ONCE", at_once)
    encoder = loaded(tiny_model, **settings)
    titles = TITLES if settings.get("window_overlap") != 15 else [""] * len(TEXTS)
    texts = [f"{title} {text}".strip() for title, text in zip(titles, TEXTS, strict=True)]
    found = embed_passages(encoder, texts, titles).vectors
    by_hand = [window_vectors(encoder, title, text) for title, text in zip(titles, TEXTS, strict=True)]
    assert max(map(len, by_hand)) > 60 and sum(len(one) == 1 for one in by_hand) > 20
    means = np.stack([one.mean(axis=0) for one in by_hand])
    np.testing.assert_allclose(found, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-6)


def test_all_windows_have_their_vectors_one_after_the_other_with_max(tiny_model: Path) -> None:
    encoder = loaded(tiny_model, passage_windows="max")
    found = embed_passages(encoder, PASSAGES, TITLES)
    by_hand = [window_vectors(encoder, title, text) for title, text in zip(TITLES, TEXTS, strict=True)]
    np.testing.assert_allclose(found.vectors, np.concatenate(by_hand), atol=1e-6)
    assert found.rows is not None and found.spans is not None
    np.testing.assert_array_equal(found.rows.counts, list(map(len, by_hand)))
    for row, (start, end) in zip(found.rows.passages.tolist(), found.spans.tolist(), strict=True):
        assert len(PASSAGES[row][start:end].split()) == min(30, len(PASSAGES[row].split())) or TITLES[row]
    short = [passage for passage in PASSAGES if len(passage.split()) <= 30]
    assert embed_passages(encoder, short).rows is None


def test_without_normalising_the_mean_stays_as_long_as_it_is(tiny_model: Path) -> None:
    encoder = loaded(tiny_model, normalize_embeddings=False)
    found = embed_passages(encoder, PASSAGES, TITLES).vectors
    expected = [window_vectors(encoder, *row).mean(axis=0) for row in zip(TITLES, TEXTS, strict=True)]
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-6)


def test_a_passage_that_fits_has_its_vector_bit_for_bit_and_a_long_one_another(tiny_model: Path) -> None:
    encoder = loaded(tiny_model, vector_cache="off")
    cut, found = embed_texts(encoder, PASSAGES, "passage"), embed_passages(encoder, PASSAGES, TITLES).vectors
    fits = np.array([len(passage.split()) <= 30 for passage in PASSAGES])
    assert 5 < (~fits).sum() < fits.sum()
    np.testing.assert_array_equal(found[fits], cut[fits])
    assert (np.abs(found[~fits] - cut[~fits]).max(axis=1) > 1e-3).all()


def test_the_cache_holds_windows_so_that_another_setting_computes_only_new_ones(tiny_model: Path) -> None:
    def computed(**settings: Any) -> int:
        counted = Counted(tiny_model, **settings)
        embed_passages(counted.encoder, PASSAGES, TITLES)
        return counted.texts

    mean = {"passage_windows": "mean", "window_overlap": 8}
    encoder = loaded(tiny_model)
    texts = set(PASSAGES) | set(divide(encoder, PASSAGES, TITLES).texts)
    cut = computed()
    assert cut == len(set(PASSAGES))
    assert computed(**mean) == len(texts) - cut > 60
    assert computed(**mean) == computed(**mean | {"passage_windows": "max"}) == computed() == 0
    others = set(divide(loaded(tiny_model, window_overlap=4), PASSAGES, TITLES).texts) - texts
    assert computed(**mean | {"window_overlap": 4}) == len(others) > 60
    np.testing.assert_array_equal(
        embed_passages(encoder, PASSAGES, TITLES).vectors, embed_passages(loaded(tiny_model), PASSAGES, TITLES).vectors
    )


def odd_text(seed: int) -> str:
    """Words of one or of several tokens, long runs without a space, punctuation and much white space."""
    draw = np.random.default_rng(seed)
    kinds = [
        lambda: words(int(draw.integers(1, 30)), int(draw.integers(99))),
        lambda: "".join(draw.choice(list("abcxyz019"), int(draw.integers(2, 90))).tolist()),
        lambda: ", ".join(["rivers"] * int(draw.integers(1, 9))) + ".  \n\n\t ",
        lambda: "ß\u3000ﬁ\u0301" * int(draw.integers(1, 20)),
    ]
    return " ".join(kinds[int(draw.integers(4))]() for _ in range(int(draw.integers(1, 12))))


@pytest.mark.parametrize("overlap", [0, 5, 15])
def test_every_character_is_in_a_window_and_every_window_fits(overlap: int, tiny_model: Path) -> None:
    encoder = loaded(tiny_model, window_overlap=overlap)
    texts = [odd_text(seed) for seed in range(150)]
    titles = [odd_text(seed + 1000)[: 5 * (seed % 9)].strip() for seed in range(150)]
    joined = [f"{title} {text}".strip() for title, text in zip(titles, texts, strict=True)]
    found = divide(encoder, joined, titles)
    assert len(found.texts) > 300 and (np.diff(found.passages) >= 0).all()
    lengths = [len(ids) for ids in encoder.tokenizer(found.texts)["input_ids"]]
    assert max(lengths) <= 32
    for row, text in enumerate(joined):
        spans = found.spans[found.passages == row]
        if not len(spans):
            assert len(encoder.tokenizer(text.rstrip())["input_ids"]) <= 32
            continue
        seen = np.zeros(len(text), dtype=bool)
        seen[: found.cut[row]] = True
        for (start, end), window in zip(spans, np.array(found.texts)[found.passages == row], strict=True):
            seen[start:end] = True
            assert window.endswith(text[start:end]) and window.removesuffix(text[start:end]).strip() in (
                "",
                titles[row],
            )
        assert not "".join(character for character, is_seen in zip(text, seen, strict=True) if not is_seen).strip()


def test_words_stay_whole_where_a_border_is_near_and_a_long_title_is_not_repeated(tiny_model: Path) -> None:
    encoder = loaded(tiny_model, passage_max_len=100, window_overlap=20)
    text = "rivers doctors " * 60  # two and three tokens
    found = divide(encoder, [text, f"{words(60, 1)} {text}"], ["", words(60, 1)])
    assert {word for window in found.texts for word in window.split()} <= {"rivers", "doctors"}
    ids = encoder.tokenize([text], "passage")[0][:-1]
    shared = text[: found.cut[0]][found.spans[0][0] :]
    assert 20 <= len(encoder.tokenizer(shared, add_special_tokens=False)["input_ids"]) <= 20 + 98 // 16 < len(ids)
    assert len(token_windows(encoder, "", "sea " * 99)) == 2  # the reference, looked at


def test_windows_that_would_not_advance_are_refused_before_any_work(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="window_overlap 64 is more than half of passage_max_len 64; set at most 32"):
        EncoderSettings.checked({"passage_windows": "mean", "passage_max_len": 64, "window_overlap": 64})
    assert EncoderSettings.checked({"passage_max_len": 64, "window_overlap": 64}).passage_windows == "none"
    with pytest.raises(
        InputError, match=r"window_overlap: 16 tokens are more than half of .* 32 .*at most 13"
    ) as caught:
        loaded(tiny_model, window_overlap=16, passage_instruction_for_retrieval="find the: ")
    assert len(caught.value.faults) == 1
    encoder = loaded(tiny_model)
    encoder.tokenizer.truncation_side = "left"
    with pytest.raises(InputError, match="cuts texts at their beginning"):
        embed_passages(encoder, PASSAGES)


def test_a_saved_model_says_how_long_passages_are_embedded(tiny_model: Path, tmp_path: Path) -> None:
    loaded(tiny_model, window_overlap=9).save(tmp_path / "model")
    found = model_config.resolve(str(tmp_path / "model"), EncoderSettings.checked({})).settings
    assert (found.passage_windows, found.window_overlap, found.passage_max_len) == ("mean", 9, 32)
    wished = model_config.resolve(str(tmp_path / "model"), EncoderSettings.checked({"passage_windows": "none"}))
    assert wished.settings.passage_windows == "none" and wished.given == ("passage_windows",)
