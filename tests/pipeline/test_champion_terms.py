"""No second run, whatever it sets, replaces a champion by what is worse on the champion's own terms.

The steps of the pipeline that decide are called as its graph calls them: the champion's evaluation with the second
run's encoder settings, the candidate's against it, the gate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast  # type: ignore[attr-defined]

from components.evaluation.step import Measurement
from sharpen.embeddings.encoding import encode
from sharpen.models.encoder import Encoder
from sharpen.registry import registry
from sharpen.registry.decisions import decision_record
from sharpen.registry.gate import decide
from sharpen.registry.gate.evaluation_summary import CHAMPION, read_evaluation_summary
from sharpen.registry.outcome import Outcome
from sharpen.registry.promote import judge
from sharpen.registry.report import promotion_page
from sharpen.registry.settings import PromotionSettings
from sharpen.settings import EncoderSettings
from sharpen.store import storage
from tests.sharpen.reports.html_pages import check_page

pytestmark = pytest.mark.model

SYLLABLES = "ba ce di fo gu ha je ki lo mu na pe ri so tu va we xi yo zu".split()
WORDS = [one + two for one in SYLLABLES for two in SYLLABLES]
CHAMPIONS = {
    "query_max_len": 24,
    "passage_max_len": 24,
    "query_instruction_for_retrieval": "find ",
    "precision": "fp32",
}
MEASURED = json.dumps({"resamples": 200, "report_queries": 0})
FOREIGN = "Given a long question of somebody in a hurry, retrieve what the answer would be made of: "


def make_base(folder: Path, seed: int, width: int = 32, layers: int = 1) -> str:
    """A tiny BERT that finds passages by their words, more or less, as random weights do."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *":,.", *"abcdefghijklmnopqrstuvwxyz", *WORDS]
    pieces += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    BertTokenizerFast(vocab=vocabulary, model_max_length=64).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    return str(folder)


@dataclass
class Workshop:
    """Data, a base model and a champion in a registry, and what a second run makes of them."""

    folder: Path
    data: str
    base: str
    numbers: Iterator[int]

    @property
    def root(self) -> str:
        return str(self.folder / "root")

    def model(self, base: str, alter: Callable[[Encoder], None] | None = None, **settings: Any) -> str:
        """What a run with these encoder settings writes as its model."""
        address = str(self.folder / f"model-{next(self.numbers)}")
        encoder = Encoder.load(base, EncoderSettings.checked(self.run_settings(settings)), device="cpu")
        if alter:
            alter(encoder)
        with storage.publish(address, producer="finetuning") as folder:
            encoder.save(folder)
        return address

    @staticmethod
    def run_settings(settings: dict[str, Any]) -> dict[str, Any]:
        return {"vector_cache": "off", "precision": "fp32", **settings}

    def measure(
        self,
        model: str,
        encoder: dict[str, Any],
        champion: str = "",
        base: str = "",
        measured: str = MEASURED,
        as_base: bool = False,
    ) -> str:
        """The evaluation step in a run with these encoder settings."""
        address = str(self.folder / f"evaluation-{next(self.numbers)}")
        by = Measurement.from_json(self.data, "test", measured, json.dumps(self.run_settings(encoder)))
        if as_base:
            return by.measure_base(model, address).address
        return by.measure(model, address, {"base": base, "champion": champion}).address

    def ndcg(self, evaluation: str) -> float:
        return storage.read_json(f"{evaluation}/metrics.json")["ndcg_at_10"]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Queries of some words of their passage; the passage's first words are like those of many others."""
    folder = tmp_path_factory.mktemp("terms")
    rng = np.random.default_rng(3)
    common = rng.choice(WORDS, 6)
    rows, asked, judged = [], [], ["query-id\tcorpus-id\tscore"]
    for number in range(120):
        own = rng.choice(WORDS, 9, replace=False)
        rows.append({"_id": f"d{number}", "title": "", "text": " ".join([*rng.choice(common, 3), *own])})
        asked.append({"_id": f"q{number}", "text": " ".join([*rng.choice(common, 2), *rng.permutation(own)[:5]])})
        judged.append(f"q{number}\td{number}\t{1 + number % 2}")
        if number % 3 == 0:
            judged.append(f"q{number}\td{(number + 1) % 120}\t1")
    (folder / "data" / "qrels").mkdir(parents=True)
    for name, lines in {"corpus": rows, "queries": asked}.items():
        (folder / "data" / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "data" / "qrels" / "test.tsv").write_text("\n".join(judged) + "\n")
    return Workshop(folder, str(folder / "data"), make_base(folder / "base", 1), iter(range(10_000)))


@pytest.fixture(scope="module")
def champion(workshop: Workshop) -> str:
    """Address of the champion: promoted by run 1, as its provenance says."""
    model = workshop.model(workshop.base, sentence_pooling_method="mean", **CHAMPIONS)
    measured = workshop.measure(workshop.base, CHAMPIONS, as_base=True)
    tuned = read_evaluation_summary(workshop.measure(model, CHAMPIONS, base=measured))
    facts = {"metrics": tuned.metrics, "gate": {"facts": decide(tuned, PromotionSettings(min_gain=-1)).facts}}
    version = registry.register(workshop.root, "m", model, facts, run_id="run-1")
    return registry.promote(workshop.root, "m", version.version, reason="run 1").address


@pytest.fixture(scope="module")
def own(workshop: Workshop, champion: str) -> float:
    """The champion's figure on its own terms, computed from their definition alone."""
    encoder = Encoder.load(champion, EncoderSettings.checked({**MEAN, **CHAMPIONS}), device="cpu")
    lines = {
        name: [json.loads(line) for line in Path(workshop.data, f"{name}.jsonl").read_text().splitlines()]
        for name in ("queries", "corpus")
    }
    queries = encode(encoder, [row["text"] for row in lines["queries"]], "query")
    passages = encode(encoder, [row["text"] for row in lines["corpus"]], "passage")
    grades = {}
    for line in Path(workshop.data, "qrels", "test.tsv").read_text().splitlines()[1:]:
        query, passage, grade = line.split("\t")
        grades.setdefault(query, {})[passage] = int(grade)
    total = 0.0
    for row, scores in zip(lines["queries"], queries @ passages.T, strict=True):
        judged = grades[row["_id"]]
        found = [judged.get(lines["corpus"][place]["_id"], 0) for place in np.argsort(-scores)[:10]]
        ideal = sorted(judged.values(), reverse=True)
        gain, best = (sum(g / np.log2(n + 2) for n, g in enumerate(gains)) for gains in (found, ideal))
        total += gain / best
    return total / len(queries)


def damaged(encoder: Encoder) -> None:
    """Let the model take two of three words for the unknown one."""
    with torch.no_grad():
        words = encoder.model.get_input_embeddings().weight
        unlike = torch.arange(len(words)) % 3 > 0
        words[unlike] = words[1].clone()


MEAN = {"sentence_pooling_method": "mean"}
# What the second run sets, and how its model differs from the champion's weights: all of these are worse.
SECOND_RUNS: dict[str, dict[str, Any]] = {
    "a foreign instruction": {"query_instruction_for_retrieval": FOREIGN},
    "a foreign instruction in a form": {
        "query_instruction_for_retrieval": "Given a question, find text",
        "query_instruction_format": "Instruct: {}\nQuery: {}",
    },
    "an instruction for passages": {"passage_instruction_for_retrieval": FOREIGN},
    "instructions for both": {
        "query_instruction_for_retrieval": FOREIGN,
        "passage_instruction_for_retrieval": FOREIGN,
    },
    "short queries": {"query_max_len": 5},
    "queries of one token": {"query_max_len": 3},
    "short passages": {"passage_max_len": 6},
    "both so short that all are equal": {"query_max_len": 3, "passage_max_len": 3},
    "cls pooling": {"sentence_pooling_method": "cls"},
    "last_token pooling": {"sentence_pooling_method": "last_token"},
    "not normalised": {"normalize_embeddings": False, "alter": damaged},
    "bf16": {"precision": "bf16", "alter": damaged},
    "bf16 and short": {"precision": "bf16", "query_max_len": 6},
    "another base": {"base": {"seed": 2, "layers": 2}, "sentence_pooling_method": "cls"},
    "another base and a foreign instruction": {
        "base": {"seed": 2},
        "query_instruction_for_retrieval": FOREIGN,
        "query_max_len": 20,
    },
    "a narrow base": {"base": {"seed": 3, "width": 4}},
    "a narrow base and short passages": {"base": {"seed": 3, "width": 8}, "passage_max_len": 7},
    "a wide base, cls": {"base": {"seed": 5, "width": 64}, "sentence_pooling_method": "cls"},
    "worse weights and a foreign instruction": {"alter": damaged, "query_instruction_for_retrieval": FOREIGN},
    "worse weights, short, not normalised": {"alter": damaged, "query_max_len": 8, "normalize_embeddings": False},
}


@pytest.mark.parametrize("name", SECOND_RUNS)
def test_a_worse_model_does_not_replace_the_champion(name: str, workshop: Workshop, champion: str, own: float) -> None:
    values = dict(SECOND_RUNS[name])
    base, alter = values.pop("base", None), values.pop("alter", None)
    settings = {"query_max_len": 24, "passage_max_len": 24, **MEAN, **values}
    start = workshop.base if base is None else make_base(workshop.folder / name, **base)
    candidate = workshop.model(start, alter, **settings)

    reigning = workshop.measure(champion, settings)
    tuned = workshop.measure(candidate, settings, champion=reigning)
    assert workshop.ndcg(tuned) < own - 0.01, "the candidate must be worse, or nothing is shown"
    assert workshop.ndcg(reigning) == pytest.approx(own, abs=1e-6)
    usage = storage.read_json(f"{reigning}/facts.json")["encoding"]
    assert usage["query_prompts"] == {"find ": 120}
    assert (usage["max_lengths"], usage["pooling"]) == ({"query": 24, "passage": 24}, "mean")
    # even where whoever runs it demands neither significance nor that nothing else falls
    lenient = PromotionSettings(mode="mean", max_regression={}, min_queries=1)
    for gate in (PromotionSettings(), lenient):
        assert not decide(read_evaluation_summary(tuned), gate).promoted


def test_the_champions_weights_used_in_another_way_are_another_model(workshop: Workshop, champion: str) -> None:
    """A training that learns nothing, with a length that cuts queries: the weights' hash alone would call it equal."""
    worse = workshop.model(champion, query_max_len=4, passage_max_len=24)
    reigning = workshop.measure(champion, {})
    measured = read_evaluation_summary(workshop.measure(worse, {}, champion=reigning))
    assert measured.facts["model_hash"] == measured.against[CHAMPION].facts["model_hash"]
    assert not decide(measured, PromotionSettings()).promoted
    same = read_evaluation_summary(workshop.measure(champion, {"query_max_len": 4}, champion=reigning))
    assert "it is the champion already" in decide(same, PromotionSettings()).reasons[0]


def test_what_is_counted_does_not_change_under_the_champion(workshop: Workshop, champion: str) -> None:
    settings = {"query_max_len": 24, "passage_max_len": 24, **MEAN}
    candidate = workshop.model(workshop.base, damaged, **settings)
    for change, told in [
        ({"relevance_level": 2}, "relevance_level 1, this is measured with 2"),
        ({"ignore_identical_ids": True}, "ignore_identical_ids False, this is measured with True"),
    ]:
        counted = json.dumps(json.loads(MEASURED) | change)
        reigning = workshop.measure(champion, settings, measured=counted)
        measured = read_evaluation_summary(workshop.measure(candidate, settings, champion=reigning, measured=counted))
        free = {"mode": "mean", "max_regression": {}, "min_gain": -1, "min_queries": 1}
        decision = decide(measured, PromotionSettings.checked(free))
        assert not decision.promoted and told in decision.reasons[0]
        assert decide(measured, PromotionSettings.checked({**free, "accept_new_terms": True})).promoted
    # another metric, by which the candidate is allowed to be as it is: it is worse by the champion's
    reigning = workshop.measure(champion, settings)
    measured = read_evaluation_summary(workshop.measure(candidate, settings, champion=reigning))
    other = {"mode": "mean", "max_regression": {}, "min_gain": -1, "metric": "hit_rate_at_100"}
    decision = decide(measured, PromotionSettings.checked({**other, "min_queries": 1}))
    assert not decision.promoted and "the champion was chosen by nDCG@10" in decision.reasons[0]


def test_the_base_is_granted_the_better_of_its_own_settings_and_the_runs(workshop: Workshop, tmp_path: Path) -> None:
    published = Path(workshop.model(workshop.base, sentence_pooling_method="mean"))
    (published / "config_sharpen.json").unlink()
    (published / "_SUCCESS.json").unlink()

    def usage(encoder: dict[str, Any]) -> tuple[float, dict[str, Any]]:
        address = workshop.measure(str(published), encoder, as_base=True)
        return workshop.ndcg(address), storage.read_json(f"{address}/facts.json")["encoding"]

    own, told = usage({})
    assert told["settings_of"] == "both"
    foreign, told = usage({"query_instruction_for_retrieval": FOREIGN})
    assert (foreign, told["settings_of"], told["query_prompts"]) == (own, "published", {"": 120})
    assert "with its own settings" in told["reason"] and "as there is no dev" in told["reason"]
    (published / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": FOREIGN}}))
    without, told = usage({"query_instruction_for_retrieval": ""})
    assert (without, told["settings_of"]) == (own, "run")


def test_both_sides_settings_stand_on_the_page_in_the_record_and_in_the_report(
    workshop: Workshop, champion: str, tmp_path: Path
) -> None:
    settings = {"query_instruction_for_retrieval": "ask | ", "query_max_len": 9, "passage_max_len": 24, **MEAN}
    candidate = workshop.model(workshop.base, **settings)
    reigning = workshop.measure(champion, settings)
    evaluation = workshop.measure(candidate, settings, champion=reigning)
    decision = judge(evaluation, "code-search", str(tmp_path), PromotionSettings())
    measured = read_evaluation_summary(evaluation)
    page = check_page(promotion_page(Outcome("code-search", "reject", decision.reasons), "", decision, measured))
    assert "setting champion this model" in page
    assert 'query prompts "find " "ask | "' in page
    assert "longest query (tokens) 24 9" in page
    record = json.loads(decision_record(decision, evaluation))
    assert record["verdict"] == decision.verdict and record["evaluation"] == evaluation
    both = record["facts"]["usage"]
    assert [both[side]["max_lengths"]["query"] for side in ("candidate", "champion")] == [9, 24]
    assert {"prompts", "pooling", "normalize", "dimension", "precision", "reason"} <= both["champion"].keys()
    report = storage.read_bytes(f"{evaluation}/report.html").decode()
    assert "How each model was used" in report and "&#34;ask | &#34;" in report and "&#34;find &#34;" in report
