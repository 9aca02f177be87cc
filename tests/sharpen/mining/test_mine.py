"""The whole step with a tiny model: files, report, determinism, sentence-transformers' miner, the command line."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from kfp.dsl import HTML, Artifact
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from components import command_line as core_command
from components.hard_negatives.__main__ import command as step
from components.hard_negatives.step import run_step
from sharpen.data.dataset import NEGATIVES, read_table
from sharpen.embeddings.encoding import encode
from sharpen.errors import InputError
from sharpen.mining.mine import mine
from sharpen.mining.settings import MiningSettings
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.store import storage

pytestmark = pytest.mark.model

ENCODER = EncoderSettings.checked({"query_max_len": 32, "passage_max_len": 32})
WORDS = "river tree moon milk winter train doctor yellow number sugar stone light paper road summer horse".split()


def sentence(generator: random.Random, words: int) -> str:
    return " ".join(generator.choice(WORDS) for _ in range(words))


def make_rows(count: int = 30) -> list[dict[str, Any]]:
    """FlagEmbedding rows: one or two positives each, all texts different."""
    generator = random.Random(5)
    texts = list(dict.fromkeys(sentence(generator, generator.randint(3, 12)) for _ in range(20 * count)))
    passages = iter(texts)
    rows = []
    for number in range(count):
        positives = [next(passages) for _ in range(1 + number % 2)]
        rows.append({"query": f"{positives[0]} {sentence(generator, 2)}", "pos": positives, "neg": [next(passages)]})
    rows[0]["neg"] += [next(passages) for _ in range(60)]
    return rows


def write(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("data"), make_rows())


def test_writes_a_finished_folder_twice_the_same(data: str, tiny_model: Path, tmp_path: Path) -> None:
    settings = MiningSettings.checked({"range_for_sampling": "2-40", "negative_number": 7, "relative_margin": 0.001})
    marker = mine(data, str(tiny_model), str(tmp_path / "one"), settings, ENCODER)
    mine(data, str(tiny_model), str(tmp_path / "two"), settings, ENCODER)
    folder = storage.open_artifact(str(tmp_path / "one"))
    table = read_table(folder / "negatives", NEGATIVES)
    assert table.equals(read_table(tmp_path / "two" / "negatives", NEGATIVES))
    assert marker.producer == "hard_negatives" and marker.rows == {"negatives": table.height, "queries": 30}
    report = json.loads((folder / "report.json").read_text())
    assert report["model_hash"] == marker.facts["model_hash"] and len(report["model_hash"]) == 64
    assert report["picked_by"]["given"] == 90 and report["queries"] == 30
    assert report["hidden_positives"]["queries"] == 15
    assert len(report["examples"]) == 20 and "negative_3" in report["examples"][0]
    assert report["settings"]["negative_number"] == 7 and report["encoder"]["passage_max_len"] == 32
    assert "<svg" in (folder / "report.html").read_text()


def test_chosen_top_negatives_equal_those_of_sentence_transformers(tiny_model: Path, tmp_path: Path) -> None:
    """Same corpus, margin and depth. Theirs counts survivors and ours ranks, which is the same from rank 0 on."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    rows = [{**row, "neg": []} for row in make_rows()]
    corpus = [text for row in rows for text in row["pos"]]
    pairs = [(row["query"], text) for row in rows for text in row["pos"]]
    margin, number = 0.05, 6
    theirs = mine_hard_negatives(
        Dataset.from_dict({"query": [q for q, _ in pairs], "positive": [p for _, p in pairs]}),
        SentenceTransformer(str(tiny_model), device="cpu"),
        corpus=corpus,
        range_min=0,
        range_max=len(corpus) - 2,
        relative_margin=margin,
        num_negatives=number,
        sampling_strategy="top",
        output_format="triplet",
        verbose=False,
    )
    expected = defaultdict(set)
    for row in theirs:
        expected[row["query"]].add(row["negative"])

    data = write(tmp_path, rows)
    settings = MiningSettings.checked(
        {
            "range_for_sampling": f"0-{len(corpus)}",
            "relative_margin": margin,
            "negative_number": number,
            "sampling": "top",
            "top_up": "off",
        }
    )
    mine(data, str(tiny_model), str(tmp_path / "out"), settings, ENCODER)
    from sharpen.data.readers import read_dataset

    dataset = read_dataset(data)
    texts = dict(dataset.corpus.select("passage_id", "text").iter_rows())
    queries = dict(dataset.queries.select("query_id", "text").iter_rows())
    ours = defaultdict(set)
    table = read_table(tmp_path / "out" / "negatives", NEGATIVES)
    for query_id, passage_id in table.select("query_id", "passage_id").iter_rows():
        ours[queries[query_id]].add(texts[passage_id])
    assert ours == expected
    assert sum(map(len, ours.values())) > 50
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["dropped_by_rule"]["relative_margin"] > 0 and report["short"]["queries"] > 0


def test_a_query_is_encoded_under_its_own_instruction(tiny_model: Path, tmp_path: Path) -> None:
    rows = make_rows()
    rows[3]["prompt"] = "train doctor: "
    settings = MiningSettings.checked({"range_for_sampling": "0-40", "negative_number": 3, "relative_margin": None})
    data = write(tmp_path, rows)
    mine(data, str(tiny_model), str(tmp_path / "out"), settings, ENCODER)
    from sharpen.data.readers import read_dataset

    dataset = read_dataset(data)
    query_id = dataset.queries.filter(pl.col("instruction") == "train doctor: ")["query_id"].item()
    encoder = Encoder.load(str(tiny_model), ENCODER)
    texts = dict(dataset.corpus.select("passage_id", "text").iter_rows())
    table = read_table(tmp_path / "out" / "negatives", NEGATIVES).filter(pl.col("query_id") == query_id)
    query = encode(encoder, ["train doctor: " + rows[3]["query"]], "query")[0]
    passages = encode(encoder, [texts[passage_id] for passage_id in table["passage_id"]], "passage")
    np.testing.assert_allclose(table["score"].to_numpy(), passages @ query, atol=1e-5)


def test_a_small_corpus_is_clipped_and_said_so(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"query": "river tree", "pos": ["river"], "neg": []}, {"query": "moon", "pos": ["milk"], "neg": []}]
    settings = MiningSettings.checked({"relative_margin": None, "range_for_sampling": "10-210"})
    mine(write(tmp_path, rows), str(tiny_model), str(tmp_path / "out"), settings, ENCODER)
    printed = capsys.readouterr().out
    assert "the corpus has 2 passages, so 10-210 became 0-2" in printed
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["short"] == {"queries": 2, "negatives_missing": 28, "queries_without_any": 0}
    assert len(report["notices"]) == 2


def test_nothing_left_is_an_input_error_and_nothing_is_written(data: str, tiny_model: Path, tmp_path: Path) -> None:
    rows = [{**row, "neg": []} for row in make_rows()]
    settings = MiningSettings.checked({"max_score": -1000})
    with pytest.raises(InputError, match=r"no passage is left as a negative .*max_score -1000"):
        mine(write(tmp_path, rows), str(tiny_model), str(tmp_path / "out"), settings, ENCODER)
    assert not storage.exists(str(tmp_path / "out"))


def test_a_broken_model_names_the_text(tiny_model: Path, tmp_path: Path) -> None:
    """A weight that is not a number, where only one passage meets it."""
    model = tmp_path / "broken"
    shutil.copytree(tiny_model, model)
    weights = load_file(model / "model.safetensors")
    tokenizer = AutoTokenizer.from_pretrained(model)
    weights["embeddings.word_embeddings.weight"][tokenizer.convert_tokens_to_ids("zero")] = float("nan")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    rows = make_rows()
    rows[3]["neg"] = ["zero"]
    with pytest.raises(InputError, match=r"embedding of passage \w+ is not a number \(1 of "):
        mine(write(tmp_path, rows), str(model), str(tmp_path / "out"), MiningSettings.checked({}), ENCODER)
    assert not storage.exists(str(tmp_path / "out"))


def test_the_step_as_the_pipeline_calls_it(data: str, tiny_model: Path, tmp_path: Path) -> None:
    settings = json.dumps({"range_for_sampling": "0-30", "negative_number": 4})
    address, model = str(tmp_path / "run" / "hard_negatives-2"), str(tiny_model)
    result = run_step(address, data, model, settings, ENCODER.model_dump_json())
    assert result.address == address
    assert storage.is_complete(result.address)
    assert result.facts["rows"]["negatives"] > 0
    page = HTML(uri=str(tmp_path / "ui" / "report.html"))
    card = Artifact(uri=str(tmp_path / "ui" / "mined_negatives"))
    assert result.publish(card, page) == address
    assert (card.metadata["rows"], card.metadata["address"]) == (result.facts["rows"], address)
    assert (tmp_path / "ui" / "report.html").read_bytes().startswith(b"<!doctype html>")
    with pytest.raises(InputError, match=r"mining\.negative_numbr: unknown setting; did you mean negative_number"):
        run_step(address, data, model, '{"negative_numbr": 4}', "{}")


@pytest.mark.store
def test_negatives_in_an_object_store(s3: str, data: str, tiny_model: Path, tmp_path: Path) -> None:
    settings = MiningSettings.checked({"range_for_sampling": "0-30", "negative_number": 4})
    here = mine(data, str(tiny_model), str(tmp_path / "out"), settings, ENCODER)
    there = mine(data, str(tiny_model), f"{s3}/mining/out", settings, ENCODER)
    assert there.rows == here.rows
    opened = storage.open_artifact(f"{s3}/mining/out")
    assert read_table(opened / "negatives", NEGATIVES).equals(read_table(tmp_path / "out" / "negatives", NEGATIVES))
    with pytest.raises(InputError, match="bucket"):
        mine(data, str(tiny_model), "s3://no-such-bucket-here/out", settings, ENCODER)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "components.hard_negatives", *arguments], capture_output=True, text=True, timeout=600
    )


def test_command_line(data: str, tiny_model: Path, tmp_path: Path) -> None:
    addresses = ["--data", data, "--model", str(tiny_model), "--output", str(tmp_path / "out")]
    done = command(*addresses, "--negative-number", "3", "--range_for_sampling", "0-20", "--relative_margin", "none")
    assert done.returncode == 0, done.stderr
    assert "90 by search, 90 by given" in done.stdout
    assert f"report  {tmp_path / 'out' / 'report.html'}" in done.stdout
    assert read_table(tmp_path / "out" / "negatives", NEGATIVES).height == 180


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--negative_number": "0"}, "error: --negative_number: "),
        ({"--range_for_sampling": "5-5"}, "error: --range_for_sampling: the start must be below the end"),
        ({"--data": "/nowhere/at/all"}, "error: "),
        ({"--model": "/nowhere/at/all"}, "error: "),
    ],
)
def test_command_line_faults_end_with_2_and_one_line(
    change: dict[str, str],
    message: str,
    data: str,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = {"--data": data, "--model": str(tiny_model), "--output": str(tmp_path / "out"), **change}
    with pytest.raises(SystemExit) as ended:
        core_command.main(step, [part for pair in given.items() for part in pair])
    assert ended.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith(message)
    assert not (tmp_path / "out").exists()


def test_help_shows_defaults_and_bounds_and_the_faces_load_nothing_heavy() -> None:
    done = command("--help")
    assert done.returncode == 0
    shown = " ".join(done.stdout.split())
    assert "default: 0-210" in shown and "default: top; random | top" in shown
    imported = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, components.hard_negatives.component, components.hard_negatives.__main__;"
            "assert not {'torch', 'faiss', 'polars', 'transformers'} & set(sys.modules)",
        ],
        capture_output=True,
        text=True,
    )
    assert imported.returncode == 0, imported.stderr
