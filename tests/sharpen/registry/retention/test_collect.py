"""What a collection deletes, and what it never does: on a disk and in a real store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from sharpen.errors import InputError, StepFailed
from sharpen.registry import approval, registry
from sharpen.registry.promote import promote
from sharpen.registry.retention import RetentionSettings, collect, find_garbage, running
from sharpen.registry.retention.versions import delete_version
from sharpen.registry.settings import PromotionSettings
from sharpen.store import storage
from sharpen.store.cleanup.inventory import aged_files

Make = Callable[..., str]
NAME = "code-search"
OLD = RetentionSettings(days=30, versions=1)
RULES = PromotionSettings.checked({})


@pytest.fixture
def age(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Everything that is listed is 100 days old, except files whose names hold one of these texts."""
    young: set[str] = set()

    def older(address: str) -> Iterator[Any]:
        for file in aged_files(address):
            is_young = any(text in f"{address}/{file.name}" for text in young)
            yield file if is_young else replace(file, age=file.age + 100 * 86_400)

    monkeypatch.setattr(collect, "aged_files", older)
    return young


@pytest.fixture
def version(root: str, make_model: Make, make_evaluation: Make) -> Callable[..., str]:
    """Make a version whose model comes from data and negatives of its own run; the champion unless it waits."""

    def make(weights: str, *, start: str = "hub/base", data: str = "", settings: PromotionSettings = RULES) -> str:
        run = storage.join(root, "runs", weights)
        data = data or a_folder(storage.join(run, "data"))
        model = storage.join(run, "finetuning")
        with storage.publish(model, producer="finetuning", facts={"base_model": start}) as folder:
            (folder / "model.safetensors").write_text(weights)
            (folder / "training.json").write_text(json.dumps({"base_model": start, "data": f"{data}/train"}))
        evaluation = make_evaluation(model, registry.champion_address(root, NAME))
        return promote(model, evaluation, NAME, root, settings).version

    return make


def a_folder(address: str, **facts: Any) -> str:
    with storage.publish(address, producer="data_prep", facts=facts) as folder:
        (folder / "rows").write_text("rows " + address)
    return address


def garbage(root: str, **options: Any) -> dict[str, str]:
    """Address below the root -> kind."""
    found = find_garbage(root, options.pop("settings", OLD), **options)
    return {one.address.removeprefix(root).strip("/"): one.kind for one in found}


def test_what_a_champion_needs_stays_and_what_nothing_needs_goes(
    root: str, version: Callable[..., str], age: set[str]
) -> None:
    shared = a_folder(storage.join(root, "runs", "shared", "data"))
    first = version("w1", data=shared)
    version("w2")
    version("w3", start=first)
    version("w4")
    unneeded = a_folder(storage.join(root, "runs", "lost", "data"))
    # the champion, the one before it, and what that was trained from
    assert registry.champion_address(root, NAME).endswith("v0004")
    found = garbage(root)
    assert found.pop(f"models/{NAME}/versions/v0002") == "versions"
    assert f"models/{NAME}/versions/v0001" not in found
    assert found.pop("runs/lost/data") == "runs"
    assert {address for address in found if "w2" in address} == {"runs/w2/finetuning", "runs/w2/data"}
    for needed in ("shared", "w1/", "w3/", "w4/"):
        assert not [address for address in found if needed in address]
    before = {file.name for file in storage.list_files(root)}
    deleted = [one.address for one in list(find_garbage(root, OLD)) if one.delete()]
    assert unneeded in deleted
    gone = before - {file.name for file in storage.list_files(root)}
    assert gone and all("w2" in name or "lost" in name or "v0002" in name or "/evaluation/" in name for name in gone)
    assert registry.list_versions(root, NAME) == ["v0001", "v0003", "v0004"]
    champion = registry.read_champion(root, NAME)
    assert champion and (champion.history, champion.retired) == (["v0001", "v0003"], [])
    assert "v0002" not in champion.evaluations
    # everything that the champion needs can be opened still
    storage.open_artifact(champion.evaluations["v0004"])
    storage.open_artifact(shared)
    assert registry.rollback(root, NAME).version == "v0003"
    assert garbage(root) == {}


def test_age_and_count(root: str, version: Callable[..., str], age: set[str]) -> None:
    for weights in ("w1", "w2", "w3", "w4", "w5"):
        version(weights)
    versions = {name for name, kind in garbage(root).items() if kind == "versions"}
    assert versions == {f"models/{NAME}/versions/v000{n}" for n in (1, 2, 3)}
    more = garbage(root, settings=RetentionSettings(days=30, versions=3))
    assert {name for name, kind in more.items() if kind == "versions"} == {
        f"models/{NAME}/versions/v000{n}" for n in (1, 2)
    }
    assert garbage(root, settings=RetentionSettings(days=365, versions=1)) == {}
    # what was written lately needs what it names
    age.add("runs/w2/finetuning")
    found = garbage(root)
    assert "runs/w2/finetuning" not in found and "runs/w2/data" not in found and "runs/w1/data" in found
    assert set(garbage(root, kinds=["versions"]).values()) == {"versions"}


def test_aliases_and_what_waits_stay(root: str, version: Callable[..., str], age: set[str]) -> None:
    version("w1")
    version("w2")
    version("w3")
    registry.set_alias(root, NAME, "v0001", "staging")
    version("w4", settings=PromotionSettings.checked({"approval": True}))
    version("w5")
    assert approval.waiting(root, NAME) == {"v0004": "outdated"}
    assert {name[-5:] for name, kind in garbage(root).items() if kind == "versions"} == {"v0002"}
    assert not [name for name in garbage(root) if "w4" in name or "w1" in name]
    approval.reject(root, NAME, "v0004", by="Ann")
    assert {name[-5:] for name, kind in garbage(root).items() if kind == "versions"} == {"v0002", "v0004"}
    for one in list(find_garbage(root, OLD)):
        assert one.delete()
    assert registry.list_versions(root, NAME) == ["v0001", "v0003", "v0005"]
    assert approval.approvals(root, NAME) == []


def test_a_model_without_a_champion_keeps_its_versions(root: str, version: Callable[..., str], age: set[str]) -> None:
    for weights in ("w1", "w2"):
        version(weights, settings=PromotionSettings.checked({"approval": True}))
    approval.reject(root, NAME, "v0001", by="Ann")
    assert garbage(root) == {}
    assert not delete_version(root, NAME, "v0001")


def test_while_a_run_goes_on_runs_and_versions_stay(
    root: str, version: Callable[..., str], age: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for weights in ("w1", "w2", "w3"):
        version(weights)
    found = list(find_garbage(root, OLD))
    assert {one.kind for one in found} == {"runs", "versions"}
    running.begin(root, "run-1")
    running.begin(root, "run-1")
    assert running.runs(root, 30) == ["run-1"] and garbage(root) == {}
    # one that began after the search is seen too
    assert not any(one.delete() for one in found)
    # a mark that nobody took away counts for the days
    assert running.runs(root, -1.0) == []
    running.end(root, "run-1")
    with pytest.raises(ZeroDivisionError), running.during(root, "run-2"):
        assert running.runs(root, 30) == ["run-2"]
        # the process that made it has ended
        monkeypatch.setattr("sharpen.registry.process_identity.has_ended", lambda process: bool(process))
        assert running.runs(root, 30) == []
        raise ZeroDivisionError
    storage.write_bytes(storage.join(root, "running", "run-3.json"), b"{")
    assert running.runs(root, 30) == ["run-3"]
    running.end(root, "run-3")
    assert all(one.delete() for one in found)


def test_what_was_written_to_or_named_since_the_search_stays(
    root: str, version: Callable[..., str], age: set[str]
) -> None:
    for weights in ("w1", "w2", "w3", "w4"):
        version(weights)
    found = {one.address.removeprefix(root).strip("/"): one for one in find_garbage(root, OLD)}
    registry.set_alias(root, NAME, "v0001", "staging")
    assert not found[f"models/{NAME}/versions/v0001"].delete()
    champion = registry.read_champion(root, NAME)
    assert champion and champion.retired == []
    age.add("runs/w2/data")
    assert not found["runs/w2/data"].delete()
    assert found["runs/w1/data"].delete()
    storage.open_artifact(storage.join(root, "runs", "w2", "data"))


def test_nobody_can_name_what_is_being_deleted(root: str, version: Callable[..., str]) -> None:
    for weights in ("w1", "w2", "w3"):
        version(weights)
    registry.change_champion(root, NAME, lambda present: replace(present, retired=["v0001"]))
    with pytest.raises(InputError, match="v0001 is being deleted"):
        registry.promote(root, NAME, "v0001", reason="")
    with pytest.raises(InputError, match="v0001 is being deleted"):
        registry.set_alias(root, NAME, "v0001", "staging")
    assert registry.set_alias(root, NAME, "v0002", "staging") == ""
    with pytest.raises(InputError, match="v0001 is being deleted"):
        registry.set_alias(root, NAME, "v0001", "staging")
    assert registry.show(root, NAME, "staging").version == "v0002"
    # and the next collection finishes it, however young
    (one,) = [one for one in find_garbage(root, OLD) if one.kind == "versions"]
    assert one.what == f"{NAME} v0001, half deleted" and one.delete()
    assert registry.list_versions(root, NAME) == ["v0002", "v0003"]


def test_the_number_of_a_deleted_version_is_not_used_again(
    root: str, version: Callable[..., str], age: set[str]
) -> None:
    for weights in ("w1", "w2", "w3"):
        version(weights)
    assert delete_version(root, NAME, "v0001")
    assert version("w1-again").endswith("v0004")
    model = storage.join(root, "runs", "w1", "finetuning")
    assert registry.register(root, NAME, model, {}, run_id="r").version == "v0005"


def test_vectors_searches_and_ends_of_runs_go_by_age_alone(
    root: str, version: Callable[..., str], age: set[str]
) -> None:
    version("w1")
    for name in ("one", "two"):
        for part in ("description.json", "a.keys.npy"):
            storage.write_bytes(storage.join(root, "vectors", name, part), b"1")
    for run in ("run-1", "local"):
        for form in ("json", "html"):
            storage.write_bytes(storage.join(root, "models", NAME, "outcomes", f"{run}.{form}"), b"{}")
    for name in ("a-tune-1", "a-tune-2"):
        storage.write_bytes(storage.join(root, "tuning", name, f"{name}-000.json"), b"{}")
    age |= {"vectors/two", "tuning/a-tune-2"}
    found = garbage(root)
    assert found.pop("vectors/one") == "vectors" and "vectors/two" not in found
    assert found.pop("tuning/a-tune-1") == "searches" and "tuning/a-tune-2" not in found
    (one,) = find_garbage(root, OLD, kinds=("searches",))
    assert one.address.endswith("tuning/a-tune-1") and one.delete()
    assert storage.list_files(one.address) == []
    assert len(storage.list_files(storage.join(root, "tuning", "a-tune-2"))) == 1
    # the run that made the champion is called local in a test
    assert set(found) >= {f"models/{NAME}/outcomes/run-1.{form}" for form in ("json", "html")}
    assert not [name for name in found if "outcomes/local" in name]


def test_folders_of_a_pipeline_elsewhere(root: str, version: Callable[..., str], age: set[str]) -> None:
    other = storage.join(root, "elsewhere", "artifacts")
    here = storage.join(root, "registry-of-it")
    a_folder(storage.join(other, "r1", "task", "files", "data"))
    a_folder(storage.join(other, "r1", "task", "files", "data", "inner"))
    assert garbage(here) == {}
    (one,) = find_garbage(here, OLD, runs=[other])
    assert one.address == storage.join(other, "r1", "task", "files", "data")
    assert one.delete() and storage.list_files(other) == []


def test_damage_keeps_everything(root: str, version: Callable[..., str], age: set[str]) -> None:
    champion = version("w1")
    a_folder(storage.join(root, "runs", "lost", "data"))
    storage.write_bytes(storage.join(champion, "provenance.json"), b"{")
    with pytest.raises((InputError, StepFailed), match="damaged"):
        list(find_garbage(root, OLD, kinds=["runs"]))
