"""Tokens of the texts, and how much of them the limits cut off."""

from __future__ import annotations

import polars as pl
from tokenizers import Tokenizer

from sharpen.data.preparation.checks.sampling import EXAMPLES, shortened

# One token each: a character of a script without spaces; up to six letters or digits of a word; any other sign.
_NO_SPACES = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_TOKEN = rf"[{_NO_SPACES}]|[[\p{{L}}\p{{M}}\p{{N}}]--[{_NO_SPACES}]]{{1,6}}|[^\s\p{{L}}\p{{M}}\p{{N}}]"
# of most models: one before the text and one after it
_SPECIAL_TOKENS = 2
_BATCH = 1000


def token_counts(texts: pl.Series, tokenizer: Tokenizer | None) -> pl.Series:
    """Tokens of each text, special tokens included: by the tokenizer, else estimated from letters and signs."""
    if tokenizer is None:
        return (texts.str.count_matches(_TOKEN) + _SPECIAL_TOKENS).cast(pl.Int64).alias("tokens")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    counts: list[int] = []
    for start in range(0, len(texts), _BATCH):
        counts += [len(one) for one in tokenizer.encode_batch(texts.slice(start, _BATCH).to_list())]
    return pl.Series("tokens", counts, dtype=pl.Int64)


def cut_texts(table: pl.DataFrame, limit: int, tokenizer: Tokenizer | None) -> dict[str, object]:
    """How many texts are longer than a limit, and what share of all tokens that cuts off.

    Args:
        table: with the columns text (as it is encoded) and text_key; all are looked at.
        limit: tokens of a text that a model sees.
        tokenizer: the model's; None: tokens are estimated.
    """
    looked = table.with_columns(token_counts(table["text"], tokenizer))
    longer = looked.filter(pl.col("tokens") > limit).sort("tokens", "text_key", descending=[True, False])
    tokens = looked["tokens"]
    return {
        "limit": limit,
        "counted": looked.height,
        "estimated": tokenizer is None,
        **{f"p{percent}": int(tokens.quantile(percent / 100, "nearest") or 0) for percent in (50, 95, 99)},
        "max": int(tokens.max() or 0),  # type: ignore[arg-type]
        "cut": longer.height,
        "cut_share": longer.height / max(1, looked.height),
        "tokens_cut_share": int((longer["tokens"] - limit).sum()) / max(1, int(tokens.sum())),
        "examples": [
            {"text": shortened(text), "tokens": count}
            for text, count in longer.head(EXAMPLES).select("text", "tokens").iter_rows()
        ],
    }
