"""Small corpora on disk."""

from __future__ import annotations

import json
import random
from pathlib import Path

NOUNS = "cat dog bird fish horse tree river road moon sun table door".split()
VERBS = "eat see hear find follow make take draw build open".split()


def passage(number: int) -> dict[str, str]:
    draw = random.Random(number)
    words = [draw.choice(NOUNS), draw.choice(VERBS), draw.choice(NOUNS), draw.choice(VERBS), str(number)]
    return {"_id": f"p{number:04}", "title": f"page {number}", "text": f"the {' '.join(words)} of the town"}


def write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_passages(folder: Path, count: int = 60) -> Path:
    """A folder with a corpus.jsonl alone."""
    write_lines(folder / "corpus.jsonl", [passage(number) for number in range(count)])
    return folder


def write_beir(folder: Path, count: int = 60) -> Path:
    """A BEIR folder: every third passage is asked for, in the splits train and test."""
    write_passages(folder, count)
    asked = range(0, count, 3)
    queries = [{"_id": f"q{n}", "text": passage(n)["text"].removeprefix("the ")} for n in asked]
    write_lines(folder / "queries.jsonl", queries)
    (folder / "qrels").mkdir()
    for split, part in (("train", 0), ("test", 1)):
        lines = [f"q{n}\tp{n:04}\t1" for n in asked if n // 3 % 2 == part]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder
