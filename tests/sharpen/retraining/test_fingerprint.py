"""The fingerprint follows the content, and missing input is told before any work starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sharpen import version
from sharpen.data.readers import read_dataset
from sharpen.errors import InputError
from sharpen.retraining.fingerprint import fingerprint_inputs
from sharpen.store import storage
from tests.sharpen.data.input_files import pair, passage, question, write_beir, write_rows


def fingerprint(train, evaluation, model: str, code: str, mined_with=(), start: str = "") -> str:
    return fingerprint_inputs(train, evaluation, model, mined_with, start).fingerprint(code)


@pytest.fixture
def model(tmp_path: Path) -> str:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return str(folder)


def test_a_change_in_one_steps_code_changes_its_fingerprint_alone(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = fingerprint_inputs(str(write_rows(tmp_path / "a.jsonl", [pair(1)])), "", model)
    for package in version._PACKAGES:
        shutil.copytree(version._SOURCES / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(version, "_SOURCES", tmp_path)
    monkeypatch.setattr(version.source_files, "__kwdefaults__", {"root": tmp_path})

    def now() -> dict[str, str]:
        version.code_version.cache_clear()
        return content.of_steps() | {"run": content.identity("s")["code"]}

    last = now()

    def changed(file: str) -> set[str]:
        before = dict(last)
        path = tmp_path / (file if file.startswith("components/") else f"sharpen/{file}")
        path.write_text(path.read_text() + "\n# changed\n")
        last.update(now())
        return {step for step in before if before[step] != last[step]}

    assert changed("mining/rules.py") == {"mining", "run"}
    assert changed("training/loop.py") == {"pretraining", "training", "run"}
    assert changed("data/preparation/splits/leaks.py") == {"data", "run"}
    assert changed("index/build.py") == {"indexing"}
    assert changed("evaluation/comparison.py") == {"merging", "evaluation", "run"}
    assert changed("models/pooling.py") == {
        *("generation", "pretraining", "mining", "teachers", "training", "merging", "evaluation", "indexing", "run")
    }
    assert changed("generation/filters/round_trip.py") == {"generation"}
    assert changed("registry/promote.py") == changed("jobs/run.py") == set()
    assert changed("components/data_prep/step.py") == {"data", "run"}
    assert changed("components/finetuning/launch.py") == {"training", "run"}
    assert changed("components/indexing/step.py") == {"indexing"}
    assert changed("components/promotion/step.py") == set()
    assert changed("components/step_result.py") == {
        *("generation", "data", "mining", "teachers", "merging", "evaluation", "indexing", "run")
    }
    version.code_version.cache_clear()


def test_it_changes_with_content_and_nothing_else(tmp_path: Path, model: str) -> None:
    rows = write_rows(tmp_path / "a.jsonl", [pair(1)])
    more = write_rows(tmp_path / "b.jsonl", [pair(2)])
    beir = write_beir(tmp_path / "set", [passage(1)], [question(1)], {"test": ["q1\tp1\t1"]})
    code = tmp_path / "code"
    code.mkdir()
    (code / "a.py").write_text("x = 1")
    train = [str(rows), str(more), f"python-source:{code}"]

    def now(train=train, evaluation=str(beir), version="1") -> str:
        return fingerprint(train, evaluation, model, version)

    first = now()
    assert len(first) == 64
    assert first == now() == now(train=train[::-1]) == now(train=",".join(train)) == now(train=json.dumps(train))
    (beir / "notes.txt").write_text("not read")
    shutil.copytree(beir, tmp_path / "elsewhere" / "set")
    assert first == now(evaluation=str(tmp_path / "elsewhere" / "set"))
    assert first != now(evaluation="") and first != now(train=train[1:]) and first != now(version="2")
    for path, text in [
        (rows, json.dumps(pair(3))),
        (beir / "qrels" / "test.tsv", "q1\tp1\t2"),
        (code / "a.py", "x = 2"),
        (Path(model) / "model.safetensors", "other"),
    ]:
        before = path.read_bytes()
        path.write_text(text)
        assert now() != first
        path.write_bytes(before)
        assert now() == first


def test_a_finished_data_set_is_known_by_its_content(tmp_path: Path, model: str) -> None:
    data = read_dataset(str(write_rows(tmp_path / "a.jsonl", [pair(1)])))
    for name in ("1/set", "2/set"):
        with storage.publish(str(tmp_path / name), producer="test", run_id=name) as folder:
            data.save(folder)
    assert fingerprint(str(tmp_path / "1/set"), "", model, "") == fingerprint(str(tmp_path / "2/set"), "", model, "")


def test_all_faults_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InputError) as caught:
        fingerprint(
            f"{tmp_path}/none.jsonl,{tmp_path}/empty.jsonl", "python-source:no_such_package", str(tmp_path), "1"
        )
    faults = caught.value.faults
    assert [fault.split(":")[0] for fault in faults] == ["train_data", "train_data", "eval_data", "base_model"]
    assert "no such file" in faults[0] and "the file is empty" in faults[1]
    assert "no package" in faults[2] and "no config.json" in faults[3]


def test_what_mining_reads_counts_too(tmp_path: Path, model: str) -> None:
    rows = str(write_rows(tmp_path / "a.jsonl", [pair(1)]))
    run, other = tmp_path / "run.trec", tmp_path / "other"
    run.write_text("q Q0 p 1 1 t")
    shutil.copytree(model, other)

    def now() -> str:
        return fingerprint(rows, "", model, "1", [f"file:{run}", str(other)])

    first = now()
    assert first == now() != fingerprint(rows, "", model, "1")
    for path in (run, other / "config.json"):
        before = path.read_text()
        path.write_text("{ }")
        assert now() != first
        path.write_text(before)
    assert now() == first
    run.unlink()
    shutil.rmtree(other)
    with pytest.raises(InputError) as caught:
        now()
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["mining", "mining"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("", "no model given"),
        ("./no/such/folder", "no such folder"),
        ("nobody/no-model", "neither a folder here nor"),
    ],
)
def test_a_model_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, message: str) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=f"base_model: .*{message}"):
        fingerprint(str(write_rows(tmp_path / "a.jsonl", [pair(1)])), "", model, "1")


def test_what_evaluation_reads_counts_for_evaluation_alone_and_judgements_for_the_data(
    tmp_path: Path, model: str
) -> None:
    rows, sheet, peer = str(write_rows(tmp_path / "a.jsonl", [pair(1)])), tmp_path / "judge.csv", tmp_path / "peer"
    guard = write_rows(tmp_path / "guard.jsonl", [pair(2)])
    shutil.copytree(model, peer)
    sheet.write_text("query_id,passage_id,grade\n")

    def steps() -> dict[str, str]:
        read = {"evaluated_with": [str(peer), f"data:{guard}"], "judgements": str(sheet)}
        return fingerprint_inputs(rows, "", model, **read).of_steps()

    def changed(before: dict[str, str]) -> set[str]:
        after = steps()
        return {step for step in before if before[step] != after[step]}

    before = steps()
    assert changed(before) == set()
    (peer / "model.safetensors").write_bytes(b"other weights")
    assert changed(before) == {"merging", "evaluation"}
    before = steps()
    write_rows(guard, [pair(3)])
    assert changed(before) == {"merging", "evaluation"}
    before = steps()
    sheet.write_text("query_id,passage_id,grade\nq,p,1\n")
    assert changed(before) == set(before)
    with pytest.raises(InputError, match=r"data.judgements: .*nothing.csv"):
        fingerprint_inputs(rows, "", model, judgements=str(tmp_path / "nothing.csv"))


def test_settings_of_sources_and_pools_count_too(tmp_path: Path, model: str) -> None:
    rows, pool = write_rows(tmp_path / "a.jsonl", [pair(1)]), write_rows(tmp_path / "corpus.jsonl", [passage(2)])

    def found(corpus: str = "", **settings: object) -> str:
        train = [{"address": str(rows), **settings}]
        return fingerprint_inputs(train, "", model, corpus=corpus).fingerprint("1")  # type: ignore[arg-type]

    assert found() == fingerprint(str(rows), "", model, "1") == found(weight=1)
    different = [found(), found(weight=2), found(corpus=str(pool))]
    different.append(fingerprint_inputs([{"address": str(rows), "corpus": str(pool)}], "", model).fingerprint("1"))
    write_rows(pool, [passage(3)])
    different.append(found(corpus=str(pool)))
    different.append(fingerprint_inputs([{"address": str(rows), "corpus": str(pool)}], "", model).fingerprint("1"))
    assert len(set(different)) == 6
    with pytest.raises(InputError, match=r"data.corpus: .*none: no such file or folder"):
        found(corpus=str(tmp_path / "none"))


def test_no_training_data(model: str) -> None:
    with pytest.raises(InputError, match="train_data: no address given"):
        fingerprint("", "", model, "1")


@pytest.mark.store
def test_remote_input_is_known_by_its_listing(tmp_path: Path, s3: str, model: str) -> None:
    root = storage.join(s3, "fingerprint")
    rows, beir, weights = storage.join(root, "a.jsonl"), storage.join(root, "set"), storage.join(root, "model")
    local = write_beir(tmp_path / "set", [passage(1)], [question(1)], {"test": ["q1\tp1\t1"]})
    for path in local.rglob("*.*"):
        storage.write_bytes(storage.join(beir, path.relative_to(local).as_posix()), path.read_bytes())
    storage.write_bytes(rows, json.dumps(pair(1)).encode())
    for path in Path(model).iterdir():
        storage.write_bytes(storage.join(weights, path.name), path.read_bytes())
    first = fingerprint(rows, beir, weights, "1")
    assert first == fingerprint(rows, beir, weights, "1")
    run = storage.join(root, "run.trec")
    storage.write_bytes(run, b"q Q0 p 1 1 t")
    mined = fingerprint(rows, beir, weights, "1", [f"file:{run}", weights])
    storage.write_bytes(run, b"q Q0 p 1 2 t")
    assert len({first, mined, fingerprint(rows, beir, weights, "1", [f"file:{run}", weights])}) == 3
    storage.write_bytes(storage.join(beir, "notes.txt"), b"not read")
    assert first == fingerprint(rows, beir, weights, "1")
    storage.write_bytes(rows, json.dumps(pair(2)).encode())
    assert first != fingerprint(rows, beir, weights, "1")
    storage.write_bytes(storage.join(root, "empty.jsonl"), b"")
    with pytest.raises(InputError) as caught:
        fingerprint(f"{root}/none.jsonl,{root}/empty.jsonl", "s3://no-such-bucket-here/x.jsonl", beir, "1")
    told = "\n".join(caught.value.faults)
    assert len(caught.value.faults) == 4
    assert "no such file or folder" in told and "empty.jsonl: the file is empty" in told and "not a model" in told
