"""Answers of language models, honest and not."""

from __future__ import annotations

import pytest

from sharpen.generation.prompting.answers import parse_answer

GOOD = '{"queries": [{"style": "question", "text": "why?"}]}'


@pytest.mark.parametrize(
    "content", [GOOD, f"Here you are:\n```json\n{GOOD}\n```\nDone.", f"<think>{{}}</think> {GOOD} and more {{"]
)
def test_valid_answers(content: str) -> None:
    answer = parse_answer(content)
    assert answer is not None
    assert [(one.style, one.text) for one in answer.queries] == [("question", "why?")]


@pytest.mark.parametrize(
    "content",
    [
        None,
        3,
        "",
        "why?",
        "[]",
        "{",
        "{}",
        '{"queries": []}',
        '{"queries": "why?"}',
        '{"queries": [{"style": "question"}]}',
        '{"queries": [{"style": "question", "text": 3}]}',
        '{"queries": [{"style": "question", "text": "why?"}',
        '{"queries": ' + "[" * 100_000,
        '{"queries": [{"style": "question", "text": "' + "x" * 30_000 + '"}]}',
    ],
)
def test_invalid_answers(content: object) -> None:
    assert parse_answer(content) is None
