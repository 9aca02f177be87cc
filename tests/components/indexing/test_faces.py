"""The command line of the step and of the search, as a user starts them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from kfp.dsl import HTML, Artifact, Model

from components.command_line import main
from components.indexing import __main__ as face
from components.indexing.component import indexing
from components.indexing.step import run_step
from sharpen.errors import InputError
from sharpen.index.search import OpenIndex
from tests.sharpen.index.corpora import passage, write_beir
from tests.sharpen.reports.html_pages import check_page

ROOT = Path(__file__).parents[3]


def command(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    whole = [sys.executable, "-m", "components.indexing", *arguments]
    return subprocess.run(whole, env=environment, capture_output=True, text=True, timeout=600, **options)  # type: ignore[call-overload]


@pytest.mark.model
@pytest.mark.processes
def test_index_and_search_from_a_shell(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "a folder"
    write_beir(work / "data")
    monkeypatch.chdir(work)
    options = ["--data", "data", "--model", str(tiny_model), "--output", "out", "--vector-precision", "int8"]
    options += ["--passage-max-len", "12", "--passage-windows", "max", "--window-overlap", "2"]
    done = command(*options, cwd=work)
    assert done.returncode == 0, done.stderr
    assert (
        re.search(r"60 passages with 1[0-9]{2} vectors in", done.stdout)
        and "recall@10 of 10 test queries" in done.stdout
    )
    page = check_page((work / "out" / "report.html").read_text())
    assert "32 of 32 dimensions, stored as int8" in page and "max of windows of 12 tokens that share 2" in page

    text = passage(12)["text"]
    lines = command("search", "--index", "out", "--json-output", "true", cwd=work, input=f"{text}\n\na town\n")
    answers = [json.loads(line) for line in lines.stdout.splitlines()]
    assert [answer["query"] for answer in answers] == [text, "a town"]
    assert [hit["rank"] for hit in answers[0]["hits"]] == list(range(1, 11))
    assert len({hit["passage_id"] for hit in answers[0]["hits"]}) == 10, "each passage once, by its best window"
    assert {1, 2} < {hit["window"] for answer in answers for hit in answer["hits"]}
    assert [asdict(hit) for hit in OpenIndex("out").ask(text, 10).hits] == answers[0]["hits"]

    assert here("search", "--index", "out", "--text", text, "--top", "3") == 0
    table = capsys.readouterr().out
    assert [hit["passage_id"] in table for hit in answers[0]["hits"][:4]] == [True, True, True, False]
    for arguments, told in (
        (["search", "--index", "data", "--text", text], "error: data: not a finished folder"),
        ([*options, "--truncate_dim", "99"], "error: truncate_dim 99"),
        ([*options, "--vector_precision", "int4"], "error: --vector_precision"),
    ):
        assert here(*arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith(told) and len(error.splitlines()) == 1


def here(*arguments: str) -> int:
    """The exit code of the command, run in this process."""
    try:
        main(*face.command(list(arguments)))
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.model
def test_the_artifact_stays_where_kfp_put_it_and_says_where_the_index_is(tiny_model: Path, tmp_path: Path) -> None:
    """KFP's launcher refuses an artifact outside of the pipeline's root, and the registry is outside of it."""
    version = tmp_path / "models" / "m" / "versions" / "v0001"
    shutil.copytree(tiny_model, version)
    index = Artifact(uri=str(tmp_path / "kfp" / "index"))
    address = indexing.python_func(  # type: ignore[attr-defined]
        model=str(version),
        data=str(write_beir(tmp_path / "data")),
        settings="{}",
        encoder='{"query_max_len": 32, "passage_max_len": 32}',
        fingerprint="",
        promoted_model=Model(uri=str(tmp_path / "kfp" / "promoted_model")),
        search_index=index,
        index_page=HTML(uri=str(tmp_path / "kfp" / "page")),
    )
    assert address == str(tmp_path / "models" / "m" / "indexes" / "v0001") == index.metadata["address"]
    assert index.uri == str(tmp_path / "kfp" / "index")
    assert json.loads(Path(index.path).read_text()) == index.metadata
    assert index.metadata["rows"] == {"passages": 60}


def test_without_a_model_nothing_is_indexed(capsys: pytest.CaptureFixture[str]) -> None:
    result = run_step("", "data", "{}", "{}")
    assert (result.address, result.facts) == ("", {})
    assert "nothing to index" in capsys.readouterr().out


def test_a_query_on_standard_input_that_is_not_utf8_is_one_line() -> None:
    lines = [b"one\n", b" \n", "zw\u00f6lf\n".encode(), b"caf\xe9\n"]
    asked = face._queries(lines)
    assert [next(asked), next(asked)] == ["one", "zw\u00f6lf"]
    with pytest.raises(InputError, match=r"^standard input, line 4: not UTF-8 text \(byte 4\)"):
        next(asked)
