"""Which outputs of earlier runs are used again: real folders in a real store, and kfp.local's own cache."""

from __future__ import annotations

from pathlib import Path

import pytest
from kfp import dsl
from kfp.local.cache import LocalCache

from pipeline.local import step_cache
from pipeline.local.kfp_local import reusing
from sharpen.store import storage


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.store)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A finished folder of two files."""
    root = request.getfixturevalue("s3") if request.param == "s3" else str(tmp_path)
    address = f"{root}/step-cache/{tmp_path.name}/data_prep"
    with storage.publish(address, producer="data_prep", rows={"a.txt": 1}) as folder:
        (folder / "a.txt").write_text("all of it")
        (folder / "b.txt").write_text("more")
    return address


def outputs(address: str) -> dict[str, object]:
    return {"Output": address, "data": card(address), "page": dsl.HTML(uri="/elsewhere/page")}


def card(address: str) -> dsl.Dataset:
    return dsl.Dataset(uri="/elsewhere/data", metadata={"address": address})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("_SUCCESS.json", "not a finished folder"),
        ("a.txt", "a.txt"),
        ("cut", "a.txt"),
        ("other", "damaged"),
    ],
)
def test_an_output_is_used_again_only_if_it_is_whole(address: str, damage: str, said: str) -> None:
    assert step_cache.fault(outputs(address)) == ""
    if damage == "cut":
        storage.write_bytes(f"{address}/a.txt", b"all")
    elif damage == "other":
        storage.write_bytes(f"{address}/_SUCCESS.json", b'{"schema_version": ')
    else:
        storage.delete(f"{address}/{damage}")
    told = step_cache.fault(outputs(address))
    assert said in told
    assert address in told
    assert "\n" not in told


def test_a_step_may_hold_several_folders(address: str) -> None:
    folder, _, name = address.rpartition("/")
    several = {"base": address, "data": card(folder), "other": f"{folder}-elsewhere/none"}
    assert step_cache.fault(several) == ""
    storage.delete(f"{address}/a.txt")
    assert "a.txt" in step_cache.fault(several) and name in address


def test_outputs_with_a_fault_are_not_taken_and_fresh_takes_none_but_fills(tmp_path: Path) -> None:
    cache = LocalCache(str(tmp_path))
    with reusing(lambda outputs: "" if outputs["Output"] == "good" else "broken"):
        for key in ("good", "bad"):
            cache.put(key, {"Output": key})
        assert cache.get("good") == {"Output": "good"}
        assert cache.get("bad") is None
        assert cache.get("never seen") is None
    with reusing(None):
        assert cache.get("good") is None
        cache.put("good", {"Output": "newer"})
    assert cache.get("good") == {"Output": "newer"}


def test_a_damaged_identity_of_a_store_is_made_anew_and_a_whole_one_kept(tmp_path: Path) -> None:
    first = step_cache.identity(str(tmp_path))
    assert step_cache.identity(str(tmp_path)) == first
    for damage in (b"", b"[]", b'{"id'):
        (tmp_path / "runs" / "store.json").write_bytes(damage)
        assert len(step_cache.identity(str(tmp_path))) == len(first)
