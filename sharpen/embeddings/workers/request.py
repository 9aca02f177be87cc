"""The request to a job that encodes on several processes: a folder with the texts and how to encode them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sharpen.data.text_type import TextType
from sharpen.settings import EncoderSettings

if TYPE_CHECKING:
    from sharpen.models.encoder import Encoder

_TEXTS, _FACTS = "texts.parquet", "request.json"


@dataclass(frozen=True)
class Request:
    """Texts to encode, and by what.

    Attributes:
        model: address of the model.
        settings: how texts become embeddings, and where these are kept.
        identity: of the requesting encoder; another one must not answer.
        kind: of the texts.
        texts, instructions: the texts by row; those that are not requested are empty.
        rows: those of the requested texts, ascending.
    """

    model: str
    settings: EncoderSettings
    identity: str
    kind: TextType
    texts: list[str]
    instructions: list[str | None] | None
    rows: np.ndarray

    @classmethod
    def of(
        cls,
        encoder: Encoder,
        identity: str,
        texts: list[str],
        kind: TextType,
        instructions: list[str | None] | None,
        rows: np.ndarray,
        cache_address: str,
    ) -> Request:
        """A request of this encoder for the cache at `cache_address`; other arguments as in the attributes."""
        settings = encoder.settings.model_copy(update={"vector_cache": cache_address})
        return cls(encoder.address, settings, identity, kind, texts, instructions, rows)

    def write(self, folder: Path) -> None:
        """Write it into a folder."""
        numbers: list[int] = self.rows.tolist()
        columns: dict[str, Any] = {"row": self.rows, "text": [self.texts[row] for row in numbers]}
        if self.instructions is not None:
            columns["instruction"] = [self.instructions[row] for row in numbers]
        types = {"text": pl.String, "instruction": pl.String}
        overrides = {name: kind for name, kind in types.items() if name in columns}
        pl.DataFrame(columns, schema_overrides=overrides).write_parquet(folder / _TEXTS)
        facts = {
            "model": self.model,
            "settings": self.settings.model_dump(mode="json"),
            "identity": self.identity,
            "kind": self.kind,
            "places": len(self.texts),
        }
        (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Request:
        """Read what `write` wrote."""
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        table = pl.read_parquet(folder / _TEXTS, glob=False)
        rows = table["row"].to_numpy()

        def placed(name: str, otherwise: Any) -> list[Any]:
            values = [otherwise] * facts["places"]
            for row, value in zip(rows.tolist(), table[name].to_list(), strict=True):
                values[row] = value
            return values

        return cls(
            facts["model"],
            EncoderSettings.checked(facts["settings"]),
            facts["identity"],
            facts["kind"],
            placed("text", ""),
            placed("instruction", None) if "instruction" in table.columns else None,
            rows,
        )
