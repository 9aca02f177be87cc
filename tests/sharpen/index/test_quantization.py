"""Stored codes against their definition and against sentence-transformers' quantisation."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.util.quantization import quantize_embeddings

from sharpen.errors import InputError
from sharpen.index.exact import top_k
from sharpen.index.quantization import Codec, codec_for, computed, cut, largest_value


def vectors(rows: int, dimension: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


SAMPLE = vectors(500, 64)
LARGEST = float(np.abs(SAMPLE).max())


def test_bits_are_those_of_sentence_transformers() -> None:
    codes = codec_for("binary", 64, LARGEST).encode(SAMPLE)
    theirs = quantize_embeddings(SAMPLE, precision="ubinary")
    np.testing.assert_array_equal(codes, theirs)


def test_int8_codes_are_those_of_sentence_transformers_but_for_rounding_and_nearer_to_the_truth() -> None:
    codec = codec_for("int8", 64, LARGEST)
    ours = codec.encode(SAMPLE)
    ranges = np.array([[-LARGEST] * 64, [LARGEST] * 64])
    theirs = quantize_embeddings(SAMPLE, precision="int8", ranges=ranges)
    # theirs are rounded down, and their lowest code is one below ours
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 2
    read_back = (theirs.astype(np.float64) + 128) * (2 * LARGEST / 255) - LARGEST
    our_error = np.abs(codec.decode(ours).astype(np.float64) - SAMPLE)
    assert our_error.max() <= codec.scale / 2 * (1 + 1e-4)
    assert our_error.mean() < np.abs(read_back - SAMPLE).mean()


def test_int8_codes_compared_with_codes_rank_as_the_vectors_do() -> None:
    """What a vector database does. A range for every dimension, as sentence-transformers has it, does not rank so."""
    spread = vectors(2000, 64, 1) * np.linspace(0.2, 2, 64, dtype=np.float32) + np.linspace(-1, 1, 64, dtype=np.float32)
    queries = spread[:100] + 0.1 * vectors(100, 64, 2)
    _, truth = top_k(queries, spread, 10)
    codec = codec_for("int8", 64, float(np.abs(spread).max()))
    coded = codec.encode(queries).astype(np.float32), codec.encode(spread).astype(np.float32)
    theirs = (
        quantize_embeddings(spread, precision="int8"),
        quantize_embeddings(queries, precision="int8", calibration_embeddings=spread),
    )
    their_found = top_k(theirs[1].astype(np.float32), theirs[0].astype(np.float32), 10)[1]
    our_found = top_k(*coded, 10)[1]
    shares = [np.mean([np.isin(a, b).mean() for a, b in zip(truth, f, strict=True)]) for f in (our_found, their_found)]
    assert shares[0] > 0.9 > shares[1]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "binary"])
def test_codes_go_through_a_parquet_column(precision: str, tmp_path) -> None:
    codec = codec_for(precision, 64, LARGEST)  # type: ignore[arg-type]
    codes = codec.encode(SAMPLE)
    pl.DataFrame({"vector": codec.column(codes)}).write_parquet(tmp_path / "x.parquet")
    column = pl.read_parquet(tmp_path / "x.parquet")["vector"]
    kinds = {
        "fp32": pl.Array(pl.Float32, 64),
        "fp16": pl.Array(pl.Float16, 64),
        "int8": pl.Array(pl.Int8, 64),
        "binary": pl.Binary,
    }
    assert column.dtype == kinds[precision]
    size = len(column[0]) if precision == "binary" else column.to_numpy()[0].nbytes
    assert size == codec.bytes_per_vector


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.floats(1e-6, 1e4))
def test_int8_is_off_by_half_a_step_at_most(seed: int, size: float) -> None:
    drawn = vectors(20, 16, seed) * np.float32(size)
    codec = codec_for("int8", 16, float(np.abs(drawn).max()))
    error = np.abs(codec.decode(codec.encode(drawn)).astype(np.float64) - drawn).max()
    assert error <= codec.scale * 0.5 * (1 + 1e-4)


def test_zero_vectors_stay_zero() -> None:
    nothing = np.zeros((3, 16), dtype=np.float32)
    for precision in ("fp32", "fp16", "int8"):
        codec = codec_for(precision, 16, largest_value(nothing, ["a", "b", "c"]))  # type: ignore[arg-type]
        assert not codec.decode(codec.encode(nothing)).any()
    assert not cut(nothing, 8, normalize=True).any()


def test_the_cut_is_that_of_sentence_transformers() -> None:
    from sentence_transformers.util import truncate_embeddings

    theirs = truncate_embeddings(SAMPLE, 24)
    np.testing.assert_array_equal(cut(SAMPLE, 24, normalize=False), theirs)
    scaled = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose(cut(SAMPLE, 24, normalize=True), scaled, atol=1e-7)
    np.testing.assert_array_equal(cut(SAMPLE, 64, normalize=True), SAMPLE)


def test_computed_vectors_take_the_place_of_an_array() -> None:
    view = computed(SAMPLE, 8, lambda block: cut(block, 8, normalize=True))
    plain = cut(SAMPLE, 8, normalize=True)
    for ours, theirs in zip(top_k(plain[:9], view, 7), top_k(plain[:9], plain, 7), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_cannot_be_stored_is_told() -> None:
    with pytest.raises(InputError, match="too large for half precision"):
        codec_for("fp16", 16, 70_000.0)
    with pytest.raises(InputError, match="whole bytes"):
        codec_for("binary", 12, 1.0)
    spoiled = SAMPLE.copy()
    spoiled[3, 3] = np.nan
    with pytest.raises(InputError, match="passage p3 is not a number"):
        largest_value(spoiled, [f"p{row}" for row in range(500)])


def test_the_formula_is_what_decode_does() -> None:
    codec = codec_for("int8", 64, LARGEST)
    assert codec.formula == f"embedding = code * {codec.scale!r}"
    assert codec.decode(np.array([[5] + [0] * 63], dtype=np.int8))[0, 0] == np.float32(5) * np.float32(codec.scale)
    assert Codec("binary", 16).decode(np.array([[0b1000_0000, 1]], dtype=np.uint8))[0].tolist() == [
        *([1.0] + [-1.0] * 7),
        *([-1.0] * 7 + [1.0]),
    ]
