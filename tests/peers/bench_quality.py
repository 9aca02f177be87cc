"""Quality on MedQuAD after the same training: of the ways to mine negatives, and of Sharpen beside its peers.

``python -m tests.peers.bench_quality --help``; what is measured is said in README.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sharpen.evaluation.significance import Paired, paired
from tests.peers import machine
from tests.peers.contestants import TEMPERATURE, flagembedding_python, require_flagembedding
from tests.peers.quality_work import MINED, Cell, Plan, Work
from tests.peers.results import command, table, write_section
from tests.peers.rounds import Schedule
from tests.peers.rows import ROOT, Size

OURS, PEERS = "Sharpen", ["FlagEmbedding", "sentence-transformers"]
BOUND = 0.003
RESAMPLES = 10_000


def main() -> None:
    given = arguments()
    if "trainers" in given.tables and "FlagEmbedding" in given.peers:
        require_flagembedding(given.flagembedding)
    described = machine.describe(given.threads)
    size = Size(given.queries, given.group, given.query_max_len, given.passage_max_len, given.steps)
    plan = Plan(size, given.precision, given.learning_rate, given.test_queries, given.passages)
    work = Work(given.work, plan, given.threads, given.limit_minutes, given.flagembedding)
    title = f"{given.precision}, {given.steps} steps of {size}"
    print("data, negatives and the base model", flush=True)
    for way in MINED:
        work.negatives(way)
    base = work.base()
    if "negatives" in given.tables:
        for cells in seed_by_seed("negatives", list(MINED), given.seeds, work.on_negatives):
            write_section(f"Quality of negatives, {title}", negatives_report(cells, base, work, described, given))
    if "trainers" in given.tables:
        for cells in seed_by_seed("trainers", [OURS, *given.peers], given.seeds, work.by_trainer):
            write_section(f"Quality of trainers, {title}", trainers_report(cells, base, work, described, given))


def arguments() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.bench_quality", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", choices=["negatives", "trainers"], default=["negatives", "trainers"])
    parser.add_argument("--queries", type=int, default=32, help="queries per step")
    parser.add_argument("--group", type=int, default=4, help="passages per query, the positive included")
    parser.add_argument("--query_max_len", type=int, default=32, help="tokens")
    parser.add_argument("--passage_max_len", type=int, default=96, help="tokens")
    parser.add_argument("--steps", type=int, default=50, help="steps of a training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind, with seeds 42, 43 ...")
    parser.add_argument("--learning_rate", type=float, default=5e-5)
    parser.add_argument("--test_queries", type=int, default=500)
    parser.add_argument("--passages", type=int, default=6000, help="size of the corpus that is mined and searched")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--threads", type=int, default=machine.cores(), help="of every process")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    parser.add_argument("--limit_minutes", type=float, default=60, help="a process that takes longer is ended")
    parser.add_argument("--work", type=Path, default=ROOT / ".sharpen" / "bench-quality", help="keeps what is finished")
    parser.set_defaults(flagembedding=flagembedding_python())
    given = parser.parse_args()
    given.work = given.work.absolute()
    least = {"queries": 2, "group": 2, "query_max_len": 8, "passage_max_len": 8, "steps": 2, "seeds": 1, "threads": 1}
    least |= {"test_queries": 10, "passages": 500}
    if faults := [f"--{name} must be at least {low}" for name, low in least.items() if getattr(given, name) < low]:
        parser.error("; ".join(faults))
    return given


def seed_by_seed(what: str, names: list[str], seeds: int, make: Callable[[str, int], Cell]):
    """Yields name -> cells after every seed that is whole."""
    cells: dict[str, list[Cell]] = {name: [] for name in names}
    schedule = Schedule(what, names, seeds)
    for seed in range(42, 42 + seeds):
        for name in names:
            cells[name].append(make(name, seed))
            schedule.ended(name, f"seed {seed}, nDCG@10 {np.mean(cells[name][-1].scores):.4f}")
        yield cells


def negatives_report(
    cells: dict[str, list[Cell]], base: Cell, work: Work, described: str, given: argparse.Namespace
) -> str:
    """The table of ways to mine, and whether the defaults beat the others."""
    lines = [["base model, not trained", f"{np.mean(base.scores):.4f}", "", "", ""]]
    queries = 0
    for way, runs in cells.items():
        queries, rate = work.hidden_positives(way)
        difference = "" if way == "defaults" else told(versus(cells["defaults"], runs))
        lines.append([way, mean(runs), by_seed(runs), difference, f"{rate:.1%}"])
    ours, naive = (work.hidden_positives(way)[1] for way in ("defaults", "naive top"))
    beaten = [versus(cells["defaults"], cells[way]).difference > 0 for way in ("random", "naive top")]
    verdict = (
        f"The defaults are {'above' if all(beaten) else 'NOT above'} both; their rate of hidden positives is "
        f"{'at most' if ours <= naive / 2 else 'MORE THAN'} half of that of naive mining."
    )
    head = ["negatives", "nDCG@10", "by seed", "defaults minus this (95 % interval)", "hidden positives picked"]
    return "\n\n".join(
        [
            f"Machine: {described}.",
            f"Command: `{command('tests.peers.bench_quality')}`.",
            table(head, lines),
            verdict,
            "`random`: passages of the corpus; `naive top`: the 15 highest ranks, no margin; `defaults`: the settings "
            "as they are. In all three known positives are left out, 15 negatives of each query are mined, and "
            f"training draws {given.group - 1} of them. Hidden positives: of {queries:,} training queries with several "
            "positives one is hidden, and it is counted how often it comes out as a negative.",
            protocol(base, cells, given, "`components.finetuning`"),
        ]
    )


def trainers_report(
    cells: dict[str, list[Cell]], base: Cell, work: Work, described: str, given: argparse.Namespace
) -> str:
    """The table of trainers, and whether Sharpen is level with the better peer."""
    better = max(
        (name for name in cells if name != OURS), key=lambda name: np.mean([run.scores for run in cells[name]])
    )
    against = versus(cells[OURS], cells[better])
    met = "within" if against.difference >= -BOUND else "BELOW"
    lines = [["base model, not trained", f"{np.mean(base.scores):.4f}", "", "", ""]]
    for name, runs in cells.items():
        difference = "" if name == OURS else told(versus(cells[OURS], runs))
        seconds = np.median([run.seconds for run in runs])
        lines.append([name, mean(runs), by_seed(runs), difference, f"{seconds:.0f}"])
    head = ["trainer", "nDCG@10", "by seed", "Sharpen minus this (95 % interval)", "s a process, median"]
    return "\n\n".join(
        [
            f"Machine: {described}.",
            f"Command: `{command('tests.peers.bench_quality')}`.",
            table(head, lines),
            f"The better peer is {better}; Sharpen's difference to it is {told(against)}, {met} the bound of -{BOUND}.",
            f"All train on the same {given.queries * given.steps:,} rows: one positive, and the same {given.group - 1} "
            "negatives of Sharpen's default mining; the order of the rows is each trainer's own. "
            "sentence-transformers trains with its cached in-batch loss. Seconds are those of whole processes that "
            "ran when they could, not of a speed benchmark.",
            protocol(base, cells, given, "every trainer"),
        ]
    )


def protocol(base: Cell, cells: dict[str, list[Cell]], given: argparse.Namespace, trainer: str) -> str:
    """How the figures came about, in words."""
    deviation = max(run.deviation for runs in [[base], *cells.values()] for run in runs)
    return (
        f"all-MiniLM-L6-v2, {given.steps} steps of {given.queries} queries x group {given.group} by {trainer}, "
        f"learning rate {given.learning_rate:g} (linear, a tenth of the steps to warm up), temperature {TEMPERATURE}, "
        f"AdamW, {given.precision}. Test: {len(base.scores):,} queries, {given.passages:,} passages, searched exactly "
        f"and encoded by Sharpen's encoder at the lengths of the training, the peers' models too. Intervals: paired "
        f"bootstrap over the queries ({RESAMPLES:,} resamples) of the means over the seeds. pytrec_eval gives the same "
        f"nDCG@10 of every query to {deviation:.0e}."
    )


def versus(candidate: list[Cell], reference: list[Cell]) -> Paired:
    """The paired difference over the queries, each query's scores averaged over the seeds first."""
    columns = [np.mean([run.scores for run in runs], axis=0)[:, None] for runs in (reference, candidate)]
    return paired(*columns, resamples=RESAMPLES, confidence_level=0.95, seed=42)[0]


def told(found: Paired) -> str:
    """A difference with its interval."""
    return f"{found.difference:+.4f} ({found.ci_low:+.4f} to {found.ci_high:+.4f})"


def mean(runs: list[Cell]) -> str:
    """Mean over seeds and queries."""
    return f"{np.mean([run.scores for run in runs]):.4f}"


def by_seed(runs: list[Cell]) -> str:
    """Mean over the queries of every seed."""
    return ", ".join(f"{np.mean(run.scores):.4f}" for run in runs)


if __name__ == "__main__":
    main()
