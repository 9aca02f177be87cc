"""Causes in the prompts: what a base model was trained to have before its texts, and what was put there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sharpen.diagnosis.artifacts import RunArtifacts
from sharpen.diagnosis.finding import Change, Finding

_SEARCH = "Represent this sentence for searching relevant passages: "
KNOWN_PROMPTS = (
    (r"multilingual-e5-(small|base|large)$|(^|/)e5-(small|base|large)", "query: ", "passage: "),
    (r"bge-(small|base|large)-en", _SEARCH, ""),
    (r"bge-(small|base|large)-zh", "为这个句子生成表示以用于检索相关文章：", ""),
    (r"mxbai-embed-(large|xsmall)|snowflake-arctic-embed-(xs|s|m|l)(-v1|$)", _SEARCH, ""),
    (r"nomic-embed-text", "search_query: ", "search_document: "),
)
"""Pattern of a base model's name -> prompts of queries and passages that its authors name."""

_LEAST_EXAMPLES, _MOST = 5, 0.5


def foreign_query_prompt(run: RunArtifacts) -> Finding | None:
    """A base model that its own prompts serve better than those of the run, as its evaluation has measured."""
    encoding = run.base.get("encoding", {})
    if encoding.get("settings_of") != "published":
        return None
    theirs, ours = encoding.get("prompts", {}), _prompts(run)
    different = {
        kind: theirs.get(kind, "") for kind in ("query", "passage") if theirs.get(kind, "") != ours.get(kind, "")
    }
    if not different or not run.training:
        return None
    shown = "; ".join(f"{kind}: {prompt!r} instead of {ours.get(kind, '')!r}" for kind, prompt in different.items())
    return Finding(
        "a prompt that is foreign to the base model",
        f"the base model is better with its own prompts ({encoding.get('reason', '')}); {shown}",
        "likely",
        0.8,
        "harm",
        tuple(_setting(kind, prompt) for kind, prompt in different.items()),
        {"prompts_of_the_base": dict(theirs), "prompts_of_the_run": dict(ours)},
    )


def missing_prompt(run: RunArtifacts) -> Finding | None:
    """A base model known to need prompts, trained without them."""
    name = str(run.training.get("base_model", "")).rstrip("/")
    known = next(
        ((query, passage) for form, query, passage in KNOWN_PROMPTS if re.search(form, name, re.IGNORECASE)), None
    )
    if known is None or foreign_query_prompt(run) is not None:
        return None
    ours = _prompts(run)
    lacking = {
        kind: prompt for kind, prompt in zip(("query", "passage"), known, strict=True) if prompt and not ours.get(kind)
    }
    if not lacking:
        return None
    shown = " and ".join(f"{prompt!r} before each {kind}" for kind, prompt in lacking.items())
    return Finding(
        "a prompt is missing",
        f"{name} was trained with {shown}; this run has none",
        "likely",
        0.6,
        "harm",
        tuple(_setting(kind, prompt) for kind, prompt in lacking.items()),
        {"missing": lacking},
    )


def doubled_prompt(run: RunArtifacts) -> Finding | None:
    """Queries of the data that begin with the prompt already, which is put before them again."""
    prompt = _prompts(run).get("query", "").strip()
    queries = [example["query"] for example in run.mining.get("examples", [])]
    if not prompt or len(queries) < _LEAST_EXAMPLES:
        return None
    begins = sum(query.startswith(prompt) for query in queries)
    if begins <= _MOST * len(queries):
        return None
    return Finding(
        "the prompt is there twice",
        f"{begins} of {len(queries)} looked-at training queries begin with {prompt!r}, which is put before them again",
        "certain",
        0.7,
        "harm",
        (Change("encoder.query_instruction_for_retrieval", "", "no prompt but that of the data"),),
        {"queries_with_it": begins, "looked_at": len(queries)},
        "or take it out of the data, which is better: the model then has it as its own",
    )


def _prompts(run: RunArtifacts) -> Mapping[str, Any]:
    """Kind of text -> what is before most of the measured texts of the model."""
    encoding = run.facts.get("encoding", {})
    counted = encoding.get("query_prompts") or {}
    query = (
        max(counted, key=lambda prompt: counted[prompt]) if counted else encoding.get("prompts", {}).get("query", "")
    )
    return {"query": query, "passage": encoding.get("prompts", {}).get("passage", "")}


def _setting(kind: str, prompt: str) -> Change:
    return Change(f"encoder.{kind}_instruction_for_retrieval", prompt)
