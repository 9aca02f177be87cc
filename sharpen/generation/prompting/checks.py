"""What a generated text must be to pass for a query: one line, in the passage's script and language.

A document may tell the language model what to write. So what repeats the instructions, holds an address or markup, or
is copied from the passage is refused, whoever it came from.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from sharpen.data.preparation.checks.language import SURE, language_of
from sharpen.data.text import normalize
from sharpen.generation.prompting.prompt import DESCRIPTIONS, INSTRUCTIONS, PromptRequest

REASONS = {
    "empty": "empty",
    "too_long": "longer than max_query_characters",
    "several_lines": "several lines or control characters",
    "other_style": "a style that was not wanted",
    "too_many": "more than were wanted",
    "markup": "markup of a conversation, code or delimiters, or a heading, list marker or label before it",
    "address": "a web or mail address",
    "repeats_instructions": "repeats the instructions",
    "refusal": "a refusal or talk about itself",
    "refers_to_passage": "refers to the passage",
    "copies_passage": "copied from the passage",
    "other_script": "another script than the passage's",
    "other_language": "another language than the passage's",
    "equal_query": "the same as another query",
    "near_duplicate": "nearly the same as another query",
    "not_found": "the base model does not find the passage with it",
    "not_confirmed": "the cross-encoder ranks other passages before it",
}
"""Why a generated query is left out; closed."""

COPIED_WORDS = 10
COPIED_CHARACTERS = 40
REPEATED_WORDS = 6

_MARKUP = re.compile(r"<\||\|>|</?\w|```|\[/?INST\]|^\s*(system|assistant|user)\s*:|[{}]", re.IGNORECASE)
# what language models put before a query, in the languages that they are asked in most
_LABELS = (
    *("question", "query", "search query", "keywords?", "request", "q"),
    *("frage", "suchanfrage", "anfrage", "requête", "pregunta", "consulta", "pergunta", "domanda", "vraag", "pytanie"),
    *("вопрос", "запрос", "питання", "问题", "問題", "问", "查询", "質問", "クエリ", "질문", "سؤال", "प्रश्न", "soru"),
)
_BEGINNING = re.compile(
    r"^\s*(#{1,6}\s|[-*+•–>]\s|\d{1,2}[.)]\s|(#{1,6}|[-*+•–>]|\d{1,2}[.)])?\s*[*_]{0,3}"
    rf"({'|'.join(_LABELS)})\s*\d{{0,3}}[*_]{{0,3}}\s*[:：])",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"https?://|www\.\w|\b[\w.+-]+@[\w-]+\.\w", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\b(as an ai\b|as a language model|i('m| am) sorry|i (can't|cannot|can not) (help|answer|write|provide|assist)|"
    r"ignore (all |the |your )?(previous|prior|above)|(system|following) (prompt|instructions?))",
    re.IGNORECASE,
)
_PASSAGE = re.compile(
    r"\b(this|the (given|above|following|provided)) (passage|text|document|article|excerpt)\b|"
    r"\b(according to|in|from|of) the (passage|text|excerpt)\b",
    re.IGNORECASE,
)
_ADDRESSED = re.compile(
    r"\b(ignore|disregard|forget) (all |any |the |your )*(previous|prior|above|earlier|preceding) "
    r"(instruction|rule|prompt|command|text)|"
    r"\byou are now\b|\bsystem prompt\b|\bdo not (follow|obey) |<\|im_start\|>|\[INST\]",
    re.IGNORECASE,
)


def addresses_model(text: str) -> bool:
    """Whether a passage seems to speak to a language model; such passages are counted in the report."""
    return bool(_ADDRESSED.search(text))


def fault_of(text: str, style: str, request: PromptRequest, most: int) -> str:
    """Why a text cannot be a query for a request, a key of `REASONS`; empty if it can.

    Args:
        text: as the model wrote it, stripped.
        style: that it says it has.
        request: what was asked.
        most: longest query in characters.
    """
    passage = "\n".join(f"{one.title}\n{one.text}" for one in request.sources)
    rules = {
        "empty": not any(unicodedata.category(letter)[0] in "LN" for letter in text),
        "too_long": len(text) > most,
        "several_lines": any(unicodedata.category(letter) in ("Cc", "Zl", "Zp", "Cs") for letter in text),
        "other_style": style not in request.styles,
        "markup": bool(_MARKUP.search(text) or _BEGINNING.match(text)) or request.tag in text,
        "address": bool(_ADDRESS.search(text)),
        "repeats_instructions": shared_words(text, _WORDING, REPEATED_WORDS),
        "refusal": bool(_REFUSAL.search(text)),
        "refers_to_passage": bool(_PASSAGE.search(text)),
        "copies_passage": _copies(text, passage),
        "other_script": not _same_script(text, passage),
        "other_language": not _same_language(text, passage),
    }
    return next((reason for reason, holds in rules.items() if holds), "")


def shared_words(text: str, other: str, count: int) -> bool:
    """Whether `text` and the `other` share `count` consecutive words, whatever their case and punctuation."""
    words, others = _words(text), f" {' '.join(_words(other))} "
    return any(f" {' '.join(words[start : start + count])} " in others for start in range(len(words) - count + 1))


def _copies(text: str, passage: str) -> bool:
    line = normalize(text)
    # without spaces between words, characters are what is counted
    whole = len(line) >= COPIED_CHARACTERS and line.rstrip("?？.。!！") in normalize(passage)
    return whole or shared_words(text, passage, COPIED_WORDS)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", normalize(text))


def script(text: str) -> str:
    """The script of most letters of a text by their Unicode names, such as ``LATIN``; empty for no letters."""
    names = Counter(_script_of(letter) for letter in text[:2000] if letter.isalpha())
    return names.most_common(1)[0][0] if names else ""


def _script_of(letter: str) -> str:
    name = unicodedata.name(letter, "").split(" ")[0]
    # Japanese is written in three scripts, two of which stand beside Chinese characters
    return "CJK" if name in ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "FULLWIDTH") else name


def _same_script(text: str, passage: str) -> bool:
    wanted = script(passage)
    return script(text) in (wanted, "") or not wanted or (script(text) == "LATIN" and _has_names(text, passage))


def _same_language(text: str, passage: str) -> bool:
    """False where both texts are long enough to say that they are in two languages."""
    language = language_of(text, SURE)
    return not language or language_of(passage, SURE) in (language, "") or _has_names(text, passage)


def _has_names(text: str, passage: str) -> bool:
    """Whether all Latin words of a query stand in its passage, as names and terms do."""
    known = set(_words(passage))
    return all(word in known for word in _words(text) if script(word) == "LATIN")


_WORDING = INSTRUCTIONS + "\n" + "\n".join(DESCRIPTIONS.values())
