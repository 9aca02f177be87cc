"""Which weight: each is measured on dev and guard set, never on test, and one is chosen by a rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from sharpen.data.readers import read_dataset
from sharpen.data.relevance import relevant
from sharpen.embeddings import LazyEncoder
from sharpen.evaluation.analysis.guard import GuardSet, open_guard
from sharpen.evaluation.analysis.names import GENERAL
from sharpen.evaluation.dev import DEV
from sharpen.evaluation.model_settings import resolve_usage
from sharpen.evaluation.retrieval import at_size, embed, rank, score
from sharpen.evaluation.settings import EvaluationSettings
from sharpen.evaluation.significance import paired
from sharpen.evaluation.split import EvaluationSplit, select_split
from sharpen.index.exact_device import gpu_of
from sharpen.index.sizes import Variant
from sharpen.merging.errors import NotMergeable
from sharpen.merging.settings import MergingSettings
from sharpen.reports.formatting import label, number, signed
from sharpen.settings import EncoderSettings
from sharpen.training.dev_score import DevSet

DEV_SET, GUARD_SET = "dev", "guard"


@dataclass(frozen=True)
class SearchData:
    """What weights are measured on.

    Attributes:
        dev: the dev queries and the passages that they are searched in.
        guard: the guard set.
        settings: how is measured; a guard set is among them.
        size: in which passages are stored and searched; None: whole vectors.
        note: a sentence where not the whole corpus is searched; else empty.
    """

    dev: EvaluationSplit
    guard: GuardSet
    settings: EvaluationSettings
    size: Variant | None
    note: str

    @classmethod
    def read(cls, data: str, merging: MergingSettings, settings: EvaluationSettings) -> SearchData:
        """Read dev and guard set.

        Args:
            data: address of the data set.
            merging: how many passages are searched, and in which size.
            settings: metric and guard set; where they name none, the sample that comes with Sharpen.

        Raises:
            InputError: there is no such data, or no such guard set.
            NotMergeable: no dev query has a relevant passage.
        """
        dataset = read_dataset(data, DEV)
        if relevant(dataset.qrels.filter(pl.col("split") == DEV)).is_empty():
            raise NotMergeable(
                f"{data}: has no dev queries, by which a weight could be found; set merging.weights, or data.dev_share"
            )
        if not settings.guard_data:
            settings = settings.model_copy(update={"guard_data": GENERAL})
        guard = open_guard(settings)
        assert guard is not None
        cut = DevSet.cut(dataset, merging.search_passages, settings.seed)
        dev = select_split(cut.data, DEV, data, settings.relevance_level)
        size = f"passages are stored as {merging.served_size}" if merging.size else ""
        facts = "; ".join(filter(None, [cut.note, size]))
        return cls(dev, guard, settings, merging.size, f"while weights are tried, {facts}" if facts else "")

    def figures(self, model: str, encoder: EncoderSettings) -> dict[str, np.ndarray]:
        """``dev`` and ``guard`` -> the primary metric of each query of a model that is used as its folder says.

        Args:
            model: its address.
            encoder: how embeddings are computed.

        Raises:
            StepFailed: an embedding is no number.
            InputError: embeddings cannot be stored in the size.
        """
        usage = resolve_usage(model, encoder)
        loaded: LazyEncoder | None = None
        found = {}
        for name, split in ((DEV_SET, self.dev), (GUARD_SET, self.guard.split)):
            opened, instructions = usage.load(model, split)
            # one loading serves both where their prompts are the same
            loaded = loaded if loaded is not None and loaded.settings == opened.settings else opened
            embedded, device = embed(loaded, split, instructions), gpu_of(loaded.device)
            if self.size is not None:
                # read back as they are searched, which the GPU's search cannot
                embedded, device = at_size(embedded, self.size, split, normalize=loaded.config.normalize), None
            rankings = rank(embedded, split, self.settings, device)
            found[name] = score(split, rankings, self.settings)[self.settings.primary_metric]
        return found


def table_of(figures: Mapping[float, Mapping[str, np.ndarray]], data: SearchData) -> list[dict[str, Any]]:
    """What each weight gains on dev and loses on the guard set, against weight 0.

    Args:
        figures: weight -> what `SearchData.figures` gave; 0 is among them.
        data: what was measured.

    Returns:
        ``{"weight", "dev": figures, "guard": figures}`` by ascending weight, figures as in comparison.json
        (``reference`` is that of weight 0, ``candidate``, ``difference``, ``ci_low``, ``ci_high``, ``p_value`` ...).
    """
    settings, rows = data.settings, []
    groups = {DEV_SET: data.dev.groups, GUARD_SET: data.guard.split.groups}
    for weight in sorted(figures):
        row: dict[str, Any] = {"weight": weight}
        for name in (DEV_SET, GUARD_SET):
            (compared,) = paired(
                figures[0.0][name][:, None],
                figures[weight][name][:, None],
                groups[name],
                resamples=settings.resamples,
                confidence_level=settings.confidence_level,
                seed=settings.seed,
            )
            row[name] = asdict(compared)
        rows.append(row)
    return rows


def choose(
    table: Sequence[Mapping[str, Any]], settings: MergingSettings, metric: str, *, base_will_do: bool = True
) -> tuple[float, str]:
    """The weight that the rule takes, and why, in a sentence; of equal ones the largest.

    Args:
        table: of `table_of`.
        settings: the rule.
        metric: that was measured.
        base_will_do: whether weight 0 may be taken although others gain on dev; else it is that of them which loses
            least on the guard set.
    """
    mean = {row["weight"]: (row[DEV_SET]["candidate"] + row[GUARD_SET]["candidate"]) / 2 for row in table}
    dev = {row["weight"]: row[DEV_SET]["candidate"] for row in table}
    loss = {row["weight"]: -row[GUARD_SET]["difference"] for row in table}
    if settings.rule == "mean":
        chosen = max(mean, key=lambda weight: (mean[weight], weight))
        why = f"the best mean of dev and guard set ({number(mean[chosen])} {label(metric)})"
    else:
        allowed = [weight for weight in dev if loss[weight] <= settings.max_guard_loss + 1e-12]
        chosen = max(allowed, key=lambda weight: (dev[weight], weight))
        why = (
            f"the best {label(metric)} on dev ({number(dev[chosen])}) of the {len(allowed)} of {len(dev)} weights that "
            f"lose at most {number(settings.max_guard_loss)} on the guard set ({signed(-loss[chosen])})"
        )
    gaining = [row["weight"] for row in table if row[DEV_SET]["difference"] > 0]
    if chosen == 0 and gaining and not base_will_do:
        chosen = min(gaining, key=lambda weight: (loss[weight], -weight))
        why = (
            f"of those that gain on dev, the one that loses least on the guard set ({signed(-loss[chosen])}); none "
            f"loses at most {number(settings.max_guard_loss)}, and the base model itself would be no result"
        )
    return chosen, f"weight {chosen:g}: {why}"


def warning(table: Sequence[Mapping[str, Any]], weight: float) -> str:
    """A sentence for whom weight 0 leaves without a tuned model, from the table and the weight that was taken."""
    if weight != 0:
        return ""
    why = "weight 0 is the base model itself, which no gate lets pass: "
    if any(row[DEV_SET]["difference"] > 0 for row in table):
        return why + (
            "others gain on dev and lose too much on the guard set; raise merging.max_guard_loss, name what must not "
            "be forgotten as evaluation.guard_data, or set merging.enabled=false"
        )
    return why + "no weight gains on dev; sharpen explain says what may have gone wrong in training"
