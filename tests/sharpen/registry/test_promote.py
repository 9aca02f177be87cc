from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from sharpen.errors import InputError
from sharpen.registry import promote as module
from sharpen.registry import registry
from sharpen.registry.promote import judge, promote
from sharpen.registry.settings import PromotionSettings
from sharpen.store import storage
from tests.sharpen.registry.conftest import GOOD, figures

NAME = "code-search"
SETTINGS = PromotionSettings.checked({})
Make = Callable[..., str]


def promoted(model: str, evaluation: str, root: str) -> str:
    """Promote, which must succeed; the version's address."""
    ended = promote(model, evaluation, NAME, root, SETTINGS)
    assert ended.verdict == "promote", ended.reasons
    return ended.version


BAD = GOOD | {"ndcg_at_10": figures(0.5, 0.4, -0.2)}


def test_the_first_model_needs_no_champion(root: str, make_model: Make, make_evaluation: Make) -> None:
    model = make_model("w1")
    ended = promote(model, make_evaluation(model), NAME, root, SETTINGS)
    address = ended.version
    assert address == ended.champion == registry.version_address(root, NAME, "v0001")
    assert ended.verdict == "promote"
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
    card = (storage.open_artifact(address) / "README.md").read_text()
    assert "| nDCG@10 | 0.5000 | 0.5800 | +0.0800 |" in card


def test_a_better_model_follows_and_a_repeated_promotion_changes_nothing(
    root: str, make_model: Make, make_evaluation: Make
) -> None:
    first = promoted(model := make_model("w1"), make_evaluation(model), root)
    model = make_model("w2")
    evaluation = make_evaluation(model, champion=first)
    second = promoted(model, evaluation, root)
    champion = registry.read_champion(root, NAME)
    assert champion
    assert (champion.version, champion.previous) == ("v0002", "v0001")

    # a run whose steps were all cached ends with the champion as its candidate
    again = make_evaluation(model, champion=second)
    assert promoted(model, again, root) == second
    assert registry.read_champion(root, NAME) == champion
    assert registry.list_versions(root, NAME) == ["v0001", "v0002"]


def test_a_rejected_model_is_not_registered(root: str, make_model: Make, make_evaluation: Make) -> None:
    model = make_model("w1")
    evaluation = make_evaluation(model, entries=BAD)
    assert judge(evaluation, NAME, root, SETTINGS).verdict == "reject"
    ended = promote(model, evaluation, NAME, root, SETTINGS)
    assert (ended.verdict, ended.version) == ("reject", "")
    assert any("gain -0.1000" in reason for reason in ended.reasons)
    assert registry.list_models(root) == []


def test_a_champion_that_was_not_compared_with_stays(root: str, make_model: Make, make_evaluation: Make) -> None:
    promoted(model := make_model("w1"), make_evaluation(model), root)
    model = make_model("w2")
    ended = promote(model, make_evaluation(model), NAME, root, SETTINGS)
    assert (ended.verdict, ended.version) == ("overtaken", "")
    assert "v0001 is the champion, but the evaluation compared with the base model only" in ended.reasons[0]
    assert registry.list_versions(root, NAME) == ["v0001"]


def test_a_champion_that_changed_during_the_run_is_named_and_can_be_beaten(
    root: str, make_model: Make, make_evaluation: Make
) -> None:
    first = promoted(model := make_model("w1"), make_evaluation(model), root)
    late, quick = make_model("w2"), make_model("w3")
    late_evaluation = make_evaluation(late, champion=first)
    winner = promoted(quick, make_evaluation(quick, champion=first), root)
    ended = promote(late, late_evaluation, NAME, root, SETTINGS)
    assert (ended.verdict, ended.version, ended.champion) == ("overtaken", "", winner)
    assert registry.show(root, NAME).version == "v0002"
    # compared with the new champion it is one of many: better, or not
    worse = make_evaluation(late, champion=ended.champion, entries=BAD)
    assert promote(late, worse, NAME, root, SETTINGS).verdict == "reject"
    assert promoted(late, make_evaluation(late, champion=ended.champion), root).endswith("/v0003")
    champion = registry.read_champion(root, NAME)
    assert champion and champion.history == ["v0001", "v0002"]


def test_a_champion_that_changes_in_the_last_moment_is_not_overwritten(
    root: str, make_model: Make, make_evaluation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another promotion comes between the look at the champion and the write of the pointer."""
    first = promoted(model := make_model("w1"), make_evaluation(model), root)
    late, quick = make_model("w2"), make_model("w3")
    quick_evaluation = make_evaluation(quick, champion=first)
    original = registry.register

    def register_and_be_overtaken(*arguments, **options):
        entry = original(*arguments, **options)
        monkeypatch.setattr(module.registry, "register", original)
        assert promote(quick, quick_evaluation, NAME, root, SETTINGS).verdict == "promote"
        return entry

    late_evaluation = make_evaluation(late, champion=first)
    monkeypatch.setattr(module.registry, "register", register_and_be_overtaken)
    ended = promote(late, late_evaluation, NAME, root, SETTINGS)
    assert (ended.verdict, ended.champion) == ("overtaken", registry.version_address(root, NAME, "v0003"))
    assert "v0003 is the champion now, but v0002 was compared with v0001" in ended.reasons[0]
    # its number stays its own
    assert promoted(late, make_evaluation(late, champion=ended.champion), root).endswith("/v0002")
    assert registry.list_versions(root, NAME) == ["v0001", "v0002", "v0003"]


def test_the_same_promotion_answers_the_same_also_when_its_champion_was_replaced(
    root: str, make_model: Make, make_evaluation: Make
) -> None:
    first = promoted(model := make_model("w1"), make_evaluation(model), root)
    second = make_model("w2")
    evaluation = make_evaluation(second, champion=first)
    made = promoted(second, evaluation, root)
    pointer = registry.read_champion(root, NAME)
    # the very same call, as a pod that died after its last write is tried again
    assert promoted(second, evaluation, root) == made
    assert registry.read_champion(root, NAME) == pointer
    third = make_model("w3")
    latest = promoted(third, make_evaluation(third, champion=made), root)
    ended = promote(second, evaluation, NAME, root, SETTINGS)
    assert (ended.verdict, ended.version, ended.champion) == ("promote", made, latest)
    assert registry.champion_address(root, NAME) == latest
    # taken back by hand, it is no champion that was replaced, and must beat the one of now
    registry.rollback(root, NAME)
    registry.rollback(root, NAME)
    champion = registry.read_champion(root, NAME)
    assert champion and champion.version == "v0001"
    assert promoted(second, evaluation, root) == made
    assert registry.champion_address(root, NAME) == made


def test_the_evaluation_must_be_of_the_model(root: str, make_model: Make, make_evaluation: Make) -> None:
    evaluated = make_model("w1")
    with pytest.raises(InputError, match="measures the model"):
        promote(make_model("w2"), make_evaluation(evaluated), NAME, root, SETTINGS)
    # a copy of it is the same model
    promote(make_model("w1"), make_evaluation(evaluated), NAME, root, SETTINGS)


def test_a_dry_run_changes_nothing(root: str, make_model: Make, make_evaluation: Make) -> None:
    model = make_model("w1")
    dry = PromotionSettings.checked({"mode": "never"})
    ended = promote(model, make_evaluation(model), NAME, root, dry)
    assert (ended.verdict, ended.version, ended.reasons) == (
        *("promote", ""),
        ["only a report: the gate passed, nothing was promoted"],
    )
    assert registry.list_models(root) == []


def test_folders_of_another_kind_are_told(root: str, make_model: Make) -> None:
    model = make_model("w1")
    with pytest.raises(InputError, match="not an evaluation"):
        judge(model, NAME, root, SETTINGS)
    with pytest.raises(InputError, match="not a finished folder"):
        judge(storage.join(root, "nothing"), NAME, root, SETTINGS)


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


def test_the_command_ends_with_3_and_what_to_do_when_the_champion_has_changed(
    root: str, make_model: Make, make_evaluation: Make
) -> None:
    promoted(model := make_model("w1"), make_evaluation(model), root)
    model = make_model("w2")
    command = [sys.executable, "-m", "components.promotion", "--model", model, "--model-name", NAME, "--registry", root]
    done = subprocess.run(
        [*command, "--evaluation", make_evaluation(model)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    (line,) = done.stderr.splitlines()
    assert "v0001 is the champion, but the evaluation compared with the base model only" in line
    assert line.endswith(f"evaluate again, against {registry.version_address(root, NAME, 'v0001')}")
    assert done.stdout.startswith("overtaken:\n")


def test_the_command_tells_every_fault_of_its_options() -> None:
    command = [sys.executable, "-m", "components.promotion", "--model", "m", "--evaluation", "e", "--registry", "r"]
    done = subprocess.run(
        [*command, "--model_name", "Bad Name", "--min_gain", "7"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2
    assert "model_name" in done.stderr
    assert "min_gain" in done.stderr
