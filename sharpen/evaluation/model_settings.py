"""With which settings a model is measured: those of its own artifact, or, of a base model, the run's if better.

A model that Sharpen trained says how it was trained, and is measured so. Of any other model, two ways are fair: as its
folder publishes it, and as the run's settings would use it. Whoever compares with a base model must grant it the better
of the two, else a setting that is foreign to it would look like a gain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sharpen.data.text_type import TextType
from sharpen.embeddings import LazyEncoder, PassageRows
from sharpen.evaluation.split import EvaluationSplit
from sharpen.models import model_config
from sharpen.models.model_config import ModelConfig
from sharpen.models.model_usage import describe_windows
from sharpen.settings import EncoderSettings

_ROWS = 1 << 12


class Prompted(Protocol):
    """Queries by what decides their prompts."""

    @property
    def sources(self) -> list[str]:
        """The source of each."""
        ...

    @property
    def instructions(self) -> list[str]:
        """The instruction that each brings; empty: none."""
        ...


@dataclass(frozen=True)
class PromptedQueries:
    """Queries that are no split of retrieval."""

    sources: list[str]
    instructions: list[str]


@dataclass(frozen=True)
class Usage:
    """One way to use a model.

    Attributes:
        settings: of its encoder.
        source: ``model``, ``published`` or ``run``, as in `model_config.Resolved`; ``both`` where they agree.
        reason: why so, in one sentence.
        given: names of settings that the user set against the model's own.
        config: what the folder says, where that decides the prompts of rows.
        ignores_rows: whether prompts that rows of the data bring are left out.
    """

    settings: EncoderSettings
    source: str
    reason: str
    given: tuple[str, ...] = ()
    config: ModelConfig | None = None
    ignores_rows: bool = False

    def query_prompts(self, eval_set: Prompted) -> list[str] | None:
        """For each query the instruction to encode it with; None: the encoder's own prompt for all."""
        if self.config is not None:
            return self._trained(eval_set)
        return None if self.ignores_rows else eval_set.instructions

    def load(self, model: str, eval_set: Prompted) -> tuple[LazyEncoder, list[str] | None]:
        """The encoder for these queries, and `query_prompts` as `embed_texts` takes them."""
        prompts, settings = self.query_prompts(eval_set), self.settings
        if self.config is not None and prompts is not None:
            # one prompt is the encoder's; of several each row has its own, which may be none
            distinct = set(prompts)
            one = prompts[0] if len(distinct) == 1 else ""
            settings = settings.model_copy(
                update={"query_instruction_for_retrieval": one, "query_instruction_format": "{}{}"}
            )
            prompts = prompts if len(distinct) > 1 else None
        return LazyEncoder.open(model, settings), prompts

    def _trained(self, eval_set: Prompted) -> list[str]:
        assert self.config is not None
        rows = zip(eval_set.sources, eval_set.instructions, strict=True)
        return [model_config.row_prompt(self.config, source, prompt) for source, prompt in rows]


def resolve_usage(model: str, encoder: EncoderSettings) -> Usage:
    """How the model's artifact says it is used; what was set explicitly in `encoder` stands in for that."""
    found = model_config.resolve(model, encoder)
    reasons = {
        "model": "as its folder says it was trained",
        "published": "as its folder publishes it",
        "run": "its folder publishes no settings, so those of this run",
    }
    reason = reasons[found.source]
    if found.given:
        reason += f"; set by the user: {', '.join(found.given)}"
    config = None if "query_instruction_for_retrieval" in found.given else found.config
    return Usage(found.settings, found.source, reason, found.given, config)


def better_usage(
    model: str,
    encoder: EncoderSettings,
    eval_set: EvaluationSplit,
    dev: EvaluationSplit | None,
    score: Callable[[LazyEncoder, list[str] | None, EvaluationSplit], float],
    metric: str,
) -> Usage:
    """The better of the model's own settings and the run's; both are measured where they differ for these texts.

    Args:
        model: address of the model.
        encoder: settings of the run.
        eval_set: what will be measured.
        dev: the queries by which the two are compared; None: `eval_set` itself.
        score: encoder, instructions and queries -> the metric's mean.
        metric: its name.
    """
    published = resolve_usage(model, model_config.computing_part(encoder))
    if published.source == "published":
        # a folder says nothing of the arithmetic
        settings = published.settings.model_copy(update={"precision": encoder.precision})
        published = replace(published, settings=settings, ignores_rows=True)
    run = Usage(encoder, "run", "with the settings of this run")
    if published.source == "run":
        return replace(run, reason=published.reason)
    queries = dev if dev is not None else eval_set
    run_encoder, run_prompts = run.load(model, queries)
    published_encoder, published_prompts = published.load(model, queries)
    if _agree(published_encoder, published_prompts, run_encoder, run_prompts, queries):
        # the run's lengths: mining has encoded the same texts so
        return replace(run, source="both", reason="its own settings and those of this run are the same for these texts")
    figures = {
        "published": score(published_encoder, published_prompts, queries),
        "run": score(run_encoder, run_prompts, queries),
    }
    chosen = published if figures["published"] >= figures["run"] else run
    source = "dev" if dev is not None else "the measured split, as there is no dev"
    where = f"{len(queries.query_ids):,} queries of {source}"
    reason = (
        f"{metric} {figures['published']:.4f} with its own settings, {figures['run']:.4f} with those of this run "
        f"({where}); the better is taken"
    )
    return replace(chosen, reason=reason)


def described(
    encoder: LazyEncoder,
    usage: Usage,
    eval_set: EvaluationSplit,
    instructions: Sequence[str] | None,
    rows: PassageRows | None = None,
) -> dict[str, Any]:
    """How a model was measured: by which encoder, `instructions` of `eval_set`, and whose settings (`usage`).

    With `rows`, which say of which passage each vector is, also how many vectors a passage has.
    """
    config = encoder.config
    used = Counter(
        config.query_instruction_format.format(instruction, "") if instruction else config.query_prompt
        for instruction in instructions or [""] * len(eval_set.query_ids)
    )
    default = usage.config.query_prompt if usage.config is not None else config.query_prompt
    return {
        "prompts": {"query": default, "passage": config.passage_prompt},
        "query_prompts": dict(used.most_common()),
        "max_lengths": {"query": config.query_max_len, "passage": config.passage_max_len},
        "pooling": config.pooling,
        "normalize": config.normalize,
        "dimension": config.dimension,
        "precision": config.precision,
        "windows": describe_windows(config.passage_windows, config.window_overlap, config.passage_max_len),
        "settings_of": usage.source,
        "reason": usage.reason,
        "set_by_user": list(usage.given),
        **({} if rows is None else {"vectors_a_passage": round(len(rows.passages) / len(rows), 4)}),
    }


def _agree(
    one: LazyEncoder,
    one_prompts: list[str] | None,
    other: LazyEncoder,
    other_prompts: list[str] | None,
    eval_set: EvaluationSplit,
) -> bool:
    """Whether two encoders of one model give the same tokens, and vectors, for all texts."""
    first, second = one.config, other.config
    if any(getattr(first, name) != getattr(second, name) for name in ("pooling", "normalize", "precision")):
        return False
    if "none" in (first.passage_windows, second.passage_windows) and first.passage_windows != second.passage_windows:
        return False
    format_of_rows = {"query_instruction_format": ""}
    if first.model_copy(update=format_of_rows) == second.model_copy(update=format_of_rows) and not any(
        other_prompts or ()
    ):
        return True
    return _same_tokens(one, other, eval_set.query_texts, "query", one_prompts, other_prompts) and _same_tokens(
        one, other, eval_set.passage_texts, "passage", None, None
    )


def _same_tokens(
    one: LazyEncoder,
    other: LazyEncoder,
    texts: Sequence[str],
    kind: TextType,
    one_prompts: list[str] | None,
    other_prompts: list[str] | None,
) -> bool:
    for start in range(0, len(texts), _ROWS):
        part = slice(start, start + _ROWS)
        mine = one.load().tokenize(texts[part], kind, one_prompts[part] if one_prompts else None)
        if mine != other.load().tokenize(texts[part], kind, other_prompts[part] if other_prompts else None):
            return False
    return True
