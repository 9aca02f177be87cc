"""Causes in the training: rate, steps, temperature, and what the curves of loss and dev say."""

from __future__ import annotations

import math

from sharpen.diagnosis.artifacts import RunArtifacts
from sharpen.diagnosis.finding import Change, Finding
from sharpen.diagnosis.statistics import thirds
from sharpen.training.optimization.loop_settings import usual_rate

# of the loss by chance, log(1 + negatives): all embeddings are alike
_BY_CHANCE = 0.9
_RISE, _POINTS = 1.15, 6
# a dev score differs by so much from one evaluation to the next without meaning
_DEV_NOISE = 0.01
_LOW_RATE, _LOW_RATE_LORA = 5e-6, 5e-5
_HARDLY = 0.97
_FEW_STEPS = 30
_STILL_FALLING = 0.9
_PEAK = 0.6
# FlagEmbedding's maintainers name .01 to .05; other recipes go to .07
_COLD, _HOT = 0.005, 0.1
_EVALUATIONS = 10


def softened(run: RunArtifacts) -> Finding | None:
    """A loss or gradient that became infinite or NaN, which a higher temperature got over."""
    increases = run.training.get("temperature_increases") or []
    if not increases:
        return None
    rate = _lower(run)
    return Finding(
        "the training diverged",
        f"loss or gradient was not finite {len(increases)} time(s), so that the temperature was raised",
        "certain",
        0.8,
        "harm",
        (rate, Change("training.temperature", "0.05")),
        {"temperature_increases": len(increases), "learning_rate": run.settings["learning_rate"]},
    )


def collapsed(run: RunArtifacts) -> Finding | None:
    """A loss that ends at what chance gives: the embeddings of all texts are alike."""
    count, losses = run.training.get("negatives_per_query") or 0.0, _losses(run)
    if count < 1 or len(losses) < 3 or run.training.get("loss") != "infonce":
        return None
    chance, last = math.log1p(count), thirds(losses)[2]
    if last < _BY_CHANCE * chance:
        return None
    fell = losses[0] < 0.8 * chance or run.is_worse
    return Finding(
        "learning rate too high: the model collapsed",
        f"the loss ends at {last:.2f}, which is what chance gives with {count:.0f} negatives ({chance:.2f}); it began "
        f"at {losses[0]:.2f}",
        "certain" if fell else "possible",
        1.0,
        "harm",
        (_lower(run),),
        {"last_loss": last, "by_chance": chance, "learning_rate": run.settings["learning_rate"]},
        "" if fell else "if the labels are right: a model without training cannot tell these texts apart either",
    )


def rising_loss(run: RunArtifacts) -> Finding | None:
    """A loss that rises on the whole: steps too wide."""
    losses = _losses(run)
    first, _, last = thirds(losses)
    if len(losses) < _POINTS or not last > _RISE * first or not run.is_worse:
        return None
    return Finding(
        "learning rate too high: the loss rose",
        f"the loss rose from {first:.3f} (first third of the steps) to {last:.3f} (last third), and the model is worse",
        "likely",
        0.9,
        "harm",
        (_lower(run),),
        {"loss_first_third": first, "loss_last_third": last, "learning_rate": run.settings["learning_rate"]},
    )


def base_was_best(run: RunArtifacts) -> Finding | None:
    """No step of the training was better on dev than the base model."""
    points = _dev(run)
    if len(points) < 3 or run.training.get("best_step") != 0 or points[-1][1] > points[0][1] - _DEV_NOISE:
        return None
    return Finding(
        "learning rate too high, or negatives that teach something false",
        f"on dev the base model stayed the best of {len(points)} evaluations: {points[0][1]:.3f}, at the end "
        f"{points[-1][1]:.3f}",
        "likely",
        0.85,
        "harm",
        (_lower(run), Change("training.eval_steps", str(_every(run)))),
        {"dev_base": points[0][1], "dev_last": points[-1][1], "learning_rate": run.settings["learning_rate"]},
        "the rate is quickest to try: if dev falls with a tenth of it too, look at the negatives and labels",
    )


def low_rate(run: RunArtifacts) -> Finding | None:
    """A rate at which the loss hardly moves."""
    rate, losses = run.settings.get("learning_rate"), _losses(run)
    if rate is None or len(losses) < 3:
        return None
    first, _, last = thirds(losses)
    usual = _LOW_RATE_LORA if run.settings.get("lora_rank") else _LOW_RATE
    if rate > usual or last < _HARDLY * first or run.is_worse:
        return None
    wanted = usual_rate(run.settings.get("lora_rank", 0))
    return Finding(
        "learning rate too low",
        f"at a rate of {rate:g} the loss went from {first:.3f} to {last:.3f} in {run.training['steps']:,} steps",
        "likely",
        0.7,
        "harm",
        (Change("training.learning_rate", f"{wanted:g}"),),
        {"learning_rate": rate, "loss_first_third": first, "loss_last_third": last},
    )


def few_steps(run: RunArtifacts) -> Finding | None:
    """A training that ended while it still helped."""
    steps, losses, points = run.training.get("steps"), _losses(run), _dev(run)
    if steps is None:
        return None
    first, middle, last = thirds(losses)
    rising = len(points) >= 3 and points[-1][1] > max(score for _, score in points[:-1]) + _DEV_NOISE
    # of a rate that falls to 0, the loss falls slowly at the end: this is far from flat
    falling = len(losses) >= _POINTS and first - last > 0 and (middle - last) > 0.4 * (first - last)
    if steps >= _FEW_STEPS and not rising and not (falling and last < _STILL_FALLING * middle):
        return None
    shown = [f"{steps:,} steps ({run.training.get('epochs', 0):.2g} epochs)"]
    shown += [f"dev was still rising, {points[-2][1]:.3f} -> {points[-1][1]:.3f}"] if rising else []
    shown += [f"the loss was still falling, {middle:.3f} -> {last:.3f}"] if falling else []
    epochs = run.settings.get("num_train_epochs", 2.0)
    limited = run.settings.get("max_steps", -1) > 0 or run.training.get("time_limit")
    changes = (
        (Change("training.max_steps", "-1" if steps < _FEW_STEPS else str(2 * steps)),)
        if limited
        else (Change("training.num_train_epochs", f"{2 * epochs:g}"),)
    )
    return Finding(
        "too few steps",
        "; ".join(shown),
        "likely" if rising or steps < _FEW_STEPS else "possible",
        0.5 if steps < _FEW_STEPS else 0.35,
        "limit",
        changes,
        {"steps": steps, "epochs": run.training.get("epochs")},
    )


def overfitted(run: RunArtifacts) -> Finding | None:
    """A dev score that fell long before the end; the best model was saved, the steps after it were for nothing."""
    points = _dev(run)
    if len(points) < 4 or run.training.get("best_step") in (None, 0):
        return None
    best_step, best = max(points, key=lambda point: point[1])
    if best_step > _PEAK * points[-1][0] or points[-1][1] > best - _DEV_NOISE:
        return None
    share = best_step / points[-1][0]
    epochs = run.training.get("epochs") or run.settings["num_train_epochs"]
    return Finding(
        "overfitting",
        f"dev was best at step {best_step:,} ({best:.3f}) and fell to {points[-1][1]:.3f} at step {points[-1][0]:,}; "
        "the model of the best step was saved",
        "likely",
        0.55,
        "harm",
        (
            Change("training.num_train_epochs", f"{max(0.5, round(1.3 * share * epochs, 1)):g}"),
            Change("training.early_stopping_patience", "3"),
        ),
        {"best_step": best_step, "dev_best": best, "dev_last": points[-1][1]},
        "more data, LoRA or a lower rate let it learn for longer",
    )


def temperature(run: RunArtifacts) -> Finding | None:
    """A temperature far from those that work for cosines."""
    value = run.settings.get("temperature")
    scaled = run.training.get("loss") in ("infonce", "kl_div", "m3_kd_loss", "gist_embed")
    if value is None or not scaled or not run.encoder.get("normalize_embeddings", True) or _COLD <= value <= _HOT:
        return None
    effect = "nearly only the hardest negative counts" if value < _COLD else "all negatives count nearly alike"
    return Finding(
        "temperature far from the usual",
        f"at a temperature of {value:g} {effect}; cosines are trained with 0.01 to 0.05",
        "likely" if value < _COLD / 5 or value > 2 * _HOT else "possible",
        0.7,
        "harm",
        (Change("training.temperature", "0.02"),),
        {"temperature": value},
    )


def not_watched(run: RunArtifacts) -> Finding | None:
    """Nothing was measured on dev while training, so that neither rate nor epochs can be judged."""
    has_dev = run.data.get("splits", {}).get("dev", {}).get("queries", 0) > 0
    if not run.training or run.settings.get("eval_steps") or not has_dev:
        return None
    return Finding(
        "dev was not watched",
        "no dev score was taken while training: whether it went on for too long, or not long enough, cannot be seen",
        "certain",
        0.15,
        "limit",
        (Change("training.eval_steps", str(_every(run)), "a tenth of the steps"),),
    )


def _lower(run: RunArtifacts) -> Change:
    """The rate that the kind of model and training usually has, or a tenth where that is not above it."""
    rate, usual = run.settings["learning_rate"], usual_rate(run.settings.get("lora_rank", 0))
    return Change("training.learning_rate", f"{min(usual, rate / 10):g}")


def _every(run: RunArtifacts) -> int:
    return max(1, run.training.get("steps", _EVALUATIONS) // _EVALUATIONS)


def _losses(run: RunArtifacts) -> list[float]:
    return [point["loss"] for point in run.training.get("log", []) if "loss" in point]


def _dev(run: RunArtifacts) -> list[tuple[int, float]]:
    name = "eval_dev_ndcg_at_10"
    return [(point["step"], point[name]) for point in run.training.get("log", []) if name in point]
