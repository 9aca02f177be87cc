"""Each page that Sharpen writes for Kubeflow's UI, with long addresses and texts that want to be more than text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.indexing.step import NOTHING
from sharpen.data.preparation import page as data_page
from sharpen.data.preparation.prepare import prepare
from sharpen.data.preparation.settings import DataSettings
from sharpen.index.manifest import Manifest
from sharpen.index.report.page import render_page as index_page
from sharpen.registry.gate import decide
from sharpen.registry.gate.gains import Gain
from sharpen.registry.outcome import Outcome
from sharpen.registry.report import CANCELLED, FAILED, SUCCEEDED, RunEnd, promotion_page, run_page
from sharpen.registry.settings import PromotionSettings
from sharpen.reports.html_page import message_page
from sharpen.training.report import render_page as training_page
from tests.sharpen.data.input_files import pair, write_rows
from tests.sharpen.registry.conftest import GOOD, figures, measured
from tests.sharpen.reports.html_pages import HOSTILE

LONG = "s3://a-bucket/with/a/prefix/" + "artifacts-of-kubeflow-pipelines/" * 6 + "ndcg_at_10_model"
STORE = "s3://a-bucket/sharpen"
VERSION = f"{STORE}/models/code-search/versions/v0003"
REASONS = ["nDCG@10 0.5000 (base) -> 0.5800: gain +0.0800, at least the +0.0000 demanded", HOSTILE]


def an_outcome(verdict: str = "promote", **values: Any) -> Outcome:
    """A run's outcome against base model and champion."""

    def gain(metric: str, low: float) -> Gain:
        return Gain(metric, 0.5, 0.58, 0.08, low, 0.16 - low, 212, 103, 411)

    gains = {name: [gain("ndcg_at_10", 0.05), gain("recall_at_100", -0.01)] for name in ("base", "champion")}
    facts = {
        "reasons": REASONS,
        "version": VERSION,
        "champion": VERSION,
        "metric": "ndcg_at_10",
        "gains": gains,
        "report": f"{LONG}/report.html",
        "notes": ["Dev:    nDCG@10 0.400 -> 0.480 (60 queries)", HOSTILE],
        "at": "2026-11-28T23:00:00+00:00",
    }
    return Outcome(**{"model_name": "code-search", "verdict": verdict, **facts, **values})


def training_facts(**values: Any) -> dict[str, Any]:
    """A training.json."""
    log: list[dict[str, float]] = [
        {
            "step": n,
            "loss": 2 / n**0.5,
            "learning_rate": 2e-5 * (1 - n / 400),
            "grad_norm": 1 + 1 / n,
            "negatives_per_query": 63,
        }
        for n in range(1, 400)
    ]
    log += [{"step": n, "eval_dev_ndcg_at_10": 0.5 + n / 4000} for n in range(0, 400, 50)]
    return {
        "steps": 399,
        "epochs": 3.0,
        "seconds": 754.2,
        "world_size": 2,
        "device": "cuda",
        "first_loss": 2.0,
        "last_loss": 0.1001,
        "dev_ndcg_at_10_base": 0.5,
        "dev_ndcg_at_10": 0.5875,
        "best_step": 350,
        "queries_per_second": 812.345,
        "negatives_per_query": 63.0,
        "warnings": [HOSTILE],
        "dev_note": "",
        "time_limit": None,
        "adapters": None,
        "trained_weights": 22_713_216,
        "weights": 22_713_216,
        "base_model": LONG,
        "data": LONG,
        "data_fingerprint": "0123456789abcdef" * 4,
        "negatives": LONG,
        "code_version": "0.9+abc",
        "sources": {HOSTILE: {"queries": 1200, "queries_per_epoch": 1024}},
        "settings": {"temperature": 0.02, "report_to": [HOSTILE]},
        "encoder": {"query_max_len": 64},
        "counts": {"queries": 1200},
        "log": log,
        **values,
    }


def an_index(quality: bool = True) -> Manifest:
    """The manifest of an index."""
    model = {"address": LONG, "weights_hash": "f" * 64, "dimension": 384, "pooling": "mean", "normalized": True}
    model |= {"prompts": {"query": HOSTILE, "passage": ""}, "max_lengths": {"query": 64, "passage": 256}, "encoder": {}}
    files = [{"name": "embeddings/part-00000.parquet", "rows": 10_000}]
    stored = {"precision": "int8", "dimension": 256, "scale": 0.01, "formula": "code * scale", "files": files}
    measured_quality = {"k": 10, "queries": 200, "asked": "test queries", "searched": 0.987}
    measured_quality |= {"exhaustive": {"fp32": 1.0, "int8": 0.991}, "codes_only": {"int8": 0.99}}
    return Manifest.model_validate(
        {
            "format_version": 1,
            "model": model,
            "data": LONG,
            "data_fingerprint": "e" * 64,
            "passages": 10_000,
            "embeddings": {
                **stored,
                "columns": {"passage_id": "string", "text": "string", "vector": "list<int8>[256]"},
            },
            "faiss": {
                "file": "index.faiss",
                "factory": "HNSW32",
                "metric": "inner_product",
                "effort": {"looked_at": 64, "candidates_per_hit": 2.0, "recall": 0.99, "k": 10, "queries": 100},
                "version": "1.12",
            },
            "quality": measured_quality if quality else None,
            "settings": {},
            "code_version": "0.9+abc",
        }
    )


def sample_pages(folder: Path) -> dict[str, str]:
    """Name -> page. `folder` is empty."""
    rows = [pair(n, **{HOSTILE: 1}) for n in range(200)]
    path = write_rows(folder / "<img src=x onerror=alert(1)>`" / "a.jsonl", [*rows, {"query": "x", "pos": "y"}])
    prepare([str(path)], [], str(folder / "prepared"), DataSettings())
    evaluated = measured({"base": GOOD, "champion": GOOD | {"recall_at_100": figures(0.96, 0.91, -0.09)}})
    decision = decide(evaluated, PromotionSettings.checked({}))
    rejected = an_outcome("reject", version="", reasons=decision.reasons)
    lost = RunEnd(
        "sharpen-x1", FAILED, "finetuning", [HOSTILE, LONG], ["training job x was deleted"], ["sharpen retry 1"]
    )
    return {
        "data": data_page.read_page(str(folder / "prepared")),
        "training": training_page(training_facts(logs=f"{LONG}-logs")),
        "training without a log": training_page(training_facts(log=[], negatives=None, negatives_per_query=None)),
        "promotion": promotion_page(rejected, STORE, decision, evaluated),
        "promoted": run_page(RunEnd("sharpen-x1", SUCCEEDED), "code-search", an_outcome(), STORE),
        "skipped": run_page(
            RunEnd("sharpen-x1", SUCCEEDED), "code-search", Outcome("code-search", "skip", ["0 new examples"]), STORE
        ),
        "failed": run_page(lost, "code-search", None, STORE),
        "failed after the promotion": run_page(lost, "code-search", an_outcome(), STORE),
        "cancelled": run_page(RunEnd("sharpen-x1", CANCELLED), HOSTILE, None, STORE),
        "index": index_page(an_index()),
        "index without quality": index_page(an_index(quality=False)),
        "message": message_page(HOSTILE, HOSTILE, [("address", LONG)]),
        "nothing to index": NOTHING,
    }
