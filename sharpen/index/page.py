"""The README.md of an index: what it holds, how well it finds, and how other programs use it."""

from __future__ import annotations

from typing import Any

from sharpen.index.manifest import Manifest
from sharpen.markdown import code_span
from sharpen.progress import clock


def render_page(index: Manifest) -> str:
    """The page as Markdown."""
    stored, faiss, model = index.embeddings, index.faiss, index.model
    score = "cosine" if model.normalized else "inner product"
    lines = [
        f"# Index of {index.passages:,} passages",
        "",
        f"Model {code_span(model.address)} (weights {model.weights_hash[:12]}), {stored.dimension} of "
        f"{model.dimension} dimensions, stored as {stored.precision}; scores are the {score}.",
        "",
        "## A query",
        "",
        f"is encoded by the same model with the prompt {code_span(repr(model.prompts['query']))} before it, at most "
        f"{model.max_lengths['query']} tokens, pooling `{model.pooling}`"
        + (", scaled to length 1" if model.normalized else "")
        + (f", and cut to its first {stored.dimension} dimensions" if stored.dimension < model.dimension else "")
        + (" and scaled to length 1 again" if stored.dimension < model.dimension and model.normalized else "")
        + ".",
        "",
        "## Files",
        "",
        "| file | holds |",
        "|---|---|",
        f"| `{stored.files[0].name}` ... ({len(stored.files)}) | one row a passage: "
        + ", ".join(f"`{name}` {kind}" for name, kind in stored.columns.items())
        + " |",
        f"| `{faiss.file}` | FAISS {faiss.version}, {faiss.factory}, {faiss.metric.replace('_', ' ')}; row i is the "
        "i-th passage over the Parquet files in the order of their names |",
        "| `manifest.json` | all of this for programs |",
        "",
        f"A stored vector is read back as: {stored.formula}.",
        "",
        *_quality(index),
    ]
    return "\n".join(lines)


def _quality(index: Manifest) -> list[str]:
    found = index.quality
    if not found:
        return ["## Quality", "", "Not measured (`quality_queries` 0).", ""]
    dimension = index.embeddings.dimension
    sizes = {"fp32": 4 * dimension, "fp16": 2 * dimension, "int8": dimension, "binary": dimension // 8}
    lines = [
        "## Quality",
        "",
        f"Share of the true top {found['k']} (whole float32 embeddings, exact search) that is found, over "
        f"{found['queries']:,} {found['asked']}:",
        "",
        "| stored as | bytes a vector | query as it is | query stored so too |",
        "|---|---|---|---|",
    ]
    for precision, share in found["exhaustive"].items():
        both = found["codes_only"].get(precision)
        mark = " (this index)" if precision == index.embeddings.precision else ""
        lines.append(
            f"| {precision}{mark} | {sizes[precision]:,} | {share:.4f} | {'' if both is None else f'{both:.4f}'} |"
        )
    lines += ["", f"As `{index.faiss.file}` is searched by `sharpen search`: {found['searched']:.4f}.", ""]
    return lines


def summary(index: Manifest, seconds: float) -> list[str]:
    """What was made in `seconds` seconds, in a line or two."""
    stored, quality = index.embeddings, index.quality
    lines = [
        f"{index.passages:,} passages in {clock(seconds)}: {stored.dimension} dimensions as {stored.precision}, "
        f"search {index.faiss.factory}"
    ]
    if quality:
        shares = ", ".join(f"{name} {share:.3f}" for name, share in quality["exhaustive"].items())
        lines.append(
            f"recall@{quality['k']} of {quality['queries']:,} {quality['asked']}: {quality['searched']:.3f} as it is "
            f"searched ({shares})"
        )
    return lines


def figures(made: dict[str, Any]) -> dict[str, float]:
    """Flat figures of manifest.json, for the UI of a step."""
    found = {"passages": float(made["passages"]), "dimension": float(made["embeddings"]["dimension"])}
    if quality := made["quality"]:
        k = quality["k"]
        found[f"recall_at_{k}_searched"] = quality["searched"]
        found |= {f"recall_at_{k}_{name}": share for name, share in quality["exhaustive"].items()}
    return found
