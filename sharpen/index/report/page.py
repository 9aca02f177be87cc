"""report.html of an index: what it holds, how well it finds, and how other programs use it."""

from __future__ import annotations

from pathlib import Path

from sharpen.index.manifest import Manifest
from sharpen.models.model_usage import describe_windows
from sharpen.progress import clock
from sharpen.reports.formatting import number
from sharpen.reports.html_page import templates


def render_page(index: Manifest) -> str:
    """The page as one HTML file."""
    stored, faiss, model, quality = index.embeddings, index.faiss, index.model, index.quality
    return (
        templates(Path(__file__).parent)
        .get_template("page.html.j2")
        .render(
            index=index,
            cards=[
                (f"{index.passages:,}", "passages"),
                *([(f"{index.vectors:,}", "vectors, as long passages have several")] if index.vectors else []),
                (f"{stored.dimension:,}", f"of {model.dimension:,} dimensions, stored as {stored.precision}"),
                *([(number(quality["searched"]), f"recall@{quality['k']} as it is searched")] if quality else []),
            ],
            query=[
                ("model", model.address),
                ("prompt before it", repr(model.prompts["query"])),
                ("longest query (tokens)", model.max_lengths["query"]),
                ("long passages", _windows(index)),
                ("pooling", model.pooling),
                ("vector", _query_vector(index)),
                ("score", "cosine" if model.normalized else "inner product"),
            ],
            files=[
                (
                    f"{stored.files[0].name} ... ({len(stored.files)})",
                    [
                        f"one row a {'passage' if index.vectors is None else 'vector'}: "
                        + ", ".join(f"{name} {kind}" for name, kind in stored.columns.items())
                    ],
                ),
                (
                    faiss.file,
                    [
                        f"FAISS {faiss.version}, {faiss.factory}, {faiss.metric.replace('_', ' ')}; row i is the i-th "
                        "row over the Parquet files in the order of their names"
                    ],
                ),
                ("manifest.json", ["all of this for programs"]),
            ],
            recalls=_recalls(index),
            provenance=[
                ("data", index.data),
                ("fingerprint of the data", index.data_fingerprint),
                ("weights of the model", model.weights_hash),
                ("code", index.code_version),
            ],
        )
    )


def _windows(index: Manifest) -> str:
    encoder, longest = index.encoder, index.model.max_lengths["passage"]
    found = describe_windows(encoder.passage_windows, encoder.window_overlap, longest)
    return found or f"cut to {longest:,} tokens"


def _query_vector(index: Manifest) -> str:
    stored, model = index.embeddings, index.model
    cut, scaled = stored.dimension < model.dimension, "scaled to length 1" if model.normalized else ""
    parts = [
        scaled,
        f"cut to its first {stored.dimension} dimensions" if cut else "",
        f"{scaled} again" if cut and scaled else "",
    ]
    return ", ".join(filter(None, parts)) or "as the model gives it"


def _recalls(index: Manifest) -> list[tuple[str, list[str]]]:
    """A row for each way to store vectors: bytes, and the recall with whole and with equally stored queries."""
    if not index.quality:
        return []
    dimension = index.embeddings.dimension
    sizes = {"fp32": 4 * dimension, "fp16": 2 * dimension, "int8": dimension, "binary": dimension // 8}
    rows = []
    for precision, share in index.quality["exhaustive"].items():
        both = index.quality["codes_only"].get(precision)
        mark = " (this index)" if precision == index.embeddings.precision else ""
        shares = [f"{share:.4f}", "" if both is None else f"{both:.4f}"]
        rows.append((f"{precision}{mark}", [f"{sizes[precision]:,}", *shares]))
    return rows


def summary(index: Manifest, seconds: float) -> list[str]:
    """What was made in `seconds` seconds, in a line or two."""
    stored, quality = index.embeddings, index.quality
    several = f" with {index.vectors:,} vectors" if index.vectors else ""
    lines = [
        f"{index.passages:,} passages{several} in {clock(seconds)}: {stored.dimension} dimensions as "
        f"{stored.precision}, search {index.faiss.factory}"
    ]
    if quality:
        shares = ", ".join(f"{name} {share:.3f}" for name, share in quality["exhaustive"].items())
        lines.append(
            f"recall@{quality['k']} of {quality['queries']:,} {quality['asked']}: {quality['searched']:.3f} as it is "
            f"searched ({shares})"
        )
    return lines
