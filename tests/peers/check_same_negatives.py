"""Do Sharpen and sentence-transformers choose the same negatives? Every difference, by reason.

``python -m tests.peers.check_same_negatives --help``; exit code 1 if a difference has no known reason.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile

import numpy as np
import torch

from sharpen.data.dataset import DataSet
from tests.peers import machine
from tests.peers.medquad_data import cut, prepared
from tests.peers.results import command, table, write_section
from tests.peers.rows import minilm
from tests.peers.same_negatives import (
    REASONS,
    UNEXPLAINED,
    Choices,
    Chosen,
    Differences,
    Scorer,
    compare,
    sentence_transformers,
    sharpen,
    survivors,
)


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    described = machine.describe(given.threads)
    data, model = cut(prepared(), train=given.queries, test=0, passages=given.passages, seed=given.seed), str(minilm())
    top = Choices(given.number, given.margin, 0, min(given.depth, data.corpus.height), given.max_len)
    later = Choices(given.number, given.margin, given.start, top.depth, given.max_len)
    with tempfile.TemporaryDirectory(prefix="same-negatives-") as cache:
        os.environ["SHARPEN_CACHE"] = f"{cache}/sharpen"
        print("1 of 3: scores", flush=True)
        scorer = Scorer(data, model, given.max_len)
        print("2 of 3: Sharpen", flush=True)
        ours, ours_later = (sharpen(data, model, one) for one in (top, later))
        print("3 of 3: sentence-transformers", flush=True)
        theirs, theirs_later = (sentence_transformers(data, model, one, cache) for one in (top, later))
    found = compare(data, ours, theirs, scorer, top)
    start = report_of_start(data, ours_later, theirs_later, scorer, later)
    size = f"{data.queries.height:,} queries x {data.corpus.height:,} passages"
    write_section(f"The same negatives, {size}", report(found, start, described, top))
    if found.unexplained:
        for query, passage, whose in found.unexplained:
            print(f"only {whose}: {query!r}: {passage[:200]!r}", file=sys.stderr)
        sys.exit(1)


def arguments() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.check_same_negatives", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--queries", type=int, help="training queries; all of MedQuAD's unless given")
    parser.add_argument("--passages", type=int, help="passages; all of MedQuAD's unless given")
    parser.add_argument("--max_len", type=int, default=256, help="tokens")
    parser.add_argument("--number", type=int, default=15, help="negatives of each query")
    parser.add_argument("--margin", type=float, default=0.05, help="relative margin")
    parser.add_argument("--start", type=int, default=10, help="start of the range in the second comparison")
    parser.add_argument("--depth", type=int, default=410, help="ranks that are searched")
    parser.add_argument("--threads", type=int, default=machine.cores())
    parser.add_argument("--seed", type=int, default=42, help="of the cut")
    return parser.parse_args()


def report_of_start(data: DataSet, ours: Chosen, theirs: Chosen, scorer: Scorer, choices: Choices) -> str:
    """The range's start: theirs counts survivors, ours ranks. Both are checked against a brute-force choice."""
    as_theirs = as_ours = same = 0
    first_ranks = []
    for query, left in survivors(data, scorer, choices):
        ranked = [text for rank, text in left if rank > choices.start][: choices.number]
        counted = left[choices.start :][: choices.number]
        as_theirs += set(theirs[query]) == {text for _, text in counted}
        as_ours += set(ours[query]) == set(ranked)
        same += set(theirs[query]) == set(ours[query])
        first_ranks += [rank for rank, _ in counted[:1]]
    first, last = np.percentile(first_ranks, [50, 95])
    return (
        f"With the range starting at {choices.start}, the two agree on {same:,} of {len(ours):,} queries. Theirs "
        f"leaves out the first {choices.start} passages that *survive* the margin: a brute-force choice by that rule "
        f"gives its negatives for {as_theirs:,} queries, and its first negative stands at rank {first:.0f} (median) "
        f"and {last:.0f} (95th percentile) of the search. Ours leaves out the first {choices.start} *ranks*: that rule "
        f"gives ours for {as_ours:,} queries (any others are differences of the kinds above). Ours is what the range "
        "is for, and what FlagEmbedding does: near the top stand the relevant passages that nobody labelled, the "
        "margin takes out more of them, and a stricter margin must not move the range down the ranking."
    )


def report(found: Differences, start: str, described: str, choices: Choices) -> str:
    """The section: machine, command, table, what the rows mean."""
    lines = [
        [reason, f"{found.only_theirs[reason]:,}", f"{found.only_ours[reason]:,}", why]
        for reason, why in REASONS.items()
    ]
    lines.append([UNEXPLAINED, f"{found.only_theirs[UNEXPLAINED]:,}", f"{found.only_ours[UNEXPLAINED]:,}", ""])
    return "\n\n".join(
        [
            f"Machine: {described}.",
            f"Command: `{command('tests.peers.check_same_negatives')}`.",
            f"relative_margin {choices.margin}, exact search of {choices.depth} ranks, the {choices.number} highest, "
            f"range from rank 0, fp32, texts cut at {choices.max_len} tokens: {found.equal:,} of {found.queries:,} "
            f"queries have the same negatives in sentence-transformers' `mine_hard_negatives` ({found.theirs:,}) "
            f"and in Sharpen ({found.ours:,}). What differs:",
            table(["why", "only theirs", "only ours", "why ours is right"], lines),
            start,
        ]
    )


if __name__ == "__main__":
    main()
