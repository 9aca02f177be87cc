"""One trial: mine, train, and look at dev; never at test."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

from sharpen.store import storage
from sharpen.tuning.journal import TrialReporter
from sharpen.tuning.records import Result
from sharpen.tuning.space.groups import REFUSED, Groups
from sharpen.tuning.trials.request import Request

logger = logging.getLogger(__name__)

OUT_OF_TIME = "the time of the search was over"
OTHERS_BETTER = "others were better at this evaluation"


def run_trial(request: Request) -> Result:
    """Do what is asked for, in this process or each that torchrun started; the first writes the result.

    Raises:
        InputError: the settings cannot be used together, or with these data or this model.
        StepFailed: the training diverged.
    """
    from sharpen.distributed import ProcessGroup
    from sharpen.training.processes import process_group
    from sharpen.training.train import train
    from sharpen.training.watching.dev_watch import DevWatch

    started = time.monotonic()
    first = os.environ.get("RANK", "0") == "0"
    negatives = mined(request) if first else negatives_of(request)
    exchange: ProcessGroup
    with process_group() as exchange:
        exchange.wait()
        watch = _Watch(request, first)
        training = request.groups.watched(request.tuning.evaluations)
        output = request.path / "model"
        shutil.rmtree(output, ignore_errors=True)
        seen = DevWatch(watch.report, request.base_score)
        facts = train(
            *(request.data, negatives, request.model, str(output), training, request.groups.encoder), watch=seen
        )
    result = Result(
        score=watch.best,
        scores=watch.scores,
        state="pruned" if seen.stopped else "complete",
        seconds=time.monotonic() - started,
        training_seconds=time.monotonic() - watch.began,
        base_score=facts.get("dev_ndcg_at_10_base", request.base_score),
        steps=facts["steps"],
        reason=watch.reason,
        model=str(output) if request.keep_model and not seen.stopped else "",
    )
    if first:
        if request.tuning.second == "guard" and result.state == "complete":
            result = _with_guard(result, output, request)
        if not result.model:
            shutil.rmtree(output, ignore_errors=True)
        request.write_result(result)
    return result


class _Watch:
    """What a trial's dev scores were, and why it ended early."""

    def __init__(self, request: Request, first: bool) -> None:
        self._reporter = (
            TrialReporter(Path(request.study), request.trial, request.tuning) if request.study and first else None
        )
        self._ends_at = request.ends_at
        self.scores: list[tuple[float, float]] = []
        self.reason = ""
        self.began = time.monotonic()

    @property
    def best(self) -> float | None:
        return max((score for _, score in self.scores), default=None)

    def report(self, step: int, steps: int, score: float) -> bool:
        if step == 0:
            self.began = time.monotonic()
            return False
        self.scores.append((step / steps, score))
        last = step >= steps
        if self._reporter is not None and self._reporter.report(score) and not last:
            self.reason = OTHERS_BETTER
        elif self._ends_at is not None and time.time() > self._ends_at and not last:
            self.reason = OUT_OF_TIME
        return bool(self.reason)


def negatives_of(request: Request) -> str | None:
    """Address of the negatives that a trial trains on; None: it does not mine."""
    if not request.groups.mining.enabled:
        return None
    return str(Path(request.negatives) / mining_key(request.groups, request.data, request.model))


def mining_key(groups: Groups, data: str, model: str) -> str:
    """Equal for trials that mine the same.

    Args:
        groups: settings of the trial.
        data, model: what is mined, and with what.
    """
    ignored = {name.partition(".")[2] for name in REFUSED if name.startswith("encoder.")}
    parts = (
        *(data, model, groups.mining.model_dump_json()),
        groups.encoder.model_dump_json(exclude=ignored),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def mined(request: Request) -> str | None:
    """Mine, unless a trial with equal settings has; the result as of `negatives_of`. Raises what `mine` raises."""
    from sharpen.mining.mine import mine

    address = negatives_of(request)
    if address is not None and not storage.is_complete(address):
        shutil.rmtree(address, ignore_errors=True)
        mine(request.data, request.model, address, request.groups.mining, request.groups.encoder)
    return address


def _with_guard(result: Result, model: Path, request: Request) -> Result:
    """The result with the model's nDCG@10 on the guard set, which has passages of its own, in the size that is served.

    It is found as an evaluation finds it, whose folder is removed again.
    """
    from sharpen.evaluation.analysis.guard import SAMPLE
    from sharpen.evaluation.analysis.names import GENERAL
    from sharpen.evaluation.artifact import METRICS, VARIANTS
    from sharpen.evaluation.evaluate import evaluate
    from sharpen.evaluation.settings import EvaluationSettings
    from sharpen.models.model_config import computing_part

    data = str(SAMPLE) if request.tuning.guard_data == GENERAL else request.tuning.guard_data
    size, folder = request.groups.training.served_size, request.path / "guard"
    settings = EvaluationSettings.checked({"variants": [size]} if size else {})
    shutil.rmtree(folder, ignore_errors=True)
    evaluate(str(model), data, "test", str(folder), settings, computing_part(request.groups.encoder))
    if size:
        found = storage.read_json(storage.join(str(folder), VARIANTS))["variants"][1]["metrics"]
    else:
        found = storage.read_json(storage.join(str(folder), METRICS))
    shutil.rmtree(folder, ignore_errors=True)
    return replace(result, guard=float(found["ndcg_at_10"]))
