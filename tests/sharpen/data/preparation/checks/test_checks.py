"""Each check finds what stands in the data, counts it, and shows it."""

from __future__ import annotations

import random
import re
from pathlib import Path

import polars as pl
import pytest
from tokenizers import Tokenizer

from sharpen.data.preparation.checks.language import language_mix, language_of, main_languages, with_languages
from sharpen.data.preparation.checks.lengths import cut_texts, token_counts
from sharpen.data.preparation.checks.sampling import SHOWN_CHARACTERS
from sharpen.data.preparation.checks.secrets import PATTERNS, find_secrets
from sharpen.data.text import text_keys

SENTENCES = {
    "en": "How can I find out which of the files in a folder were changed yesterday?",
    "de": "Wie finde ich heraus, welche Dateien in einem Ordner gestern geändert wurden?",
    "fr": "Comment savoir quels fichiers d'un dossier ont été modifiés hier soir ?",
    "es": "¿Cómo puedo saber qué archivos de una carpeta se cambiaron ayer por la tarde?",
    "ru": "Как узнать, какие файлы в папке были изменены вчера вечером?",
    "ja": "昨日フォルダー内のどのファイルが変更されたかを調べるにはどうすればよいですか",
    "zh": "我怎样才能知道文件夹中的哪些文件昨天被修改过",
}


def table(texts: list[str], **columns: list[str]) -> pl.DataFrame:
    frame = pl.DataFrame({"id": [f"{n:04d}" for n in range(len(texts))], "text": texts, **columns})
    return frame.with_columns(text_keys(frame["text"]))


@pytest.mark.parametrize("code", SENTENCES)
def test_a_sentence_is_in_its_language(code: str) -> None:
    assert language_of(SENTENCES[code]) == code


@pytest.mark.parametrize("text", ["", "404", "x = f(y);"])
def test_of_a_text_without_words_no_language_is_said(text: str) -> None:
    assert language_of(text) == ""


def test_languages_of_a_table_are_counted_and_known_ones_stay() -> None:
    texts = [*SENTENCES.values(), "404", SENTENCES["en"] + " Please say."]
    known = ["nl", *[""] * (len(texts) - 1)]
    found = with_languages(table(texts, language=known), 1000)
    assert found["language"].to_list() == ["nl", *list(SENTENCES)[1:], "", "en"]
    mix = language_mix(found, 1000)
    assert mix["counted"] == mix["of"] == 9 and mix["languages"]["en"] == 1 and mix["languages"][""] == 1


def test_of_many_texts_a_sample_is_looked_at_with_those_of_test_first() -> None:
    texts = [f"{SENTENCES['de']} Nummer {n}" for n in range(300)]
    split = ["test" if n % 10 == 0 else "train" for n in range(300)]
    found = with_languages(table(texts, split=split), 100)
    assert found.filter(pl.col("language") == "de").height == 100
    assert set(found.filter(pl.col("split") == "test")["language"]) == {"de"}
    by_split = {"test": {"de": 30}, "train": {"de": 70}}
    assert language_mix(found, 100) == {"counted": 100, "of": 300, "languages": {"de": 100}, "by_split": by_split}


def test_languages_that_hardly_any_text_has_are_not_the_main_ones() -> None:
    assert main_languages({"languages": {"en": 900, "": 300, "de": 99, "la": 1}}) == {"en": 900, "de": 99}


def test_tokens_are_those_of_the_tokenizer_even_where_it_cuts_by_itself(tiny_model: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    texts = ["one", "a longer text of some words", "x " * 300]
    counts = token_counts(pl.Series(texts), tokenizer)
    assert counts.to_list() == [len(tokenizer.encode(text).ids) for text in texts] and counts[2] > 300


def test_what_the_limit_cuts_is_counted(tiny_model: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    texts = ["few", "some more words", "very many words " * 90]
    counts = [len(tokenizer.encode(text).ids) for text in texts]
    found = cut_texts(table(texts), 64, tokenizer)
    assert found["cut"] == 1 and found["cut_share"] == pytest.approx(1 / 3) and not found["estimated"]
    assert found["tokens_cut_share"] == pytest.approx((counts[2] - 64) / sum(counts))
    assert (found["p50"], found["max"]) == (sorted(counts)[1], counts[2])
    [example] = found["examples"]
    assert example["tokens"] == counts[2] and len(example["text"]) == SHOWN_CHARACTERS


def test_without_a_tokenizer_tokens_are_estimated_as_most_models_cut() -> None:
    counts = token_counts(pl.Series(["two words", "internationalisation", "漢字です", "a-b", ""]), None)
    assert counts.to_list() == [4, 6, 6, 5, 2]
    assert cut_texts(table(["a"]), 8, None)["estimated"] is True


SECRETS = {
    "AWS access key": "AKIA" + "ABCDEFGHIJKLMNOP",
    "GitHub token": "ghp_" + "a1B2" * 9,
    "GitLab token": "glpat-" + "x1Y2z" * 4,
    "Google API key": "AIza" + "b" * 35,
    "Hugging Face token": "hf_" + "Qw" * 17,
    "JSON web token": "eyJ" + "a" * 12 + ".eyJ" + "b" * 12 + "." + "c" * 12,
    "OpenAI or Anthropic key": "sk-" + "a1b2" * 9,
    "password in an address": "postgresql://" + "user:hunter2@db/x",
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "Slack token": "xoxb-" + "1234567890-abc",
    "Stripe key": "sk_live_" + "a1b2c3" * 4,
    "e-mail address": "ada.lovelace@example.org",
}


def test_each_kind_of_secret_is_found_and_never_shown_whole() -> None:
    assert set(SECRETS) == set(PATTERNS)
    texts = [f"how do I use {secret} here" for secret in SECRETS.values()]
    texts += ["how do I rotate an AWS access key", "git clone git@host", "what does sk-learn do", "user@localhost"]
    random.Random(2).shuffle(texts)
    found = find_secrets(table(texts), "id")
    assert set(found) == set(SECRETS)
    for name, secret in SECRETS.items():
        assert found[name]["texts"] == 1, name
        [example] = found[name]["examples"]
        assert secret in texts[int(example["id"])]
        assert secret not in example["found"] and re.match(r".{4}•+ \(\d+ characters\)", example["found"])
    assert find_secrets(table(["nothing to see"]), "id") == {}
