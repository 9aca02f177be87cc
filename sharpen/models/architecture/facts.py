"""What a model's folder says, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sharpen.errors import InputError
from sharpen.models.architecture.dense import DenseConfig

ROUTER = "router_config.json"
# Kind of text -> route of a `Router`.
ROUTES = {"query": "query", "passage": "document"}
POOLING_KEYS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "last_token": "pooling_mode_lasttoken",
}


@dataclass(frozen=True)
class Architecture:
    """What a model's folder says.

    Attributes:
        pooling: ``cls``, ``mean`` or ``last_token``; None: the folder does not say, or another one is used.
        embedder: whether it is a sentence-transformers folder, which says how texts become embeddings.
        normalize: whether embeddings are normalised.
        prompts: text before every ``query`` and ``passage``.
        towers: where in the folder the transformer of each kind of text is; one for all is of the kind ``passage``.
        named_prompts: every other prompt by its name.
        max_lengths: longest ``query`` and ``passage`` in tokens, where the folder says it.
        dense: the Dense modules after the pooling of each tower, in their order; no entry: none.
    """

    pooling: str | None = None
    embedder: bool = False
    normalize: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    towers: Mapping[str, str] = field(default_factory=lambda: {"passage": ""})
    named_prompts: Mapping[str, str] = field(default_factory=dict)
    max_lengths: Mapping[str, int] = field(default_factory=dict)
    dense: Mapping[str, tuple[DenseConfig, ...]] = field(default_factory=dict)

    def dimension(self, token_sizes: Mapping[str, int], source: str) -> int:
        """Length of an embedding.

        Args:
            token_sizes: length of the token vectors of the tower of each kind of text.
            source: the model's address, for messages.

        Raises:
            InputError: a Dense module takes vectors of another length, or the towers differ.
        """
        found = set()
        for kind, token_size in token_sizes.items():
            dense = self.dense.get(kind, ())
            if dense and dense[0].in_features != token_size:
                raise InputError(
                    f"{source}: its Dense module {dense[0].path} takes vectors of {dense[0].in_features} dimensions, "
                    f"but its transformer gives {token_size}; one of both belongs to another model"
                )
            found.add(dense[-1].out_features if dense else token_size)
        if len(found) > 1:
            raise InputError(f"{source}: its towers give embeddings of {sorted(found)} dimensions; they must be equal")
        return found.pop()
