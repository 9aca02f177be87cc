"""The index step with a tiny model: what it writes is what was encoded, and what a query finds is right."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import faiss
import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from sharpen.embeddings.encoding import encode
from sharpen.errors import InputError, StepFailed
from sharpen.index import search as searching
from sharpen.index.build import index
from sharpen.index.search import OpenIndex
from sharpen.index.settings import IndexSettings
from sharpen.models.encoder import Encoder
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from tests.sharpen.index.corpora import passage, write_beir, write_lines, write_passages

pytestmark = pytest.mark.model

FP32 = EncoderSettings.checked({"precision": "fp32", "query_max_len": 32, "passage_max_len": 32})
PRECISIONS = ["fp32", "fp16", "int8", "binary"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_beir(tmp_path_factory.mktemp("a corpus"))


@pytest.fixture(scope="module")
def theirs(tiny_model: Path) -> np.ndarray:
    """The passages' embeddings by sentence-transformers, in the order of their ids."""
    texts = [f"{row['title']} {row['text']}" for row in map(passage, range(60))]
    model = SentenceTransformer(str(tiny_model), device="cpu")
    model.max_seq_length = 32
    return model.encode(texts)


def made(corpus: Path | str, model: Path, output: Path | str, **settings: object) -> OpenIndex:
    index(str(corpus), str(model), str(output), IndexSettings.checked(dict(settings)), FP32)
    return OpenIndex(str(output))


def decoded(folder: Path, formula_scale: float, precision: str, dimension: int) -> np.ndarray:
    """The stored vectors, read by the manifest's words and not by our own code."""
    column = pl.concat([pl.read_parquet(part) for part in sorted((folder / "embeddings").glob("*.parquet"))])["vector"]
    if precision == "binary":
        bits = [[(byte >> (7 - place)) & 1 for byte in row for place in range(8)] for row in column.to_list()]
        return np.array(bits, dtype=np.float32) * 2 - 1
    values = np.array(column.to_list(), dtype=np.float32)
    assert values.shape[1] == dimension
    return values * np.float32(formula_scale) if precision == "int8" else values


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_stored_vectors_are_the_models_and_both_files_hold_the_same(
    precision: str, corpus: Path, tiny_model: Path, theirs: np.ndarray, tmp_path: Path
) -> None:
    opened = made(corpus, tiny_model, tmp_path / "out", vector_precision=precision)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    stored = decoded(tmp_path / "out", manifest["embeddings"]["scale"], precision, 32)
    expected = np.where(theirs > 0, 1, -1) if precision == "binary" else theirs
    tolerance = {"fp32": 1e-5, "fp16": 1e-3, "int8": manifest["embeddings"]["scale"] * 0.51, "binary": 0}[precision]
    np.testing.assert_allclose(stored, expected, atol=tolerance)
    np.testing.assert_allclose(opened.found.vectors[:], stored, atol=1e-7)
    ids = pl.read_parquet(tmp_path / "out" / "embeddings")["passage_id"].to_list()
    assert ids == [f"p{number:04}" for number in range(60)]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_query_finds_what_brute_force_over_the_stored_vectors_finds(
    precision: str, corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    opened = made(corpus, tiny_model, tmp_path / "out", vector_precision=precision)
    text = passage(21)["text"]
    answer = opened.ask(text, 5)
    query = encode(Encoder.load(str(tiny_model), FP32), [text], "query").astype(np.float64)[0]
    scores = np.asarray(opened.found.vectors[:], dtype=np.float64) @ query
    order = sorted(range(60), key=lambda row: (-np.float32(scores[row]), row))[:5]
    assert [hit.passage_id for hit in answer.hits] == [f"p{row:04}" for row in order]
    assert [hit.score for hit in answer.hits] == pytest.approx([scores[row] for row in order], abs=2e-6)
    assert [hit.rank for hit in answer.hits] == [1, 2, 3, 4, 5]
    first = passage(order[0])
    assert (answer.hits[0].title, answer.hits[0].text) == (first["title"], first["text"])


def test_the_faiss_file_answers_without_sharpen(corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    opened = made(corpus, tiny_model, tmp_path / "out", vector_precision="int8")
    vector = encode(opened.encoder, [passage(3)["text"]], "query")
    scores, rows = faiss.read_index(str(tmp_path / "out" / "index.faiss")).search(vector, 3)
    hits = opened.ask(passage(3)["text"], 3).hits
    assert [f"p{row:04}" for row in rows[0]] == [hit.passage_id for hit in hits]
    assert scores[0] == pytest.approx([hit.score for hit in hits], abs=1e-5)


def test_an_approximate_index_gives_exact_scores_and_its_file_stands_alone(
    corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    exact = made(corpus, tiny_model, tmp_path / "exact", vector_precision="fp16")
    near = made(corpus, tiny_model, tmp_path / "near", vector_precision="fp16", index="IVF4,PQ8x4fs")
    assert near.manifest.faiss.factory == "IVF4,PQ8x4fs"
    assert near.manifest.quality is not None and near.manifest.quality["searched"] >= 0.95
    for number in (1, 5, 40):
        ours, truth = near.ask(passage(number)["text"], 5), exact.ask(passage(number)["text"], 60)
        known = {hit.passage_id: hit.score for hit in truth.hits}
        assert all(known[hit.passage_id] == hit.score for hit in ours.hits)
    alone = faiss.read_index(str(tmp_path / "near" / "index.faiss"))
    assert type(alone).__name__ == "IndexRefine" and alone.ntotal == 60


def test_a_cut_index_is_asked_with_a_cut_query(
    corpus: Path, tiny_model: Path, theirs: np.ndarray, tmp_path: Path
) -> None:
    opened = made(corpus, tiny_model, tmp_path / "out", truncate_dim=16)
    short = theirs[:, :16] / np.linalg.norm(theirs[:, :16], axis=1, keepdims=True)
    np.testing.assert_allclose(opened.found.vectors[:], short, atol=1e-5)
    query = encode(opened.encoder, [passage(9)["text"]], "query")[0, :16]
    best = short @ (query / np.linalg.norm(query))
    hits = opened.ask(passage(9)["text"], 3).hits
    assert [hit.score for hit in hits] == pytest.approx(sorted(best, reverse=True)[:3], abs=1e-5)


def test_the_quality_figures_are_recall_by_definition(
    corpus: Path, tiny_model: Path, theirs: np.ndarray, tmp_path: Path
) -> None:
    opened = made(corpus, tiny_model, tmp_path / "out", truncate_dim=16)
    quality = opened.manifest.quality
    assert quality is not None
    assert (quality["asked"], quality["queries"], quality["k"]) == ("test queries", 10, 10)
    texts = [passage(number)["text"].removeprefix("the ") for number in range(0, 60, 3) if number // 3 % 2]
    queries = encode(opened.encoder, texts, "query")

    def top(scores: np.ndarray) -> list[set[int]]:
        return [set(row[:10]) for row in np.argsort(-scores, axis=1, kind="stable").tolist()]

    truth = top(queries @ theirs.T)
    cut = [v[:, :16] / np.linalg.norm(v[:, :16], axis=1, keepdims=True) for v in (queries, theirs)]
    bits = [np.sign(v) for v in cut]
    for figure, scores in (
        (quality["exhaustive"]["fp32"], cut[0] @ cut[1].T),
        (quality["searched"], cut[0] @ cut[1].T),
        (quality["exhaustive"]["binary"], cut[0] @ bits[1].T),
        (quality["codes_only"]["binary"], bits[0] @ bits[1].T),
    ):
        shares = [len(a & b) / 10 for a, b in zip(truth, top(scores), strict=True)]
        assert figure == pytest.approx(np.mean(shares), abs=0.0101)  # the last place of a list may be a near tie


def test_the_same_input_gives_the_same_files(corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        made(corpus, tiny_model, tmp_path / name, index="IVF4,SQ8")
    one, two = (storage.read_manifest(str(tmp_path / name)).files for name in ("one", "two"))
    assert one == two


def test_many_files_and_no_texts(corpus: Path, tiny_model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("sharpen.index.shards.rows_a_file", lambda codec: 7)
    opened = made(corpus, tiny_model, tmp_path / "out", store_texts=False)
    assert [shard.rows for shard in opened.manifest.embeddings.files] == [7] * 8 + [4]
    hits = opened.ask(passage(33)["text"], 60).hits
    assert sorted(hit.passage_id for hit in hits) == [f"p{number:04}" for number in range(60)]
    assert {(hit.title, hit.text) for hit in hits} == {(None, None)}
    with_texts = made(corpus, tiny_model, tmp_path / "out")
    assert [(h.passage_id, h.score) for h in with_texts.ask(passage(33)["text"], 60).hits] == [
        (h.passage_id, h.score) for h in hits
    ]


def test_passages_alone_are_enough(tiny_model: Path, tmp_path: Path) -> None:
    folder = write_passages(tmp_path / "alone", 30)
    for number, address in enumerate((folder, folder / "corpus.jsonl")):
        opened = made(address, tiny_model, tmp_path / f"out{number}")
        assert opened.manifest.quality is not None and opened.manifest.quality["asked"] == "passages"
        assert opened.ask(passage(4)["text"], 1).hits[0].passage_id.startswith("p")


def test_more_hits_than_passages_are_all_passages(tiny_model: Path, tmp_path: Path) -> None:
    opened = made(write_passages(tmp_path / "few", 3), tiny_model, tmp_path / "out")
    assert len(opened.ask("a town", 10).hits) == 3


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"vector_precision": "int4"}, "vector_precision"),
        ({"truncate_dim": 33}, "truncate_dim 33: the model's embeddings have 32 dimensions"),
        ({"truncate_dim": 12, "vector_precision": "binary"}, "use a multiple of 8"),
        ({"index": "nonsense"}, "index 'nonsense'"),
        ({"index": "IVF100,Flat"}, "100 lists for 60 passages"),
        ({"index": "HNSW32", "vector_precision": "binary"}, "cannot be made of binary vectors"),
    ],
)
def test_settings_that_do_not_fit_are_one_line_and_nothing_is_written(
    settings: dict, told: str, corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=told) as caught:
        made(corpus, tiny_model, tmp_path / "out", **settings)
    assert len(caught.value.faults) == 1
    assert list(tmp_path.iterdir()) == []


def test_bad_corpora_are_told(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "corpus.jsonl").write_text("\n\n")
    write_lines(tmp_path / "broken" / "corpus.jsonl", [{"_id": "a", "text": "a town"}, {"_id": "b"}])
    for name, told in (("empty", "no passage"), ("broken", r"corpus.jsonl, line 2, text"), ("nowhere", "no such")):
        with pytest.raises(InputError, match=told):
            made(tmp_path / name, tiny_model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_gives_no_numbers_is_told_and_nothing_is_written(
    corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    weights = load_file(model / "model.safetensors")
    tokens = Encoder.load(str(tiny_model), FP32).tokenize([passage(0)["text"]], "passage")[0]
    weights["embeddings.word_embeddings.weight"][tokens[1]] = float("nan")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="passage p0000 is not a number"):
        made(corpus, model, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_interrupted_write_leaves_the_older_index_as_it_was(
    corpus: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(corpus, tiny_model, tmp_path / "out")
    before = storage.read_manifest(str(tmp_path / "out"))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sharpen.index.faiss_file.write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made(corpus, tiny_model, tmp_path / "out", vector_precision="int8")
    assert storage.read_manifest(str(tmp_path / "out")) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert OpenIndex(str(tmp_path / "out")).ask("a town", 1).hits


def test_what_is_no_index_or_another_models_is_told(corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    made(corpus, tiny_model, tmp_path / "out")
    with pytest.raises(InputError, match="not a finished folder"):
        OpenIndex(str(corpus))
    with storage.publish(str(tmp_path / "negatives"), producer="hard_negatives") as folder:
        (folder / "report.json").write_text("{}")
    with pytest.raises(InputError, match="written by hard_negatives, not an index"):
        OpenIndex(str(tmp_path / "negatives"))

    other = Encoder.load(str(tiny_model), FP32)
    other.model.embeddings.word_embeddings.weight.data += 0.5
    other.save(tmp_path / "other")
    with pytest.raises(InputError, match="made with other weights"):
        OpenIndex(str(tmp_path / "out"), str(tmp_path / "other"))
    with pytest.raises(InputError, match="the query is empty"):
        OpenIndex(str(tmp_path / "out")).ask("  ", 3)


def test_a_model_of_another_dimension_is_told(corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, BertConfig, BertModel

    made(corpus, tiny_model, tmp_path / "out")
    config = BertConfig.from_pretrained(tiny_model, hidden_size=16, intermediate_size=16)
    BertModel(config).save_pretrained(tmp_path / "narrow")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "narrow")
    with pytest.raises(InputError, match=r"made with a model of 32 dimensions, .*narrow has 16"):
        OpenIndex(str(tmp_path / "out"), str(tmp_path / "narrow"))


def test_a_damaged_file_is_not_read(corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    made(corpus, tiny_model, tmp_path / "out")
    file = tmp_path / "out" / "index.faiss"
    spoiled = bytearray(file.read_bytes())
    spoiled[-1] ^= 1
    file.write_bytes(spoiled)
    with pytest.raises(StepFailed, match=r"index\.faiss is missing or damaged"):
        OpenIndex(str(tmp_path / "out"))


@pytest.mark.store
def test_from_s3_to_s3(corpus: Path, tiny_model: Path, s3: str, tmp_path: Path) -> None:
    address = storage.join(s3, "indexing", "out")
    remote = made(corpus, tiny_model, address, vector_precision="fp16")
    local = made(corpus, tiny_model, tmp_path / "out", vector_precision="fp16")
    assert remote.ask(passage(8)["text"], 5).hits == local.ask(passage(8)["text"], 5).hits
    assert storage.read_manifest(address).files == storage.read_manifest(str(tmp_path / "out")).files
    assert remote.manifest.model.address == str(tiny_model)
    assert searching.opened(address)[1] == remote.manifest
