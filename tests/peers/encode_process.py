"""Encode texts and nothing else: ``python -m tests.peers.encode_process --help``; prints one JSON object.

The clock starts when model and texts are in memory and the first texts were encoded once.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sharpen.embeddings.encoding import encode
from tests.peers.memory import high_water
from tests.peers.miners import our_precision

WARM_UP = 64


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=["Sharpen", "sentence-transformers"], required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--max_len", type=int, required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    texts = [json.loads(line)["text"] for line in given.texts.read_text().splitlines()]
    encode = (ours if given.engine == "Sharpen" else theirs)(given)
    encode(texts[:WARM_UP])
    started = time.perf_counter()
    vectors = encode(texts)
    seconds = time.perf_counter() - started
    np.save(given.output, vectors)
    facts = {"seconds": seconds, "peak_gib": high_water() / 2**30}
    given.output.with_suffix(".json").write_text(json.dumps(facts))


def ours(given: argparse.Namespace) -> Callable[[list[str]], np.ndarray]:
    """Sharpen's encoder, with its own micro-batches."""
    from sharpen.models.encoder import Encoder
    from sharpen.settings import EncoderSettings

    precision = our_precision(given.precision)
    settings = EncoderSettings.checked({"passage_max_len": given.max_len, "precision": precision})
    encoder = Encoder.load(given.model, settings)
    return lambda texts: encode(encoder, texts, "passage")


def theirs(given: argparse.Namespace) -> Callable[[list[str]], np.ndarray]:
    """sentence-transformers' `encode`."""
    from tests.peers.mine_sentence_transformers import load

    model = load(given.model, given.max_len, bf16=given.precision == "bf16")
    return lambda texts: model.encode(texts, batch_size=given.batch_size, normalize_embeddings=True)


if __name__ == "__main__":
    main()
