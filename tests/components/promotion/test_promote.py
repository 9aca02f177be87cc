from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from components.core import storage
from components.core.errors import GateRejected, InputError, StepFailed
from components.promotion import registry
from components.promotion.promote import judge, promote
from components.promotion.settings import PromotionSettings
from tests.components.promotion.conftest import GOOD, figures

NAME = "code-search"
SETTINGS = PromotionSettings.checked({})
Make = Callable[..., str]

BAD = GOOD | {"ndcg_at_10": figures(0.5, 0.4, -0.2)}


def test_the_first_model_needs_no_champion(root: str, make_model: Make, make_evaluation: Make) -> None:
    model = make_model("w1")
    address = promote(model, make_evaluation(model), NAME, root, SETTINGS)
    assert address == registry.version_address(root, NAME, "v0001")
    champion = registry.read_champion(root, NAME)
    assert champion
    assert (champion.version, champion.metrics["ndcg_at_10"]) == ("v0001", 0.58)
    assert "gain +0.0800" in champion.reason
    origin = registry.provenance(root, NAME)
    assert origin["gate"]["verdict"] == "promote"
    assert origin["comparison"]["base"]["metrics"]["ndcg_at_10"]["ci_low"] == 0.05
    assert (origin["data_fingerprint"], origin["settings"]["metric"]) == ("data-1", "ndcg_at_10")
    assert origin["code_version"]
    assert origin["run_id"]
    card = (storage.open_folder(address) / "README.md").read_text()
    assert "| ndcg_at_10 | 0.5000 | 0.5800 | +0.0800 |" in card


def test_a_better_model_follows_and_a_repeated_promotion_changes_nothing(
    root: str, make_model: Make, make_evaluation: Make
) -> None:
    first = promote(model := make_model("w1"), make_evaluation(model), NAME, root, SETTINGS)
    model = make_model("w2")
    evaluation = make_evaluation(model, champion=first)
    second = promote(model, evaluation, NAME, root, SETTINGS)
    champion = registry.read_champion(root, NAME)
    assert champion
    assert (champion.version, champion.previous) == ("v0002", "v0001")

    # a run whose steps were all cached ends with the champion as its candidate
    again = make_evaluation(model, champion=second)
    assert promote(model, again, NAME, root, SETTINGS) == second
    assert registry.read_champion(root, NAME) == champion
    assert registry.list_versions(root, NAME) == ["v0001", "v0002"]


def test_a_rejected_model_is_not_registered(root: str, make_model: Make, make_evaluation: Make) -> None:
    model = make_model("w1")
    evaluation = make_evaluation(model, entries=BAD)
    decision, page = judge(evaluation, SETTINGS)
    assert decision.verdict == "reject"
    assert "✗" in page
    with pytest.raises(GateRejected, match=r"not promoted: ndcg_at_10 .* gain -0\.1000"):
        promote(model, evaluation, NAME, root, SETTINGS)
    assert registry.list_models(root) == []


def test_a_champion_that_was_not_compared_with_stays(root: str, make_model: Make, make_evaluation: Make) -> None:
    promote(model := make_model("w1"), make_evaluation(model), NAME, root, SETTINGS)
    model = make_model("w2")
    with pytest.raises(StepFailed, match="v0001 is the champion, but the evaluation compared with the base model only"):
        promote(model, make_evaluation(model), NAME, root, SETTINGS)
    assert registry.list_versions(root, NAME) == ["v0001"]


def test_a_champion_that_changed_during_the_run_stays(root: str, make_model: Make, make_evaluation: Make) -> None:
    first = promote(model := make_model("w1"), make_evaluation(model), NAME, root, SETTINGS)
    late, quick = make_model("w2"), make_model("w3")
    late_evaluation = make_evaluation(late, champion=first)
    promote(quick, make_evaluation(quick, champion=first), NAME, root, SETTINGS)
    with pytest.raises(StepFailed, match="v0002 is the champion, but the evaluation compared with"):
        promote(late, late_evaluation, NAME, root, SETTINGS)
    assert registry.show(root, NAME).version == "v0002"


def test_the_evaluation_must_be_of_the_model(root: str, make_model: Make, make_evaluation: Make) -> None:
    evaluated = make_model("w1")
    with pytest.raises(InputError, match="measures the model"):
        promote(make_model("w2"), make_evaluation(evaluated), NAME, root, SETTINGS)
    # a copy of it is the same model
    promote(make_model("w1"), make_evaluation(evaluated), NAME, root, SETTINGS)


def test_a_dry_run_changes_nothing(root: str, make_model: Make, make_evaluation: Make) -> None:
    model = make_model("w1")
    dry = PromotionSettings.checked({"dry_run": True})
    assert promote(model, make_evaluation(model), NAME, root, dry) == ""
    assert registry.list_models(root) == []


def test_folders_of_another_kind_are_told(root: str, make_model: Make) -> None:
    model = make_model("w1")
    with pytest.raises(InputError, match="not an evaluation"):
        judge(model, SETTINGS)
    with pytest.raises(InputError, match="not a finished folder"):
        judge(storage.join(root, "nothing"), SETTINGS)


@pytest.mark.parametrize(("entries", "code"), [(GOOD, 0), (BAD, 3)])
def test_the_command_and_its_exit_codes(
    root: str, make_model: Make, make_evaluation: Make, entries: dict[str, dict[str, float]], code: int
) -> None:
    model = make_model("w1")
    command = [sys.executable, "-m", "components.promotion", "--model", model, "--model-name", NAME, "--registry", root]
    evaluation = make_evaluation(model, entries=entries)
    done = subprocess.run([*command, "--evaluation", evaluation], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code:
        assert done.stdout.startswith("reject:\n")
        assert len(done.stderr.splitlines()) == 1
        assert registry.list_models(root) == []
    else:
        assert f"champion: {registry.version_address(root, NAME, 'v0001')}" in done.stdout


def test_the_command_tells_every_fault_of_its_options() -> None:
    command = [sys.executable, "-m", "components.promotion", "--model", "m", "--evaluation", "e", "--registry", "r"]
    done = subprocess.run(
        [*command, "--model_name", "Bad Name", "--min_gain", "7"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2
    assert "model_name" in done.stderr
    assert "min_gain" in done.stderr
