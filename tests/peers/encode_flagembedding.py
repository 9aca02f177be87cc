"""Runs in FlagEmbedding's own environment: embeddings of texts by a folder, ``python … REQUEST.json VECTORS.npy``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from FlagEmbedding import FlagLLMModel, FlagModel  # type: ignore[import-not-found]


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    decoder = request["pooling"] == "last_token"
    model = (FlagLLMModel if decoder else FlagModel)(
        request["folder"],
        query_instruction_for_retrieval=request["prompt"] or None,
        query_instruction_format="{}{}",
        pooling_method=request["pooling"],
        normalize_embeddings=request["normalize"],
        use_fp16=False,
        devices=["cpu"],
    )
    np.save(sys.argv[2], model.encode_queries(request["texts"], max_length=request["max_length"]))


if __name__ == "__main__":
    main()
