"""What the command line says after a run, and about the registry."""

from __future__ import annotations

import datetime
import shlex
import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.local import run as local
from pipeline.parameters import Settings
from sharpen.errors import InputError
from sharpen.progress import clock
from sharpen.registry import decisions, registry
from sharpen.registry.evaluation_summary import EvaluationSummary, read_evaluation_summary
from sharpen.registry.pages import MANY, often
from sharpen.terminal import plain_console, printable

SHOWN_METRICS = ("ndcg_at_10", "mrr_at_10", "recall_at_10", "recall_at_100", "map_at_100")


def show(run: local.LocalRun, settings: Settings) -> None:
    """The gain, the promoted model's address, the report's path and what to try next."""
    console = plain_console()
    if run.verdict == "skip":
        _show_skipped(run, settings, console)
        return
    with local.opened_store(settings.store, write=False) as root:
        metrics = local.comparison(run)
        measured = read_evaluation_summary(run.evaluation)
        earlier = decisions.earlier(root, measured, settings.promotion)
    main = metrics[settings.promotion.metric]
    table = Table(title=None, box=None, pad_edge=False, padding=(0, 2))
    for column in ("", "base", "tuned", "gain", "95 % interval", "better/worse"):
        table.add_column(column, justify="left" if not column else "right")
    for name in dict.fromkeys((settings.promotion.metric, *SHOWN_METRICS)):
        if name in metrics:
            m = metrics[name]
            interval = f"{m['ci_low']:+.3f} ... {m['ci_high']:+.3f}"
            counts = f"{m['wins']:.0f}/{m['losses']:.0f}"
            table.add_row(
                name, f"{m['reference']:.3f}", f"{m['candidate']:.3f}", f"{m['difference']:+.3f}", interval, counts
            )
    rounds = settings.mining.rounds
    told = f", {rounds} rounds; the model is that of round {rounds}" if rounds > 1 else ""
    console.print(f"\nFinished in {clock(run.seconds)}{told}\n", style="bold")
    console.print(table)
    console.print(
        f"\nGain: {settings.promotion.metric} {main['reference']:.3f} -> {main['candidate']:.3f} "
        f"({main['difference']:+.3f}, 95 % interval {main['ci_low']:+.3f} ... {main['ci_high']:+.3f}, "
        f"{main['queries']:.0f} test queries)",
        style="bold",
        soft_wrap=True,
    )
    for line in _beside_the_gain(measured, earlier, settings.promotion.metric):
        _say(console, line)
    _say(console, f"Model:  {run.version or 'not promoted: ' + '; '.join(run.reasons)}")
    _say(console, f"Report: {run.report}")
    console.print("\nNext:")
    name = settings.model_name
    if run.version:
        commands = [f"sharpen models show {name}", f"sharpen models pull {name} --to ./{name}"]
        if settings.indexing.enabled:
            commands.insert(0, f'sharpen search "YOUR QUESTION" --model {name}')
    else:
        commands = ["sharpen settings", "sharpen models list"]
    for command in (*commands, "sharpen run --set train_data=YOUR.jsonl --set model_name=YOUR-NAME"):
        _say(console, f"  {_program()}{command.removeprefix('sharpen')}")


def _beside_the_gain(measured: EvaluationSummary, earlier: int, metric: str) -> list[str]:
    """The figures of dev, by which runs are compared, and how worn the test set is."""
    dev, lines = measured.dev, []
    if metric in dev.get("metrics", {}):
        before = dev["against"].get("base", {}).get(metric, {}).get("reference")
        base = "" if before is None else f"{before:.3f} -> "
        queries = f"{dev['queries']:,} queries"
        lines.append(
            f"Dev:    {metric} {base}{dev['metrics'][metric]:.3f} ({queries}); compare runs by this: sharpen runs list"
        )
    else:
        lines.append("Dev:    the data have no dev split, so runs can only be compared by what also decides")
    out = measured.facts.get("queries_left_out", 0)
    seen = f"; {out:,} queries left out, as a champion was trained on them" if out else ""
    lines.append(f"Test:   these queries have decided {earlier:,} {'time' if earlier == 1 else 'times'} before{seen}")
    if earlier >= MANY:
        lines.append(often(earlier))
    return lines


def _show_skipped(run: local.LocalRun, settings: Settings, console: Console) -> None:
    with local.opened_store(settings.store, write=False) as root:
        champion = registry.read_champion(root, settings.model_name)
    (reason,) = run.reasons
    console.print(printable(f"\nFinished in {clock(run.seconds)}\n\n{reason}"), style="bold", soft_wrap=True)
    _say(console, f"Model:  {champion.address if champion else 'none was promoted yet'}")
    console.print("\nNext:")
    for command in (
        f"models show {settings.model_name}",
        "run ... --set retraining.min_new_examples=0",
        "run ... --fresh",
    ):
        _say(console, f"  {_program()} {command}")


def _say(console: Console, text: str) -> None:
    console.print(printable(text), soft_wrap=True)


def _program() -> str:
    """How the user can call this command again: by its name, or by its path where the environment is not activated."""
    installed = Path(sys.executable).with_name("sharpen")
    if shutil.which("sharpen") or not installed.exists():
        return "sharpen"
    here = Path.cwd()
    return shlex.quote(str(installed.relative_to(here) if installed.is_relative_to(here) else installed))


def show_models(names: list[str], root: str) -> None:
    """One row a model: champion, its main figure, number of versions.

    Raises:
        InputError: at the end, when the pointers of some are damaged.
    """
    console = plain_console()
    if not names:
        console.print("no models yet; `sharpen run` makes one")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for column in ("model", "champion", "since", "ndcg_at_10", "versions"):
        table.add_column(column)
    faults: list[str] = []
    for name in names:
        try:
            champion, without = registry.read_champion(root, name), "none"
        except InputError as error:
            champion, without = None, "damaged"
            faults += error.faults
        figure = champion.metrics.get("ndcg_at_10") if champion else None
        table.add_row(
            name,
            champion.version if champion else without,
            _day(champion.promoted_at) if champion else "",
            f"{figure:.3f}" if figure is not None else "",
            str(len(registry.list_versions(root, name))),
        )
    console.print(table)
    if faults:
        raise InputError(faults)


def show_model(name: str, root: str) -> None:
    """The champion's facts and all versions. Raises InputError when there is no such model."""
    console = plain_console()
    versions = registry.list_versions(root, name)
    if not versions:
        registry.show(root, name)  # says which there are
    champion = registry.read_champion(root, name)
    if champion:
        _say(console, f"{name}: champion {champion.version} since {_day(champion.promoted_at)}")
        _say(console, f"address: {champion.address}")
        _say(console, f"reason:  {champion.reason}")
        for metric, value in sorted(champion.metrics.items()):
            if metric in SHOWN_METRICS:
                console.print(f"  {metric:<14} {value:.3f}")
    for version in versions:
        mark = "champion" if champion and version == champion.version else ""
        console.print(f"{version}  {mark}".rstrip())


def _day(moment: str) -> str:
    return datetime.datetime.fromisoformat(moment).strftime("%Y-%m-%d %H:%M")
