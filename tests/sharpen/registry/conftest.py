"""Small model and evaluation folders, and a registry on a disk and in a real S3 store."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from components.promotion.step import PromotionResult
from sharpen.data import query_keys
from sharpen.data.text import text_key
from sharpen.registry.gate.evaluation_summary import EvaluationSummary, Reference
from sharpen.store import storage

Decide = Callable[..., PromotionResult]
Printed = Callable[[PromotionResult], list[str]]
_numbers = itertools.count()


def figures(reference: float, candidate: float, low: float, queries: int = 200) -> dict[str, float]:
    """One metric's entry of comparison.json; the interval is symmetric around the difference."""
    difference = candidate - reference
    return {
        "reference": reference,
        "candidate": candidate,
        "difference": difference,
        "ci_low": low,
        "ci_high": 2 * difference - low,
        "p_value": 0.01,
        "wins": queries // 2,
        "ties": queries // 4,
        "losses": queries - queries // 2 - queries // 4,
        "queries": queries,
        "groups": queries // 2,
    }


GOOD = {
    "ndcg_at_10": figures(0.50, 0.58, 0.05),
    "mrr_at_10": figures(0.45, 0.52, 0.03),
    "recall_at_100": figures(0.90, 0.91, -0.01),
}


def measured(
    against: dict[str, dict[str, dict[str, float]]] | None = None,
    reference_facts: dict[str, Any] | None = None,
    **facts: Any,
) -> EvaluationSummary:
    """A candidate's evaluation; by default clearly better than the base model."""
    against = {"base": GOOD} if against is None else against
    shared = {"data_fingerprint": "data-1", "split": "test"}
    first = next(iter(against.values()), GOOD)
    return EvaluationSummary(
        address="s3://bucket/evaluation",
        metrics={metric: entry["candidate"] for metric, entry in first.items()},
        facts={**shared, "model": "s3://bucket/tuned", "model_hash": "hash-tuned", **facts},
        against={
            name: Reference(
                f"s3://bucket/{name}", metrics, {**shared, "model_hash": f"hash-{name}", **(reference_facts or {})}
            )
            for name, metrics in against.items()
        },
    )


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.store)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The root of an empty registry, once on a disk and once in a real S3 store."""
    if request.param == "disk":
        return str(tmp_path / "a registry")
    return storage.join(request.getfixturevalue("s3"), f"registry-{next(_numbers)}")


@pytest.fixture
def make_model(root: str) -> Callable[..., str]:
    """Write a model folder and answer its address; models differ by their weights."""

    def make(weights: str, *, told: str = "") -> str:
        address = storage.join(root, "runs", f"{next(_numbers)}", "finetuning")
        with storage.publish(address, producer="finetuning", run_id=f"run-{weights}") as folder:
            (folder / "1_Pooling").mkdir()
            (folder / "1_Pooling" / "config.json").write_text("{}")
            (folder / "model.safetensors").write_text(weights)
            (folder / "training.json").write_text(json.dumps({"loss": 0.1, "told": told}))
            (folder / "README.md").write_text(f"# A model\n\n{told}\n")
        return address

    return make


@pytest.fixture
def make_evaluation(root: str) -> Callable[..., str]:
    """Write an evaluation of a model, compared with others, and answer its address."""

    def dev(metrics: dict[str, float], against: dict[str, Any]) -> dict[str, Any]:
        others = {
            name: {m: {**e, "reference": e["reference"] - 0.1} for m, e in found["metrics"].items()}
            for name, found in against.items()
        }
        return {"queries": 60, "groups": 60, "metrics": {m: v - 0.1 for m, v in metrics.items()}, "against": others}

    def write(
        model: str,
        model_hash: str,
        metrics: dict[str, float],
        against: dict[str, Any],
        tested: Sequence[str] = ("a question", "another"),
        trained: Sequence[str] = ("a training question",),
    ) -> str:
        address = storage.join(root, "runs", f"{next(_numbers)}", "evaluation")
        facts = {"model": model, "model_hash": model_hash, "data_fingerprint": "data-1", "split": "test"}
        with storage.publish(address, producer="evaluation", facts=facts) as folder:
            (folder / "metrics.json").write_text(json.dumps(metrics))
            for file, texts in ((query_keys.MEASURED, tested), (query_keys.TRAINED, trained)):
                (folder / file).write_bytes(query_keys.as_bytes(map(text_key, texts)))
            (folder / "dev.json").write_text(json.dumps(dev(metrics, against)))
            if against:
                (folder / "comparison.json").write_text(json.dumps({"confidence_level": 0.95, "against": against}))
        return address

    def make(
        model: str, champion: str = "", entries: dict[str, dict[str, float]] | None = None, **queries: Sequence[str]
    ) -> str:
        entries = entries or GOOD
        others = {"base": "hub/base", **({"champion": champion} if champion else {})}
        against = {}
        for name, other in others.items():
            same = name == "champion" and _weights(other) == _weights(model)
            shown = {m: figures(e["candidate"], e["candidate"], 0.0) if same else e for m, e in entries.items()}
            values = {metric: entry["reference"] for metric, entry in shown.items()}
            reference = write(other, _weights(other), values, {})
            against[name] = {"reference": reference, "model": other, "metrics": shown}
        return write(model, _weights(model), {m: e["candidate"] for m, e in entries.items()}, against, **queries)

    return make


def _weights(model: str) -> str:
    return storage.read_bytes(storage.join(model, "model.safetensors")).decode() if storage.exists(model) else model


@pytest.fixture
def decide(root: str, monkeypatch: pytest.MonkeyPatch) -> Decide:
    """Let the promotion step of a run decide about a model by its evaluation."""
    # it imports this file
    from tests.components.promotion.test_step import step

    def decide(model: str, evaluation: str, run: str, **given: Any) -> PromotionResult:
        monkeypatch.setenv("SHARPEN_RUN", f"{root}/runs/{run}")
        return step(root, model, evaluation, **{"again": False, "index": True, **given})

    return decide


@pytest.fixture
def printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Printed:
    """The lines of the outcome that a step's log holds."""
    from sharpen.registry.outcome import find_block
    from tests.components.promotion.test_step import publish

    def printed(result: PromotionResult) -> list[str]:
        capsys.readouterr()
        publish(result, tmp_path)
        found = find_block(f"a line before\n{capsys.readouterr().out}a line after\n")
        assert found is not None and found[0] == result.promotion.verdict
        return found[1]

    return printed
