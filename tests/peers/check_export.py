"""The same texts through an exported folder here, in sentence-transformers, transformers and FlagEmbedding.

``python -m tests.peers.check_export [--model FOLDER ...]`` prints the largest difference of any number of any vector
and ends with exit code 1 where one is above 1e-5. Without ``--model``: MiniLM and tiny random models of the
architectures that FlagEmbedding's two classes read, with a query instruction, some with two towers; that goes into
RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from sharpen.embeddings.encoding import encode
from sharpen.models import architecture
from sharpen.models.encoder import Encoder
from sharpen.models.loading import quiet
from sharpen.settings import EncoderSettings
from tests.peers.results import table, write_section
from tests.peers.rows import ROOT, minilm, stop
from tests.sharpen.models.tiny_models import make_model

LIMIT = 1e-5
# Tokens: the long text is cut, and the tiny models have positions enough.
LONGEST = 48
TEXTS = [
    "What are the symptoms of high blood pressure?",
    "",
    "Ünïcödé, 汉字 and\ttabs",
    " a space before",
    "High blood pressure often has no symptoms; " * 40,
    "sugar",
]
# kind, pooling, two towers
TINY = [
    ("bert", "cls", False),
    ("bert", "mean", True),
    ("roberta", "mean", False),
    ("xlm-roberta", "cls", False),
    ("mpnet", "mean", False),
    ("modernbert", "cls", False),
    ("qwen2", "last_token", False),
    ("llama", "last_token", False),
    ("mistral", "last_token", True),
    ("gpt2", "last_token", False),
]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.peers.check_export")
    parser.add_argument("--model", nargs="+", default=[], help="folders that Sharpen wrote")
    environment = Path(os.environ.get("SHARPEN_PEER_FLAGEMBEDDING") or ROOT / ".venv-flagembedding")
    parser.set_defaults(flagembedding=environment / "bin" / "python")
    given = parser.parse_args()
    if not given.flagembedding.is_file():
        stop(f"no FlagEmbedding environment at {given.flagembedding}; `make bench-finetuning` makes it")
    rows, worst = [], 0.0
    with tempfile.TemporaryDirectory(prefix="check-export-") as place:
        folders = [(str(one), Path(one)) for one in given.model] or list(exported(Path(place)))
        for name, folder in folders:
            found = differences(folder, given.flagembedding)
            worst = max(worst, *(value for kind in found.values() for value in kind.values()))
            rows += [
                [f"{name}, {kind}", *(f"{value:.1e}" for value in values.values())] for kind, values in found.items()
            ]
    compared = table(["largest difference", "sentence-transformers", "transformers", "FlagEmbedding"], rows)
    if given.model:
        print(compared)
    else:
        names = ("sentence-transformers", "torch", "transformers")
        versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
        told = (
            f"{len(TEXTS)} texts (an empty one, one that is cut, one that begins with a space, several scripts), fp32, "
            f"at most {LONGEST} tokens; tiny models are random. "
            "transformers: AutoModel, AutoTokenizer and the pooling by hand."
        )
        command = f"Command: `python -m tests.peers.check_export`. Versions: FlagEmbedding 1.4.2, {versions}."
        write_section("Exported folders in other libraries", f"{told}\n\n{command}\n\n{compared}")
    sys.exit(int(worst > LIMIT))


def exported(place: Path) -> Iterator[tuple[str, Path]]:
    """Names and folders of the models to check."""
    asked = {"precision": "fp32", "query_instruction_for_retrieval": "Represent this question: "}
    Encoder.load(str(minilm()), EncoderSettings.checked(asked), device="cpu").save(place / "minilm")
    yield "MiniLM mean", place / "minilm"
    for kind, pooling, two in TINY:
        # Decoders are padded on the left, as theirs are.
        base = make_model(place / f"base-{kind}-{pooling}", kind, padding_side="left")
        encoder = Encoder.load(
            str(base), EncoderSettings.checked({**asked, "sentence_pooling_method": pooling}), device="cpu"
        )
        if two:
            encoder.untie()
            with torch.no_grad():
                for weights in encoder.query_model.parameters():
                    weights.mul_(1.1)
        encoder.save(place / f"{kind}-{pooling}")
        yield f"{kind} {pooling}{', two towers' if two else ''}", place / f"{kind}-{pooling}"


def differences(folder: Path, python: Path) -> dict[str, dict[str, float]]:
    """Kind -> library -> the largest difference to Sharpen's embeddings."""
    from sentence_transformers import SentenceTransformer

    facts = architecture.read_architecture(folder)
    lengths = {"query_max_len": LONGEST, "passage_max_len": LONGEST}
    settings = EncoderSettings.checked({**lengths, "precision": "fp32", "normalize_embeddings": facts.normalize})
    encoder = Encoder.load(str(folder), settings, device="cpu")
    with quiet():
        theirs = SentenceTransformer(str(folder), device="cpu")
    theirs.max_seq_length = LONGEST
    found = {}
    for kind in ("query", "passage"):
        ours = encode(encoder, TEXTS, kind)
        tower = folder / facts.towers.get(kind, facts.towers["passage"])
        others = {
            "sentence-transformers": (theirs.encode_query if kind == "query" else theirs.encode_document)(TEXTS),
            "transformers": by_hand(tower, encoder, encoder.prompts[kind], encoder.max_lengths[kind]),
            "FlagEmbedding": by_flagembedding(tower, encoder, encoder.prompts[kind], encoder.max_lengths[kind], python),
        }
        found[kind] = {name: float(np.abs(ours - vectors).max()) for name, vectors in others.items()}
    return found


def by_hand(tower: Path, encoder: Encoder, prompt: str, longest: int) -> np.ndarray:
    """AutoModel, AutoTokenizer and the pooling in three lines."""
    from transformers import AutoModel, AutoTokenizer

    with quiet():
        tokenizer, model = AutoTokenizer.from_pretrained(tower), AutoModel.from_pretrained(tower).eval()
    texts = [prompt + text for text in TEXTS]
    batch = tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    own = [vectors[mask] for vectors, mask in zip(hidden, batch["attention_mask"].bool(), strict=True)]
    pooled = {
        "cls": lambda vectors: vectors[0],
        "mean": lambda vectors: vectors.mean(dim=0),
        "last_token": lambda vectors: vectors[-1],
    }[encoder.pooling]
    embeddings = torch.stack([pooled(vectors) for vectors in own])
    return (torch.nn.functional.normalize(embeddings, dim=-1) if encoder.normalize else embeddings).numpy()


def by_flagembedding(tower: Path, encoder: Encoder, prompt: str, longest: int, python: Path) -> np.ndarray:
    """In a process of its own environment."""
    with tempfile.TemporaryDirectory(prefix="flagembedding-") as place:
        request, vectors = Path(place) / "request.json", Path(place) / "vectors.npy"
        asked = {
            "folder": str(tower),
            "pooling": encoder.pooling,
            "normalize": encoder.normalize,
            "prompt": prompt,
            "texts": TEXTS,
            "max_length": longest,
        }
        request.write_text(json.dumps(asked))
        script = Path(__file__).with_name("encode_flagembedding.py")
        subprocess.run(
            [str(python), str(script), str(request), str(vectors)], check=True, stderr=subprocess.DEVNULL, cwd=place
        )
        return np.load(vectors)


if __name__ == "__main__":
    main()
