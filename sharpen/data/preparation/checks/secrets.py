"""Secrets and e-mail addresses in texts, which a model and an index would keep and show."""

from __future__ import annotations

import re

import polars as pl

from sharpen.data.preparation.checks.sampling import EXAMPLES

# Forms that their makers document; each begins so that a text that merely speaks of keys does not match.
PATTERNS = {
    "AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})",
    "GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "Google API key": r"\bAIza[0-9A-Za-z_-]{35}",
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "OpenAI or Anthropic key": r"\bsk-[A-Za-z0-9_-]{32,}",
    "password in an address": r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,64}:[^\s/:@]{3,64}@",
    "private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "Slack token": r"\bxox[abeprs]-[A-Za-z0-9-]{10,}",
    "Stripe key": r"\b[rs]k_live_[A-Za-z0-9]{20,}",
    "e-mail address": r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.[A-Za-z]{2,24}\b",
}
_SHOWN = 4


def masked(found: str) -> str:
    """What was found, with all but its first characters hidden."""
    return f"{found[:_SHOWN]}{'•' * 8} ({len(found)} characters)"


def find_secrets(texts: pl.DataFrame, key: str) -> dict[str, dict[str, object]]:
    """Texts that hold something of each of `PATTERNS`, with the ids and masked findings of the first of them.

    Args:
        texts: with the columns text and `key`; all are looked at.
        key: the column with their ids, of which the examples are the smallest.
    """
    result: dict[str, dict[str, object]] = {}
    for name, pattern in PATTERNS.items():
        holding = texts.select(key, "text").filter(pl.col("text").str.contains(pattern))
        if holding.is_empty():
            continue
        examples = []
        for text_id, text in holding.sort(key).head(EXAMPLES).iter_rows():
            match = re.search(pattern, text)
            examples.append({"id": text_id, "found": masked(match[0] if match else "")})
        result[name] = {"texts": holding.height, "examples": examples}
    return result
