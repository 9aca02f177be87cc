"""What reports are made of in tests: judged queries, evaluations of known quality, and what earlier steps left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sharpen.data.trec import write_run
from sharpen.evaluation.artifact import EvaluationArtifact
from sharpen.evaluation.comparison import compare
from sharpen.evaluation.report import render_report
from sharpen.evaluation.report.provenance import Provenance
from sharpen.evaluation.settings import EvaluationSettings, metric_names
from sharpen.evaluation.split import EvaluationSplit
from sharpen.metrics import TIE_RULE, means, measure
from sharpen.settings import EncoderSettings

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\" onload='alert(1)' {{ 7*7 }} </style>"
CODE = "def add(a, b):\n    total = a + b\n    return total\n" + "    # more\n" * 20
SETTINGS = EvaluationSettings(resamples=200)


def judged_set(queries: int = 40, passages: int = 120) -> EvaluationSplit:
    passage_ids = sorted((f"d{i}" for i in range(passages)), reverse=True)
    texts = [f"passage {p} " + "many words " * 60 for p in passage_ids]
    texts[0], texts[1] = CODE, HOSTILE
    query_ids = [f"q{i:02}" for i in range(queries)]
    return EvaluationSplit(
        query_ids=query_ids,
        query_texts=[HOSTILE if i == 3 else f"question {i}" for i in range(queries)],
        query_keys=[],
        instructions=[""] * queries,
        groups=query_ids,
        sources=[""] * queries,
        passage_ids=passage_ids,
        passage_texts=texts,
        qrels={q: {f"d{i}": 1} for i, q in enumerate(query_ids)},
        facts={"queries": queries, "passages": passages},
    )


def evaluated(
    folder: Path, judged: EvaluationSplit, quality: float, seed: int, *, searched: int = 0
) -> EvaluationArtifact:
    """An evaluation whose positives score `quality` above the noise.

    With `searched`, only so many passages, drawn for each query, are scored, as for very many queries.
    """
    rng = np.random.default_rng(seed)
    rankings = {}
    for q in judged.query_ids:
        passages = judged.passage_ids
        if searched:
            passages = [passages[i] for i in rng.integers(0, len(passages), searched)] + list(judged.qrels[q])
        noise = rng.normal(size=len(passages)).tolist()
        scores = {p: value + quality * (p in judged.qrels[q]) for p, value in zip(passages, noise, strict=True)}
        rankings[q] = sorted(scores.items(), key=lambda hit: -hit[1])[:100]
    values = measure(
        judged.qrels,
        {q: [p for p, _ in hits] for q, hits in rankings.items()},
        judged.query_ids,
        metric_names(SETTINGS.cutoffs),
    )
    folder.mkdir()
    write_run(folder / "run.trec", rankings.items(), tag="test")
    facts = {
        "model": f"models/{HOSTILE}",
        "model_hash": "ab" * 32,
        "split": "test",
        "tie_rule": TIE_RULE,
        "ignore_identical_ids": False,
        "finished_at": "2026-01-02T03:04:05+00:00",
        **judged.facts,
    }
    table = pl.DataFrame({"query_id": judged.query_ids, "group": judged.groups, **values})
    return EvaluationArtifact(str(folder), facts, means(values), table, folder / "run.trec")


BACKGROUND = Provenance(
    training={
        "model_name": "code <b>search</b>",
        "settings": {"temperature": 0.02, "optim": {"betas": [0.9, 0.999]}, "note": HOSTILE},
        "effective_negatives": 211.5,
        "log": [
            {"step": s, "loss": 2 / s, "learning_rate": 1e-5 / s, "grad_norm": 1.0, HOSTILE: 1.0} for s in range(1, 60)
        ]
        + [{"step": s, "dev_ndcg_at_10": 0.5 + s / 1000, "eval_time": 3.0} for s in (20, 40, 60)],
    },
    data={"splits": {"train": {"queries": 100}, "dev": {"queries": 10}}, "longest": 512, "source": HOSTILE},
    mining={
        "dropped_by_rule": {"margin": 12, "same_text": 3},
        "positive_scores": {"edges": [0.0, 0.5, 1.0], "counts": [7, 3]},
        "negative_scores": {"edges": [0.0, 0.5, 1.0], "counts": [1, 0]},
        "rules": [{"rule": "margin", "share": 0.5}],
    },
    merging={
        "reason": f"weight 0.5: the best {HOSTILE}",
        "notes": [HOSTILE],
        "metric": "ndcg_at_10",
        "settings": {"method": "interpolation", "note": HOSTILE},
        "searched": [
            {"weight": w, "dev": {"difference": w / 10}, "guard": {"difference": -w / 50}} for w in (0, 0.5, 1)
        ],
    },
)


def full_report(folder: Path, judged: EvaluationSplit, files: Mapping[str, Any], **values: Any) -> str:
    """The report of a tuned model against base and champion, with these JSON files in all three folders.

    Args:
        folder: empty.
        judged: the queries.
        files: name -> contents.
        values: as `evaluated` takes them.
    """
    models = {
        name: evaluated(folder / name, judged, quality, seed, **values)
        for seed, (name, quality) in enumerate({"base": 1.0, "champion": 2.4, "tuned": 2.5}.items())
    }
    for name in models:
        for file, contents in files.items():
            (folder / name / file).write_text(json.dumps(contents))
    tuned = models.pop("tuned")
    return render_report(
        tuned, models, compare(tuned, models, SETTINGS), judged, SETTINGS, EncoderSettings(), BACKGROUND
    )
