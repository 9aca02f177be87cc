"""Causes in the data: what leaks, what is cut off, what training never saw."""

from __future__ import annotations

from typing import Any

from sharpen.diagnosis.artifacts import BASE, RunArtifacts
from sharpen.diagnosis.finding import Change, Finding
from sharpen.reports.formatting import percent
from sharpen.settings import EncoderSettings

# a test set with a few near copies is usual (the demo's has 0.2 %); a twentieth moves a metric
_NEAR_LEAKS = 0.05
_FEW_LEAKS = 5
# what of the passages' tokens a model never sees: a quarter limits it, half of it changes what a passage says
_CUT_LIMIT, _CUT_HARM = 0.25, 0.5
_CUT_QUERIES, _CUT_QUERIES_HARM = 0.05, 0.25
_LONGEST = 512
# below it a run is decided by which queries happen to be in it
_FEW_QUERIES = 100
# of the test queries in a language that less than a hundredth of the training queries is in
_OTHER_LANGUAGE, _UNSEEN = 0.1, 0.01
_LENGTH_RATIO, _LEAST = 2.0, 20


def leaks(run: RunArtifacts) -> Finding | None:
    """Test queries that are training queries too, or nearly: the figures are better than the model."""
    near = run.checks.get("duplicates", {}).get("query", {}).get("near", {}).get("leaks", {}).get(_split(run), {})
    if run.shared_queries:
        share = run.shared_queries / run.measured_queries
        return Finding(
            "test queries in training",
            f"{run.shared_queries:,} of {run.measured_queries:,} measured queries are training queries too "
            f"({percent(share)}); their figures say what the model has learned by heart",
            "certain",
            min(1.0, 0.6 + share),
            "doubt",
            (Change("data.on_leak", "drop"),),
            {"shared_queries": run.shared_queries, "measured_queries": run.measured_queries},
            "measure on the split test, or bring queries of your own as eval_data",
        )
    if near.get("near_leaks", 0) >= _FEW_LEAKS and near["share"] > _NEAR_LEAKS:
        return Finding(
            "near copies of test queries in training",
            f"{near['near_leaks']:,} of {near['counted']:,} {_split(run)} queries nearly repeat a training query "
            f"({percent(near['share'])})",
            "likely",
            min(0.9, 0.4 + near["share"]),
            "doubt",
            (Change("data.leak_check", "query_and_passage"), Change("data.split_by", "group")),
            {"near_leaks": near["near_leaks"], "looked_at": near["counted"]},
            "give queries that belong together one group",
        )
    return None


def cut_passages(run: RunArtifacts) -> Finding | None:
    """Passages of which much is cut off, so that what answers a query may be in the part that no model sees."""
    cut = _cut(run, "passage")
    if cut is None or cut["tokens"] < _CUT_LIMIT:
        return None
    return _cut_finding(run, "passage", cut, harmful=cut["tokens"] >= _CUT_HARM)


def cut_queries(run: RunArtifacts) -> Finding | None:
    """Queries whose end, often the very question, is cut off."""
    cut = _cut(run, "query")
    if cut is None or cut["texts"] < _CUT_QUERIES:
        return None
    return _cut_finding(run, "query", cut, harmful=cut["texts"] >= _CUT_QUERIES_HARM)


def _cut(run: RunArtifacts, kind: str) -> dict[str, float] | None:
    """Shares of texts and tokens that are cut at the length of the training; None where it is not known."""
    tokens = run.checks.get("tokens", {}).get(kind)
    limit = run.encoder.get(f"{kind}_max_len")
    if not tokens or not limit:
        return None
    found = {"limit": limit, "p50": tokens["p50"], "p95": tokens["p95"], "max": tokens["max"]}
    if limit == tokens["limit"]:
        return found | {"texts": tokens["cut_share"], "tokens": tokens["tokens_cut_share"]}
    # counted at another length: what the percentiles say at least
    texts = 0.5 if tokens["p50"] > limit else 0.05 if tokens["p95"] > limit else 0.0
    return found | {"texts": texts, "tokens": max(0.0, 1 - limit / tokens["p50"]) if tokens["p50"] else 0.0}


def _cut_finding(run: RunArtifacts, kind: str, cut: dict[str, float], *, harmful: bool) -> Finding:
    limit, wanted = int(cut["limit"]), _rounded(cut["p95"])
    plural = "passages" if kind == "passage" else "queries"
    longer = "" if wanted > limit else "; split the longest ones"
    return Finding(
        f"{plural} are cut",
        f"{percent(cut['texts'])} of the {plural} are longer than {limit} tokens, and {percent(cut['tokens'])} of all "
        f"their tokens are never seen (median {cut['p50']:.0f}, 95 % have up to {cut['p95']:.0f})",
        "likely" if harmful else "possible",
        min(0.9, 0.3 + cut["tokens"] / 2 + cut["texts"] / 4),
        "harm" if harmful else "limit",
        _longer(kind, wanted, limit) + (_windows(run, limit) if kind == "passage" else ()),
        {f"share_of_{plural}_cut": cut["texts"], "share_of_tokens_cut": cut["tokens"], "limit": limit},
        f"long passages are better cut into parts of their own before the run{longer}" if kind == "passage" else "",
    )


def _longer(kind: str, wanted: int, limit: int) -> tuple[Change, ...]:
    change = Change(f"encoder.{kind}_max_len", str(wanted), "costs time in proportion")
    return (change,) if wanted > limit else ()


def _windows(run: RunArtifacts, limit: int) -> tuple[Change, ...]:
    """Windows, where passages are searched without and the limit has room for two overlaps."""
    overlap = run.encoder.get("window_overlap", EncoderSettings.model_fields["window_overlap"].default)
    if run.encoder.get("passage_windows", "none") != "none" or 2 * overlap >= limit:
        return ()
    return (Change("encoder.passage_windows", "max", "all of a passage is searched; training still cuts it"),)


def _rounded(tokens: float) -> int:
    """A length that holds so many tokens: the next multiple of 32, at most what most encoders read."""
    return min(_LONGEST, -(-int(tokens) // 32) * 32)


def few_training_queries(run: RunArtifacts) -> Finding | None:
    """So few queries that which of them are there decides."""
    queries = run.training.get("counts", {}).get("queries")
    if queries is None or queries >= _FEW_QUERIES:
        return None
    return Finding(
        "few training queries",
        f"the model was trained on {queries:,} queries; gains from fewer than some hundreds are small and vary",
        "likely",
        0.5,
        "limit",
        (Change("preset", "hundreds"),),
        {"training_queries": queries},
        "label more, or let queries be written for your passages (generation.enabled)",
    )


def other_language(run: RunArtifacts) -> Finding | None:
    """Test queries in a language that training hardly has."""
    by_split = run.checks.get("languages", {}).get("query", {}).get("by_split", {})
    trained, tested = _known(by_split.get("train", {})), _known(by_split.get(_split(run), {}))
    texts, all_trained = sum(tested.values()), sum(trained.values())
    if texts < _LEAST or all_trained < _LEAST:
        return None
    unseen = {
        code: count
        for code, count in tested.items()
        if count >= _OTHER_LANGUAGE * texts and trained.get(code, 0) < _UNSEEN * all_trained
    }
    if not unseen:
        return None
    share = sum(unseen.values()) / texts
    return Finding(
        "languages that training lacks",
        f"{percent(share)} of the {_split(run)} queries are in {', '.join(sorted(unseen))}, and fewer than 1 % of the "
        f"training queries (training: {', '.join(sorted(trained, key=lambda code: -trained[code])[:5])})",
        "likely",
        min(0.9, 0.4 + share / 2),
        "harm",
        figures={"share_of_test": share, "languages": sorted(unseen)},
        changes=(Change("preset", "multilingual"),),
        advice="add training data in these languages, and start from a multilingual base model",
    )


def other_lengths(run: RunArtifacts) -> Finding | None:
    """Test queries of another length than those of training: keywords against sentences."""
    by_split = run.data.get("query_words_by_split", {})
    trained, tested = by_split.get("train", {}), by_split.get(_split(run), {})
    if min(trained.get("queries", 0), tested.get("queries", 0)) < _LEAST:
        return None
    one, other = max(1.0, trained["p50"]), max(1.0, tested["p50"])
    if max(one, other) / min(one, other) < _LENGTH_RATIO or abs(one - other) < 3:
        return None
    return Finding(
        "test queries of another length",
        f"half of the training queries have up to {one:.0f} words, half of the {_split(run)} queries up to {other:.0f}",
        "possible",
        0.5,
        "harm",
        figures={"median_words_train": one, f"median_words_{_split(run)}": other},
        advice="train on queries as people will ask them; with generated queries choose the styles (generation.styles)",
    )


def unseen_source(run: RunArtifacts) -> Finding | None:
    """A source of the test queries that has no training queries, and got worse."""
    sources = run.data.get("queries_by_source", {})
    for part in run.slices:
        change = part.get("against", {}).get(BASE, {}).get(run.metric, {})
        trained = sources.get(part["value"], {}).get("train", 0)
        if part["field"] != "source" or trained or not change or change["ci_high"] >= 0:
            continue
        return Finding(
            "a source that training lacks",
            f"{part['value']}: {part['queries']:,} {_split(run)} queries, none in training; "
            f"{change['difference']:+.3f}",
            "likely",
            0.6,
            "harm",
            figures={"source": part["value"], "queries": part["queries"], "difference": change["difference"]},
            advice="add training data of this source, or leave it out of eval_data",
        )
    return None


def _split(run: RunArtifacts) -> str:
    return run.facts.get("split", "test")


def _known(languages: dict[str, Any]) -> dict[str, int]:
    return {code: count for code, count in languages.items() if code}
