from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sharpen.errors import InputError, NoSpace, Overtaken, SharpenError, StepFailed
from sharpen.registry import copies, registry, versions
from sharpen.store import object_store, storage

NAME = "code-search"


def register(root: str, model: str, **facts: object) -> registry.Version:
    return registry.register(root, NAME, model, {"metrics": {"ndcg_at_10": 0.5}, **facts}, run_id="run-1")


def at_once(count: int, work: Callable[[int], object]) -> list[object]:
    gate = threading.Barrier(count)

    def wait_and_work(number: int) -> object:
        gate.wait()
        try:
            return work(number)
        except SharpenError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(wait_and_work, range(count)))


def test_an_empty_registry(root: str) -> None:
    assert registry.list_models(root) == []
    assert registry.list_versions(root, NAME) == []
    assert registry.read_champion(root, NAME) is None
    assert registry.champion_address(root, NAME) == ""
    with pytest.raises(InputError, match="no such model"):
        registry.show(root, NAME)


def test_a_registered_version_holds_the_model_and_where_it_comes_from(
    root: str, make_model: Callable[..., str]
) -> None:
    model = make_model("w1", told="Trained with care.")
    facts = {"metrics": {"ndcg_at_10": 0.5}, "data_fingerprint": "d"}
    version = registry.register(root, NAME, model, facts, run_id="r", card=lambda text: f"{text}\n## Results\n\nx\n")
    assert version.version == "v0001"
    assert version.address == storage.join(root, "models", NAME, "versions", "v0001")
    assert registry.list_models(root) == [NAME]
    assert registry.list_versions(root, NAME) == ["v0001"]
    assert registry.read_champion(root, NAME) is None, "registered is not promoted"
    folder = storage.open_artifact(version.address)
    assert (folder / "model.safetensors").read_text() == "w1"
    assert (folder / "1_Pooling" / "config.json").exists()
    assert (folder / "README.md").read_text() == "# A model\n\nTrained with care.\n\n## Results\n\nx\n"
    origin = registry.provenance(root, NAME, "v0001")
    assert origin["data_fingerprint"] == "d"
    assert (origin["source"], origin["version"], origin["model_name"]) == (model, "v0001", NAME)
    assert registry.show(root, NAME, "v0001") == version
    assert version.metrics == {"ndcg_at_10": 0.5}


def test_numbers_count_up_and_the_same_model_keeps_its_number(root: str, make_model: Callable[..., str]) -> None:
    first, second = make_model("w1"), make_model("w2")
    assert [register(root, model).version for model in (first, second, first)] == ["v0001", "v0002", "v0001"]
    # the same weights with another model card and other times are the same model
    assert register(root, make_model("w2", told="later")).version == "v0002"
    assert registry.list_versions(root, NAME) == ["v0001", "v0002"]


def test_promotion_and_the_way_back(root: str, make_model: Callable[..., str]) -> None:
    for weights in ("w1", "w2", "w3"):
        version = register(root, make_model(weights)).version
        champion = registry.promote(root, NAME, version, reason=f"better than all before {version}")
    assert (champion.version, champion.previous, champion.history) == ("v0003", "v0002", ["v0001", "v0002"])
    assert champion.reason == "better than all before v0003"
    assert registry.read_champion(root, NAME) == champion
    assert registry.champion_address(root, NAME) == registry.version_address(root, NAME, "v0003")
    assert registry.show(root, NAME).version == "v0003"

    assert registry.rollback(root, NAME).version == "v0002"
    back = registry.rollback(root, NAME)
    assert (back.version, back.previous, back.reason) == ("v0001", "", "rolled back from v0002")
    with pytest.raises(InputError, match="first champion"):
        registry.rollback(root, NAME)
    assert registry.promote(root, NAME, "v0003", reason="forward again").previous == "v0001"


def test_promoting_the_champion_again_changes_nothing(root: str, make_model: Callable[..., str]) -> None:
    register(root, make_model("w1"))
    champion = registry.promote(root, NAME, "v0001", reason="first")
    etag = storage.read_with_etag(storage.join(root, "models", NAME, "champion.json"))[1]
    assert registry.promote(root, NAME, "v0001", reason="again", expected="") == champion
    assert storage.read_with_etag(storage.join(root, "models", NAME, "champion.json"))[1] == etag


def test_a_promotion_that_compared_with_another_champion_is_refused(root: str, make_model: Callable[..., str]) -> None:
    for weights in ("w1", "w2", "w3"):
        register(root, make_model(weights))
    registry.promote(root, NAME, "v0001", reason="", expected="")
    registry.promote(root, NAME, "v0002", reason="", expected="v0001")
    with pytest.raises(Overtaken, match="v0002 is the champion now, but v0003 was compared with v0001"):
        registry.promote(root, NAME, "v0003", reason="", expected="v0001")
    assert registry.show(root, NAME).version == "v0002"


def test_of_sixteen_first_promotions_one_wins(root: str, make_model: Callable[..., str]) -> None:
    names = [register(root, make_model(f"w{number}")).version for number in range(4)]
    answers = at_once(16, lambda n: registry.promote(root, NAME, names[n % 4], reason=str(n), expected=""))
    won = [answer for answer in answers if isinstance(answer, registry.Champion)]
    champion = registry.read_champion(root, NAME)
    # threads with the winner's version find their work done; all others are told, and nobody else's write is seen
    assert won
    assert all(answer == champion for answer in won)
    lost = [str(answer) for answer in answers if isinstance(answer, Overtaken)]
    assert len(won) + len(lost) == 16
    assert len(lost) >= 12
    assert all("somebody else promoted" in line or "is the champion now" in line for line in lost)


def test_no_promotion_by_hand_is_lost(root: str, make_model: Callable[..., str]) -> None:
    names = [register(root, make_model(f"w{number}")).version for number in range(8)]
    answers = at_once(8, lambda n: registry.promote(root, NAME, names[n], reason=str(n)))
    won = [answer.version for answer in answers if isinstance(answer, registry.Champion)]
    champion = registry.read_champion(root, NAME)
    assert champion
    # every promotion that was told it won is in the chain, so none was overwritten unseen
    assert sorted([*champion.history, champion.version]) == sorted(won)


def test_versions_that_are_written_at_once_take_different_numbers(root: str, make_model: Callable[..., str]) -> None:
    models = [make_model(f"w{number}") for number in range(8)]
    answers = at_once(8, lambda n: register(root, models[n]))
    assert sorted(answer.version for answer in answers) == [f"v{n:04}" for n in range(1, 9)]  # type: ignore[attr-defined]
    for answer in answers:
        assert isinstance(answer, registry.Version)
        weights = (storage.open_artifact(answer.address) / "model.safetensors").read_text()
        assert weights == f"w{answers.index(answer)}"


def test_the_same_model_written_at_once_is_one_version(root: str, make_model: Callable[..., str]) -> None:
    model = make_model("w")
    answers = at_once(6, lambda _: register(root, model))
    assert {answer.version for answer in answers} == {answers[0].version}  # type: ignore[attr-defined]
    assert len(registry.list_versions(root, NAME)) == 1


def test_the_same_model_registered_between_two_listings_is_one_version(
    root: str, make_model: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, list_files = make_model("w"), storage.list_files

    def overtaken(address: str) -> list[storage.StoredFile]:
        listed = list_files(address)
        monkeypatch.undo()
        register(root, model)
        return listed

    monkeypatch.setattr(storage, "list_files", overtaken)
    assert register(root, model).version == "v0001"
    assert registry.list_versions(root, NAME) == ["v0001"]


def test_a_half_written_version_is_never_seen(
    root: str, make_model: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("w1")
    with monkeypatch.context() as patch:

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        target = (object_store, "upload") if storage.is_remote(root) else (versions.shutil, "copyfile")
        patch.setattr(*target, full)
        with pytest.raises(NoSpace, match="no space left"):
            register(root, model)
    assert registry.list_models(root) == []
    assert registry.list_versions(root, NAME) == []
    with pytest.raises(InputError, match="no such model"):
        registry.promote(root, NAME, "v0001", reason="")

    # the promotion that failed holds nobody up, and its number is used
    start = time.monotonic()
    assert register(root, model).version == "v0001"
    assert time.monotonic() - start < 20


def test_pull_copies_what_was_promoted(root: str, make_model: Callable[..., str], tmp_path: Path) -> None:
    register(root, make_model("w1"))
    register(root, make_model("w2"))
    registry.promote(root, NAME, "v0001", reason="")
    target = tmp_path / "my model"
    copies.pull(root, NAME, "champion", target)
    assert (target / "model.safetensors").read_text() == "w1"
    copies.pull(root, NAME, "v0002", target)
    assert (target / "model.safetensors").read_text() == "w2"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="not written by Sharpen"):
        copies.pull(root, NAME, "champion", tmp_path / "full")


def test_pull_replaces_only_what_pull_wrote(root: str, make_model: Callable[..., str], tmp_path: Path) -> None:
    for weights in ("w1", "w2"):
        register(root, make_model(weights))
    target = tmp_path / "my model"
    copies.pull(root, NAME, "v0001", target)
    (target / "notes.txt").write_text("mine")
    (target / "eval").mkdir()
    (target / "eval" / "scores.json").write_text("[1]")
    (target / "link").symlink_to("/nowhere")
    copies.pull(root, NAME, "v0002", target)
    assert (target / "model.safetensors").read_text() == "w2"
    assert ((target / "notes.txt").read_text(), (target / "eval" / "scores.json").read_text()) == ("mine", "[1]")
    assert (target / "link").readlink() == Path("/nowhere")
    # a file of the user's where one of the model's must be written
    (target / "README.md").write_text("my own words")
    for version in ("v0001", "v0002"):
        with pytest.raises(
            InputError, match=r"README\.md is not as it was pulled, and the model has a file of that name"
        ):
            copies.pull(root, NAME, version, target)
    assert (target / "README.md").read_text() == "my own words"
    assert (target / "model.safetensors").read_text() == "w2"
    (target / "README.md").unlink()
    shutil.rmtree(target / "1_Pooling")
    (target / "1_Pooling").write_text("where a folder must be made")
    with pytest.raises(InputError, match="1_Pooling is not as it was pulled"):
        copies.pull(root, NAME, "v0001", target)
    (target / "1_Pooling").unlink()
    copies.pull(root, NAME, "v0001", target)
    assert (target / "model.safetensors").read_text() == "w1"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".my")) == []


def test_pull_writes_over_no_step_and_not_into_the_registry(
    root: str, make_model: Callable[..., str], tmp_path: Path
) -> None:
    register(root, make_model("w1"))
    other = tmp_path / "finetuning"
    with storage.publish(str(other), producer="finetuning") as folder:
        (folder / "model.safetensors").write_text("precious")
    with pytest.raises(InputError, match="holds what finetuning wrote, not a pulled model"):
        copies.pull(root, NAME, "v0001", other)
    assert (other / "model.safetensors").read_text() == "precious"
    if not storage.is_remote(root):
        with pytest.raises(InputError, match="lies in the registry itself"):
            copies.pull(root, NAME, "v0001", Path(root) / "models" / NAME / "versions" / "v0002")


def test_pull_refuses_a_damaged_version(root: str, make_model: Callable[..., str], tmp_path: Path) -> None:
    version = register(root, make_model("w1"))
    registry.promote(root, NAME, "v0001", reason="")
    storage.write_bytes(storage.join(version.address, "model.safetensors"), b"ww")
    with pytest.raises(StepFailed, match=r"model\.safetensors is (missing or )?damaged"):
        copies.pull(root, NAME, "champion", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_pull_refuses_a_version_whose_marker_was_changed_with_it(
    root: str, make_model: Callable[..., str], tmp_path: Path
) -> None:
    version = register(root, make_model("w1"))
    registry.promote(root, NAME, "v0001", reason="")
    other = storage.read_json(storage.join(make_model("w9"), "_SUCCESS.json"))
    marker = storage.read_json(storage.join(version.address, "_SUCCESS.json"))
    forged = {file["name"]: file for file in other["files"]}["model.safetensors"]
    marker["files"] = [forged if file["name"] == forged["name"] else file for file in marker["files"]]
    storage.write_bytes(storage.join(version.address, "model.safetensors"), b"w9")
    storage.write_json(storage.join(version.address, "_SUCCESS.json"), marker)
    with pytest.raises(StepFailed, match="do not use"):
        copies.pull(root, NAME, "v0001", tmp_path / "x")
    marker["facts"]["content"] = versions.content_of(marker["files"])
    storage.write_json(storage.join(version.address, "_SUCCESS.json"), marker)
    with pytest.raises(StepFailed, match="not the content that was promoted"):
        copies.pull(root, NAME, "champion", tmp_path / "x")


def test_pulls_during_promotions_get_a_model_that_was_promoted(
    root: str, make_model: Callable[..., str], tmp_path: Path
) -> None:
    for weights in ("w1", "w2"):
        register(root, make_model(weights))
    registry.promote(root, NAME, "v0001", reason="")
    ended = threading.Event()

    def pull(number: int) -> set[str]:
        seen = set()
        while not ended.is_set():
            target = tmp_path / str(number)
            copies.pull(root, NAME, "champion", target)
            seen.add((target / "model.safetensors").read_text())
        return seen

    with ThreadPoolExecutor(3) as pool:
        pulls = [pool.submit(pull, number) for number in range(3)]
        try:
            for number in range(40):
                registry.promote(root, NAME, f"v000{1 + (number + 1) % 2}", reason="")
        finally:
            ended.set()
        assert all(pulled.result() <= {"w1", "w2"} for pulled in pulls)


def test_wrong_names_are_told(root: str, make_model: Callable[..., str]) -> None:
    register(root, make_model("w1"))
    with pytest.raises(InputError, match=r"did you mean code-search\?"):
        registry.show(root, "code-serch")
    with pytest.raises(InputError, match="no version 'v0007'; there are: v0001"):
        registry.promote(root, NAME, "v0007", reason="")
    with pytest.raises(InputError, match="no version was promoted"):
        registry.show(root, NAME)
    with pytest.raises(InputError, match="nothing to roll back"):
        registry.rollback(root, NAME)


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "../x", "-a", "a-", "a" * 64, "a_b", "a.b"])
def test_names_that_no_model_can_have(name: str, tmp_path: Path) -> None:
    for call in (registry.list_versions, registry.read_champion):
        with pytest.raises(InputError, match="cannot be the name of a model"):
            call(str(tmp_path), name)


def test_a_damaged_pointer_is_told(root: str, make_model: Callable[..., str]) -> None:
    register(root, make_model("w1"))
    storage.write_bytes(storage.join(root, "models", NAME, "champion.json"), b"{")
    with pytest.raises(InputError, match=r"champion\.json: damaged"):
        registry.read_champion(root, NAME)


def test_an_index_stands_beside_the_version_that_made_it() -> None:
    assert versions.index_address("s3://b/root/models/m/versions/v0001") == "s3://b/root/models/m/indexes/v0001"
    assert versions.index_address("minio://b/models/m/versions/v2?x=1") == "minio://b/models/m/indexes/v2?x=1"
    with pytest.raises(InputError, match="not a version in a registry"):
        versions.index_address("s3://b/runs/r/finetuning")
