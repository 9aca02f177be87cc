"""The components as kfp.local runs them: in subprocesses, on a real S3 store."""

# no `from __future__ import annotations`: kfp needs the annotations as objects
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sharpen.registry import last_run, registry
from sharpen.store import storage
from tests.sharpen.registry.conftest import GOOD, figures
from tests.sharpen.reports.html_pages import check_page

Make = Callable[..., str]


def test_importing_the_components_is_fast_and_needs_no_torch() -> None:
    program = "import sys, components.promotion.component; print([m for m in ('torch', 'boto3') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.store
@pytest.mark.parametrize("root", ["s3"], indirect=True)
@pytest.mark.parametrize(("low", "verdict"), [(0.05, "promote"), (-0.05, "reject")])
def test_one_step_decides_promotes_and_records(
    root: str,
    make_model: Make,
    make_evaluation: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    low: float,
    verdict: str,
) -> None:
    from kfp import dsl, local

    from components.promotion.component import promotion

    monkeypatch.chdir(tmp_path)
    model = make_model("w1")
    evaluation = make_evaluation(model, entries=GOOD | {"ndcg_at_10": figures(0.5, 0.58, low)})
    hashes = storage.join(root, "runs", "x", "examples.u64")
    storage.write_bytes(hashes, b"12345678")

    @dsl.component(base_image="python", install_kfp_package=False)
    def train(tuned_model: dsl.Output[dsl.Model]) -> None:
        from components.kfp_context import write_card

        write_card(tuned_model, "somewhere", {"logs": "s3://b/model-logs"})

    @dsl.pipeline(name="promotion-test")
    def pipeline(store: str, settings: str) -> None:
        promotion(  # type: ignore[call-arg]
            model=model,
            evaluation=evaluation,
            model_name="code-search",
            store=store,
            settings=settings,
            indexing="{}",
            run_settings="{}",
            run_inputs='{"identity": {}, "sources": "s"}',
            examples=json.dumps({"content": "c", "count": 1, "examples": hashes}),
            again=True,
            tuned_model=train().outputs["tuned_model"],  # type: ignore[union-attr]
        )

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "kfp"), raise_on_error=True)
    pipeline(store=root, settings=json.dumps({"metric": "ndcg_at_10"}))
    assert registry.list_models(root) == (["code-search"] if verdict == "promote" else [])
    (page,) = (tmp_path / "kfp").rglob("promotion/decision_page")
    shown = check_page(page.read_text())
    assert ("Promoted as v0001" if verdict == "promote" else "Not promoted") in shown
    assert "s3://b/model-logs" in shown
    (card,) = (tmp_path / "kfp").rglob("promotion/promoted_model")
    made = json.loads(card.read_text())
    assert made["display_name"] == ("code-search v0001" if verdict == "promote" else "code-search not promoted")
    assert made["nDCG@10 gain"] == 0.08 and made["trained_model"] == model and made["data_fingerprint"] == "data-1"
    (record,) = (tmp_path / "kfp").rglob("promotion/decision")
    assert json.loads(record.read_text())["verdict"] == verdict
    (written,) = (tmp_path / "kfp").rglob("promotion/executor_output.json")
    outputs = json.loads(written.read_text())["parameterValues"]
    assert outputs["Output"] == ("index" if verdict == "promote" else "not promoted")
    # the run is recorded in the same step, so that a later step that fails and is tried again finds it so
    last = last_run.read(root, "code-search")
    assert last is not None and (last.verdict, last.seen.sources) == (verdict, "s")
    if verdict == "promote":
        assert storage.is_complete(registry.champion_address(root, "code-search"))
