"""Real searches, tiny: a tiny BERT is mined with and trained in every trial; nobody looks at test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import sharpen
from sharpen.api.inputs import data_folder
from sharpen.data.dataset import DataSet
from sharpen.errors import InputError, StepFailed
from sharpen.mining import mine
from sharpen.mining.settings import StepSettings as MiningSettings
from sharpen.training.dev_score import DevSet
from sharpen.training.settings import TrainingSettings
from sharpen.training.train import train
from sharpen.training.watching.dev_watch import DevWatch
from sharpen.tuning.settings import TuningSettings
from sharpen.tuning.space.groups import Groups
from sharpen.tuning.trials.request import Request
from sharpen.tuning.trials.trial import run_trial
from tests.sharpen.reports.html_pages import check_page
from tests.sharpen.training.small_data import ENCODER, small_data

SETTINGS: dict[str, Any] = {"train_batch_size": 8, "train_group_size": 2, "max_steps": 4, "warmup_steps": 0}
SETTINGS |= {**ENCODER.model_dump(exclude_unset=True), "learning_rate": 1e-6}
# with the margin of 1 no passage is a negative of any query
SPACE = {"training.learning_rate": "1e-3..1e-2:log", "mining.relative_margin": [0.05, 1.0]}


@pytest.fixture
def untested(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever asks for what is relevant to test queries, or for their texts, fails."""
    for name in ("qrels_of", "queries_of"):
        original = getattr(DataSet, name)

        def guarded(self: DataSet, split: str, *rest: Any, original: Any = original, **named: Any) -> Any:
            assert split != "test", "a search looked at test"
            return original(self, split, *rest, **named)

        monkeypatch.setattr(DataSet, name, guarded)
    yield


@pytest.fixture
def mined(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The relative margins that were mined with."""
    margins: list[float] = []
    original = mine.mine

    def counted(*arguments: Any) -> Any:
        margins.append(arguments[3].relative_margin)
        return original(*arguments)

    monkeypatch.setattr(mine, "mine", counted)
    return margins


@pytest.mark.model
def test_a_search_trains_each_proposal_mines_once_for_equal_settings_and_records_what_fails(
    tiny_model: Path, tmp_path: Path, untested: None, mined: list[float]
) -> None:
    options = {"trials": 4, "evaluations": 2, "repeats": 1, "output": tmp_path / "search"}
    found = sharpen.tune(str(tiny_model), small_data(), space=SPACE, **options, **SETTINGS)
    by_margin = {margin: [t for t in found.trials if t["mining.relative_margin"] == margin] for margin in (0.05, 1.0)}
    assert by_margin[1.0] and all(t["state"] == "failed" and t["reason"] for t in by_margin[1.0])
    trained = by_margin[0.05]
    assert len(trained) >= 2 and all(t["state"] in ("complete", "pruned") for t in trained)
    assert mined == [0.05] + [1.0] * len(by_margin[1.0])
    complete = [t for t in trained if t["state"] == "complete"]
    assert found.score == max(t["score"] for t in complete) == max(s for t in complete for _, s in t["scores"])
    assert {t["base_score"] for t in trained} == {trained[0]["base_score"]}
    assert all([share for share, _ in t["scores"]] == [0.5, 1.0] and t["steps"] == 4 for t in complete)
    assert all(t["steps"] == 2 and not t["model"] for t in trained if t["state"] == "pruned")
    assert Path(complete[0]["model"]).is_dir()
    text = check_page(Path(found.report).read_text(encoding="utf-8"))
    assert "no test query" in text and "learning_rate" in text


@pytest.mark.model
def test_the_best_beside_the_start_on_all_dev_queries_is_what_an_evaluation_says(
    tiny_model: Path, tmp_path: Path, untested: None
) -> None:
    from sharpen.tuning.trials.comparison import Side, compare_models
    from tests.sharpen.tuning.synthetic import GROUPS

    data, other = small_data(), tmp_path / "other"
    sharpen.finetune(str(tiny_model), data, output=other, **{**SETTINGS, "learning_rate": 1e-2})
    with pytest.raises(InputError, match="no dev query"):
        sharpen.tune(str(tiny_model), small_data().__class__(data.corpus, *_without_dev(data)), space=SPACE, **SETTINGS)
    saved = data_folder(data)
    groups = Groups(GROUPS.training, GROUPS.mining, ENCODER)
    found = compare_models(saved.address, Side(str(other), groups), Side(str(tiny_model), groups), tmp_path)
    both = [sharpen.evaluate(str(model), data, split="dev").metrics["ndcg_at_10"] for model in (tiny_model, other)]
    assert [found["reference"], found["candidate"]] == pytest.approx(both, abs=1e-9)
    assert found["ci_low"] <= found["difference"] <= found["ci_high"] and found["queries"] == 4
    # and in the size that is served, both of them
    size = "dim:8+binary"
    groups = Groups(GROUPS.training.model_copy(update={"served_size": size}), GROUPS.mining, ENCODER)
    found = compare_models(saved.address, Side(str(other), groups), Side(str(tiny_model), groups), tmp_path)
    both = [stored_ndcg(sharpen.evaluate(str(one), data, split="dev", variants=[size])) for one in (tiny_model, other)]
    assert [found["reference"], found["candidate"]] == pytest.approx(both, abs=1e-9)


def stored_ndcg(evaluation: Any) -> float:
    """In the one size that was measured beside the whole vectors."""
    return json.loads((Path(evaluation.folder) / "variants.json").read_text())["variants"][1]["metrics"]["ndcg_at_10"]


def _without_dev(data: DataSet) -> tuple[Any, Any]:
    return tuple(table.filter(table["split"] == "train") for table in (data.queries, data.qrels))  # type: ignore[return-value]


@pytest.mark.model
def test_a_training_ends_where_its_watch_says_and_does_not_measure_a_known_base_again(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_folder(small_data())
    measured: list[None] = []
    ndcg = DevSet.ndcg
    monkeypatch.setattr(DevSet, "ndcg", lambda *values: measured.append(None) or ndcg(*values))
    seen: list[tuple[int, int, float]] = []
    watch = DevWatch(lambda *values: seen.append(values) or len(seen) == 3, base_score=0.25)
    values = {name: SETTINGS[name] for name in ("train_batch_size", "train_group_size", "learning_rate")}
    settings = TrainingSettings.checked({**values, "max_steps": 7, "eval_steps": 0.4})
    facts = train(data.address, None, str(tiny_model), str(tmp_path / "model"), settings, ENCODER, watch=watch)
    assert [(step, steps) for step, steps, _ in seen] == [(0, 7), (3, 7), (6, 7)] and seen[0][2] == 0.25
    assert watch.stopped and facts["steps"] == 6 and not (tmp_path / "model").exists()
    assert len(measured) == 2


def test_a_search_in_which_nothing_can_be_trained_says_why(tiny_model: Path, tmp_path: Path) -> None:
    wrong = {"training.learning_rate": "1e-3..1e-2:log"}
    with pytest.raises(
        StepFailed, match=r"the first 3 trials failed, so the search ends: .*no passage is left as a negative"
    ):
        sharpen.tune(str(tiny_model), small_data(), space=wrong, relative_margin=1.0, **SETTINGS)


@pytest.mark.model
@pytest.mark.parametrize("size", ["", "dim:8+binary"])
def test_the_guard_figure_is_what_an_evaluation_of_the_model_says(tiny_model: Path, tmp_path: Path, size: str) -> None:
    data, other = small_data(), small_data(seed=5)
    general = DataSet(other.corpus, *_as_test(other))
    folders = [data_folder(one) for one in (data, general)]
    addresses = [one.address for one in folders]
    settings = {name: value for name, value in SETTINGS.items() if name in TrainingSettings.model_fields}
    settings |= {"served_size": size}
    groups = Groups(TrainingSettings.checked(settings), MiningSettings.checked({"enabled": False}), ENCODER)
    tuning = TuningSettings.checked({"evaluations": 1, "second": "guard", "guard_data": addresses[1]})
    request = Request(
        data=addresses[0],
        model=str(tiny_model),
        groups=groups,
        folder=str(tmp_path),
        negatives=str(tmp_path / "negatives"),
        tuning=tuning,
    )
    result = run_trial(request)
    found = sharpen.evaluate(result.model, addresses[1], split="test", variants=[size] if size else [])
    measured = found.metrics["ndcg_at_10"]
    if size:
        measured = stored_ndcg(found)
    assert result.guard == pytest.approx(measured, abs=1e-9) and 0 < measured < 1
    assert not (tmp_path / "guard").exists()


def _as_test(data: DataSet) -> tuple[Any, Any]:
    return tuple(table.with_columns(split=pl.lit("test")) for table in (data.queries, data.qrels))  # type: ignore[return-value]
