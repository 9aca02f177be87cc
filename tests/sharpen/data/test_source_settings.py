"""What users say of a source, in a text, a list, YAML or Python, is the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sharpen.data.source_settings import SourceSettings, addresses_in, parse_sources, sources_text
from sharpen.errors import InputError

CLICKS = {"address": "s3://team/clicks/*.parquet", "weight": 2, "clicks": {"propensities": "log2"}, "corpus": "c.jsonl"}


def test_a_list_and_its_text_are_the_same_sources_each_once() -> None:
    given = ["a.jsonl", CLICKS, {"address": "a.jsonl"}, Path("a.jsonl")]
    text = sources_text(given)
    assert json.loads(text) == ["a.jsonl", {**CLICKS, "weight": 2.0}]
    assert parse_sources(text) == parse_sources(given) == parse_sources(parse_sources(given))
    assert sources_text(text) == text and sources_text("a.jsonl, b") == "a.jsonl, b"
    assert [source.address for source in parse_sources("a.jsonl, b,,a.jsonl")] == ["a.jsonl", "b"]
    assert addresses_in(text) == ["a.jsonl", "s3://team/clicks/*.parquet", "c.jsonl"]
    # a setting that says the default says nothing
    assert parse_sources([{"address": "a", "weight": 1.0}])[0].is_plain


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('["a", {"address": "b", "wieght": 2}]', r"train_data\[1\].wieght: unknown setting; did you mean weight\?"),
        ('[{"address": "b", "weight": 0}]', r"train_data\[0\].weight: Input should be greater than 0"),
        ('[{"weight": 2}]', r"train_data\[0\].address: Field required"),
        ('[{"address": "b", "columns": {"ask": "q"}}]', "ask is nothing that a column can be; known: query, positive"),
        ('[{"address": "b", "clicks": {"propensities": [1, 0]}}]', "every propensity must be above 0 and at most 1"),
        ('[{"address": "b", "format": "rows", "clicks": {}}]', "clicks have no effect with format rows"),
        ('["a", 3]', r"train_data\[1\]: an address or an object with one is expected, not int"),
        ('["a"', "train_data: not a valid JSON list"),
    ],
)
def test_a_wrong_source_is_one_line(given: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_sources(given, "train_data")
    assert all("\n" not in line for line in caught.value.faults)


def test_every_setting_of_a_source_has_a_sentence() -> None:
    def check(model: Any) -> None:
        for name, field in model.model_fields.items():
            assert hasattr(field.annotation, "model_fields") or (field.description or "").endswith("."), name

    check(SourceSettings)
    check(SourceSettings.model_fields["clicks"].annotation)
