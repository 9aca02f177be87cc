"""Which model an encoder is, as one hash of its weights and of how they are used."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sharpen.data.text_type import TextType

if TYPE_CHECKING:
    from sharpen.models.encoder import Encoder


@dataclass(frozen=True)
class ModelIdentity:
    """What `identify` returns; SHA-256, in hex.

    Attributes:
        model: of all weights, Dense modules, pooling, normalisation and prompts; equal hash, equal model.
        towers: of the weights of each tower and its Dense modules alone, by the kind of text that it encodes.
    """

    model: str
    towers: dict[TextType, str]

    def tower(self, kind: TextType) -> str:
        """Of the weights that encode a kind of text."""
        return self.towers.get(kind, self.towers["passage"])


def identify(encoder: Encoder) -> ModelIdentity:
    """The identity of an encoder as it is now. It reads all weights (a second a GiB or so): ask once, pass it on."""
    whole, towers = hashlib.sha256(), {}
    for kind, tower in encoder.towers.items():
        alone, dense = hashlib.sha256(), encoder.dense[kind]
        for name, tensor in [*sorted(tower.state_dict().items()), *sorted(dense.state_dict().items())]:
            content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            # what is hashed of the first tower stands for both
            for digest in (whole, alone) if towers else (whole,):
                digest.update(name.encode())
                digest.update(content)
        forms = [[module.activation, module.residual] for module in dense.configs]
        for digest in (whole, alone) if towers else (whole,):
            digest.update(json.dumps(forms).encode() if forms else b"")
        towers[kind] = (alone if towers else whole.copy()).hexdigest()
    whole.update(json.dumps([encoder.pooling, encoder.normalize, encoder.prompts]).encode())
    return ModelIdentity(whole.hexdigest(), towers)


def weights_hash(encoder: Encoder) -> str:
    """`ModelIdentity.model` of an encoder, where nothing else is needed."""
    return identify(encoder).model
