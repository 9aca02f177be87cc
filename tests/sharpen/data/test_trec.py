"""TREC files: what is read, what is written, and what is said of faulty lines; and the `score` command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sharpen.data.trec import field, read_qrels, read_run, write_run
from sharpen.errors import InputError
from sharpen.evaluation.score import score
from sharpen.evaluation.settings import ScoreAddresses, ScoreSettings
from tests.sharpen.evaluation.trec_data import ROOT, needs_trec_data


def faults(read, path):
    with pytest.raises(InputError) as caught:
        read(path)
    return caught.value.faults


def test_qrels_are_read_and_a_run_comes_back_as_written(tmp_path):
    (tmp_path / "qrels").write_text("q1 0 d1 2\nq1 0 é 0\nq2 0 d1 -1\n", encoding="utf-8")
    assert read_qrels(tmp_path / "qrels") == {"q1": {"d1": 2, "é": 0}, "q2": {"d1": -1}}
    scores = np.random.default_rng(0).normal(size=50).astype(np.float32).tolist()
    hits = [(f"d{i}", score) for i, score in enumerate(scores)]
    write_run(tmp_path / "run", [("q1", hits)], tag="mine")
    assert read_run(tmp_path / "run")["q1"].keys() == dict(hits).keys()
    found = np.array(list(read_run(tmp_path / "run")["q1"].values()), dtype=np.float32)
    assert np.array_equal(found, np.array(scores, dtype=np.float32))


def test_white_space_in_an_id_does_not_break_a_line(tmp_path):
    write_run(tmp_path / "run", [("my query", [("a\tb", 1.0), ("c d", 0.5)])], tag="two words")
    assert read_run(tmp_path / "run") == {"my%20query": {"a%09b": 1.0, "c%20d": 0.5}}
    assert field("100%") == "100%"


def test_beir_qrels_are_read_too(tmp_path):
    (tmp_path / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\n")
    assert read_qrels(tmp_path / "test.tsv") == {"q1": {"d1": 1, "d2": 0}}


def test_a_tag_may_hold_white_space(tmp_path):
    (tmp_path / "run").write_text("q Q0 d 1 0.5 tag with more\n")
    assert read_run(tmp_path / "run") == {"q": {"d": 0.5}}


def test_each_faulty_line_is_named(tmp_path):
    path = tmp_path / "qrels"
    path.write_text("q 0 d 1\nq 0 d\n\nq 0 e one\nq 0 d 1\nq 0 f " + "1" * 400 + "\nq 0 g \u00b2\n")
    assert faults(read_qrels, path) == [
        f"{path}:2: 3 fields; expected 4: query 0 passage grade",
        f"{path}:4: grade 'one' is not a whole number of 32 bits",
        f"{path}:5: passage d stands twice for query q; keep one line",
        f"{path}:6: grade {'1' * 40!r} is not a whole number of 32 bits",
        f"{path}:7: grade '\u00b2' is not a whole number of 32 bits",
    ]
    path.write_text("q Q0 d 1 nan tag\nq Q0 e 1 0.5\n")
    assert faults(read_run, path) == [
        f"{path}:1: score 'nan' is not a finite number",
        f"{path}:2: 5 fields; expected 6: query Q0 passage rank score tag",
    ]


def test_only_the_first_faults_are_listed(tmp_path):
    (tmp_path / "qrels").write_text("broken\n" * 30)
    found = faults(read_qrels, tmp_path / "qrels")
    assert len(found) == 11
    assert found[-1].endswith("20 more faulty lines")


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "latin").write_bytes(b"q 0 d 1\nq 0 caf\xe9 1\n")
    assert "no such file" in faults(read_qrels, tmp_path / "absent")[0]
    assert "no line of data" in faults(read_qrels, tmp_path / "empty")[0]
    assert faults(read_qrels, tmp_path / "latin") == [f"{tmp_path / 'latin'}:2: not UTF-8; convert the file to UTF-8"]
    assert "cannot be read" in faults(read_qrels, tmp_path)[0]


@pytest.fixture
def small(tmp_path):
    (tmp_path / "qrels").write_text("q1 0 a 1\nq2 0 b 1\n")
    write_run(tmp_path / "run", [("q1", [("a", 1.0)]), ("other", [("a", 1.0)])], tag="t")
    return ScoreAddresses(qrels=str(tmp_path / "qrels"), run=str(tmp_path / "run"), output=str(tmp_path / "out.json"))


def test_missing_queries_count_as_zero_or_are_left_out(small):
    found = score(small, ScoreSettings())
    assert found["metrics"]["ndcg_at_10"] == 0.5
    assert found["facts"]["judged_queries_missing_in_run"] == found["facts"]["run_queries_without_judgement"] == 1
    assert score(small, ScoreSettings(missing_queries="skip"))["metrics"]["ndcg_at_10"] == 1.0


def test_run_and_judgements_without_a_common_query(small, tmp_path):
    write_run(tmp_path / "run", [("unknown", [("a", 1.0)])], tag="t")
    with pytest.raises(InputError, match="no query of it is judged"):
        score(small, ScoreSettings())


def run_command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "components.evaluation", *arguments], capture_output=True, text=True, timeout=600
    )


def test_the_score_command(small):
    done = run_command(
        "score", "--qrels", small.qrels, "--run", small.run, "--output", small.output, "--cutoffs", "1,10"
    )
    assert done.returncode == 0, done.stderr
    assert "2 queries, 1 of 2 relevant passages retrieved" in done.stdout
    assert "1 judged queries are not in the run and count as zero" in done.stdout
    written = json.loads(Path(small.output).read_text())
    assert written["metrics"]["precision_at_10"] == pytest.approx(0.05)
    assert written["per_query"]["q2"]["ndcg_at_1"] == 0.0


def test_faults_end_the_command_with_code_2_and_plain_lines(small):
    done = run_command("score", "--qrels", "nowhere", "--run", small.run)
    assert (done.returncode, done.stderr) == (2, "error: nowhere: no such file\n")
    done = run_command("score", "--qrels", small.qrels, "--run", small.run, "--relevance_level", "0")
    assert done.returncode == 2
    assert "--relevance_level" in done.stderr
    assert "Traceback" not in done.stderr


@needs_trec_data
def test_the_score_command_gives_trec_evals_figures(tmp_path):
    out = tmp_path / "out.json"
    files = ROOT / "trec_eval"
    done = run_command("score", "--qrels", files / "qrels.test", "--run", files / "results.test", "--output", out)
    assert done.returncode == 0, done.stderr
    metrics = json.loads(out.read_text())["metrics"]
    shown = {name: f"{metrics[name]:.4f}" for name in ("map", "mrr", "recall_at_100", "ndcg_at_10")}
    assert shown == {"map": "0.1785", "mrr": "0.4064", "recall_at_100": "0.4980", "ndcg_at_10": "0.3016"}
