"""How systems are named in settings."""

from __future__ import annotations

import pytest

from sharpen.errors import InputError
from sharpen.evaluation.settings import EvaluationAddresses, EvaluationSettings
from sharpen.evaluation.systems.names import System, parse_systems
from sharpen.evaluation.systems.shared import shared_systems


def test_every_way_to_name_a_system() -> None:
    given = ["bm25", "peer=runs/x/model", "intfloat/e5-small", "s3://bucket/a/model?endpoint=b", "fusion"]
    assert parse_systems(given) == [
        System("bm25", "bm25"),
        System("peer", "model", "runs/x/model"),
        System("e5-small", "model", "intfloat/e5-small"),
        System("a", "model", "s3://bucket/a/model?endpoint=b"),
        System("fusion", "fusion"),
    ]


@pytest.mark.parametrize(
    ("systems", "fault"),
    [
        ("bm25,bm25", "systems: bm25 is named twice"),
        ("base=x", "the name base is taken; write NAME=x"),
        ("a/x,b/x", "two are called x; write NAME=b/x"),
        ("x=", "'x=': no address"),
        ("=x", "'=x': has no name"),
    ],
)
def test_faults(systems: str, fault: str) -> None:
    with pytest.raises(InputError) as caught:
        EvaluationSettings.checked({"systems": systems})
    assert fault in str(caught.value) and len(caught.value.faults) == 1


def test_what_is_measured_once_for_all_models() -> None:
    def names(**settings: object) -> list[str]:
        return list(shared_systems(EvaluationSettings.checked(settings)))

    assert names() == []
    assert names(systems="fusion") == ["bm25"]
    assert names(systems="peer=x,bm25", reranking_model="y") == ["peer", "bm25", "bm25-reranked"]
    assert names(reranking_model="y") == []


def test_finished_evaluations_by_name() -> None:
    given = {"model": "m", "data": "d", "output": "o", "base": "b", "references": "peer=x/y,z/other"}
    assert EvaluationAddresses.checked(given).against == {"base": "b", "peer": "x/y", "other": "z/other"}
    with pytest.raises(InputError, match="the name champion is taken"):
        EvaluationAddresses.checked({**given, "references": "champion=x"})
