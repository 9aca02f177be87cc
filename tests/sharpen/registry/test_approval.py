"""A version that has passed the gate waits until a person decides: who and when is recorded, one decision counts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest

from sharpen.errors import InputError, Overtaken, SharpenError
from sharpen.registry import approval, registry
from sharpen.registry.earlier_runs import trained_queries
from sharpen.registry.last_run import read as read_last_run
from sharpen.registry.promote import Promotion, promote
from sharpen.registry.settings import PromotionSettings
from sharpen.store import storage
from tests.sharpen.registry.conftest import Decide, Printed

Make = Callable[..., str]
NAME = "code-search"
ASKS = PromotionSettings.checked({"approval": True})
AT_ONCE = PromotionSettings.checked({})


@pytest.fixture
def wait(root: str, make_model: Make, make_evaluation: Make) -> Callable[..., Promotion]:
    """Promote a model of some weights, by a gate that asks for approval; compared with the champion of now."""

    def wait(weights: str, settings: PromotionSettings = ASKS) -> Promotion:
        model = make_model(weights)
        evaluation = make_evaluation(model, registry.champion_address(root, NAME))
        return promote(model, evaluation, NAME, root, settings)

    return wait


def test_it_waits_and_is_the_champion_when_somebody_approves(root: str, wait: Callable[..., Promotion]) -> None:
    ended = wait("w1")
    assert (ended.verdict, ended.champion) == ("waiting", "")
    assert ended.version == registry.version_address(root, NAME, "v0001")
    assert registry.read_champion(root, NAME) is None
    assert approval.waiting(root, NAME) == {"v0001": "waiting"}
    champion = approval.approve(root, NAME, "v0001", by="Ann", comment="fast enough")
    assert champion.version == "v0001" and champion.reason.startswith("approved by Ann at 20")
    assert ": fast enough; 200 test queries" in champion.reason
    assert approval.waiting(root, NAME) == {}
    (recorded,) = approval.approvals(root, NAME)
    assert (recorded.state, recorded.decided_by, recorded.comment) == ("approved", "Ann", "fast enough")
    # again, it changes nothing
    assert approval.approve(root, NAME, "v0001", by="Bob") == champion
    # what it was trained on is left out of later tests
    assert trained_queries.newest(root, NAME).endswith("v0001.u64")


def test_a_rejected_version_stays_registered_and_is_not_asked_about_again(
    root: str, make_model: Make, make_evaluation: Make
) -> None:
    evaluation = make_evaluation(model := make_model("w1"))
    promote(model, evaluation, NAME, root, ASKS)
    rejected = approval.reject(root, NAME, "v0001", by="Ann", comment="too slow")
    assert rejected.decision.startswith("rejected by Ann at 20") and rejected.decision.endswith(": too slow")
    again = promote(model, evaluation, NAME, root, ASKS)
    assert again.verdict == "reject" and "rejected by Ann" in again.reasons[0]
    assert registry.list_versions(root, NAME) == ["v0001"] and registry.read_champion(root, NAME) is None
    for decide in (approval.approve, approval.reject):
        with pytest.raises(InputError, match="was rejected by Ann"):
            decide(root, NAME, "v0001", by="Bob")
    # another evaluation of the same model asks anew
    assert promote(model, make_evaluation(model), NAME, root, ASKS).verdict == "waiting"
    assert approval.waiting(root, NAME) == {"v0001": "waiting"}


def test_only_the_champion_that_it_was_compared_with_is_replaced(root: str, wait: Callable[..., Promotion]) -> None:
    wait("w1", AT_ONCE)
    wait("w2")
    wait("w3", AT_ONCE)
    assert approval.waiting(root, NAME) == {"v0002": "outdated"}
    with pytest.raises(Overtaken, match="v0002 was compared with v0001, but v0003 is the champion now; run again"):
        approval.approve(root, NAME, "v0002", by="Ann")
    assert registry.champion_address(root, NAME).endswith("v0003")
    # nobody has decided by that, and after a rollback it counts again
    registry.rollback(root, NAME)
    assert approval.approve(root, NAME, "v0002", by="Ann").version == "v0002"
    # approved once, and followed since
    wait("w4", AT_ONCE)
    with pytest.raises(Overtaken, match="v0004 has followed it since"):
        approval.approve(root, NAME, "v0002", by="Ann")


def test_an_approval_that_was_begun_is_finished_and_not_rejected(root: str, wait: Callable[..., Promotion]) -> None:
    wait("w1")
    address = storage.join(root, "models", NAME, "approvals", "v0001.json")
    begun = {**storage.read_json(address), "state": "approved", "decided_by": "Ann", "decided_at": "2026-11-29"}
    storage.write_json(address, begun)
    assert approval.waiting(root, NAME) == {"v0001": "approved"}
    with pytest.raises(InputError, match="sharpen models approve code-search v0001 finishes it"):
        approval.reject(root, NAME, "v0001", by="Bob")
    assert approval.approve(root, NAME, "v0001", by="Bob").reason.startswith("approved by Ann at 2026-11-29;")
    with pytest.raises(InputError, match="has become the champion"):
        approval.reject(root, NAME, "v0001", by="Bob")


def test_of_two_decisions_at_once_one_counts(root: str, wait: Callable[..., Promotion]) -> None:
    wait("w1")
    came, barrier = [], threading.Barrier(4)

    def decide(who: str) -> None:
        barrier.wait()
        try:
            (approval.approve if who < "c" else approval.reject)(root, NAME, "v0001", by=who)
            came.append(who)
        except SharpenError:
            return

    threads = [threading.Thread(target=decide, args=[who]) for who in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (recorded,) = approval.approvals(root, NAME)
    assert recorded.decided_by in came
    champion = registry.read_champion(root, NAME)
    assert (champion is not None) == (recorded.state == "approved")
    assert not set(came) & set("cd") if champion else not set(came) & set("ab")


def test_what_does_not_wait_is_named(root: str, wait: Callable[..., Promotion]) -> None:
    wait("w1", AT_ONCE)
    wait("w2")
    with pytest.raises(InputError, match="v0001 does not wait for approval; there are: v0002"):
        approval.approve(root, NAME, "v0001", by="Ann")
    with pytest.raises(InputError, match="no version 'v0009'"):
        approval.reject(root, NAME, "v0009", by="Ann")
    with pytest.raises(InputError, match="who decides is not known"):
        approval.approve(root, NAME, "v0002", by=" ")
    storage.write_bytes(storage.join(root, "models", NAME, "approvals", "v0002.json"), b"{")
    with pytest.raises(InputError, match="damaged"):
        approval.waiting(root, NAME)


@pytest.mark.parametrize("root", ["disk"], indirect=True)
def test_the_step_ends_well_and_says_what_to_do_next(
    root: str, make_model: Make, make_evaluation: Make, decide: Decide, printed: Printed
) -> None:
    evaluation = make_evaluation(model := make_model("w1"))
    result = decide(model, evaluation, "first", again=True, settings=json.dumps({"approval": True}))
    assert (result.follows, result.promotion.verdict) == ("waits for approval", "waiting")
    lines = printed(result)
    assert "Verdict: waits for approval" in lines
    assert any(line.startswith(f"  sharpen models approve {NAME} v0001 --store") for line in lines)
    last = read_last_run(root, NAME)
    assert last and (last.verdict, last.version) == ("waiting", "")
