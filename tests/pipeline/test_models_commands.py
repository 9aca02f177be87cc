"""`sharpen models`: exit codes tell what the user can mend from what the store is at fault for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sharpen.registry import registry
from sharpen.store import storage
from tests.models_command import sharpen_models
from tests.sharpen.store.store_proxy import Answer, Request, StoreProxy, refusal

pytestmark = pytest.mark.store

NAME = "code-search"
COMMANDS = [("list",), ("show", NAME), ("pull", NAME), ("promote", NAME, "v0001"), ("rollback", NAME)]


@pytest.fixture
def root(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A registry with two champions in a real store."""
    monkeypatch.chdir(tmp_path)
    root = storage.join(s3, f"commands-{tmp_path.name.lower()}")
    for number in (1, 2):
        model = storage.join(root, "runs", str(number))
        with storage.publish(model, producer="finetuning") as folder:
            (folder / "model.safetensors").write_text(f"w{number}")
        version = registry.register(root, NAME, model, {"metrics": {"ndcg_at_10": 0.5}}, run_id="r")
        registry.promote(root, NAME, version.version, reason="good")
    yield root


def test_a_store_that_fails_after_it_has_answered_is_at_fault(
    root: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHARPEN_STORE_TIMEOUT", "0.3")
    for command in COMMANDS:
        asked: list[Request] = []

        def fail(request: Request, asked: list[Request] = asked) -> Answer | None:
            asked.append(request)
            return None if len(asked) < 5 else refusal(503, "SlowDown")

        with StoreProxy(os.environ["AWS_ENDPOINT_URL_S3"], instead=fail) as proxy, monkeypatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
            done = sharpen_models(*command, "--store", root)
        assert done.code == 1, (command, done)
        assert len(done.err.splitlines()) == 1, (command, done)
        assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong", "the secret is wrong"),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9", "cannot reach the object store"),
    ],
)
def test_what_the_user_can_mend_is_the_users(
    root: str, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
) -> None:
    monkeypatch.setenv(variable, value)
    for command in COMMANDS[:2]:
        done = sharpen_models(*command, "--store", root)
        assert done.code == 2 and told in done.err and len(done.err.splitlines()) == 1, (command, done)


def test_wrong_names_are_the_users(root: str) -> None:
    for command in (("show", "code-serch"), ("pull", NAME, "v0009"), ("promote", NAME, "v0009"), ("rollback", "other")):
        done = sharpen_models(*command, "--store", root)
        assert done.code == 2 and len(done.err.splitlines()) == 1, (command, done)
    assert "did you mean code-search?" in sharpen_models("show", "code-serch", "--store", root).err


def test_a_lost_race_has_the_exit_code_of_what_was_not_promoted(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody rolls back between reading the pointer and writing it."""
    original = registry._switch

    def switch_and_be_overtaken(*arguments: object, **options: object) -> registry.Champion:
        monkeypatch.setattr(registry, "_switch", original)
        registry.rollback(root, NAME)
        return original(*arguments, **options)  # type: ignore[arg-type]

    model = storage.join(root, "runs", "3")
    with storage.publish(model, producer="finetuning") as folder:
        (folder / "model.safetensors").write_text("w3")
    registry.register(root, NAME, model, {}, run_id="r")
    monkeypatch.setattr(registry, "_switch", switch_and_be_overtaken)
    done = sharpen_models("promote", NAME, "v0003", "--store", root)
    assert done.code == 3 and len(done.err.splitlines()) == 1
    assert "somebody else promoted v0001 in the same moment; v0003 is registered, but not the champion" in done.err


def test_who_only_reads_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = sharpen_models("list", "--store", str(tmp_path / "typo"))
    assert (done.code, done.out) == (0, "no models yet; `sharpen run` makes one\n")
    assert not (tmp_path / "typo").exists()
