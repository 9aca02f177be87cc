"""What a training computes with, in its checkpoints: a run that goes on, on whichever machine, computes alike."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from sharpen.distributed import ProcessGroup
from sharpen.hardware import measurement as hardware
from sharpen.models.encoder import Encoder

logger = logging.getLogger(__name__)

FILE = "arithmetic.json"


def agree(exchange: ProcessGroup) -> None:
    """Let every process compute as the first one; each would measure for itself, and might choose otherwise."""
    if exchange.size > 1:
        hardware.adopt(exchange.broadcast_object(hardware.choices() if exchange.rank == 0 else {}))


def facts(encoder: Encoder) -> dict[str, Any]:
    """Precision and attention in use, and on a CPU the measurement that they follow from."""
    measured = hardware.choices() if encoder.device.type == "cpu" else None
    return {"precision": encoder.precision, "attention": encoder.attention, "hardware": measured}


def save(folder: Path, encoder: Encoder) -> None:
    """Write it into a checkpoint."""
    (folder / FILE).write_text(json.dumps(facts(encoder)), encoding="utf-8")


def restore(folder: Path, encoder: Encoder, exchange: ProcessGroup) -> None:
    """Let all processes (`exchange`) and the `encoder` compute as the training that wrote the checkpoint `folder`."""
    before = facts(encoder)
    written = json.loads((folder / FILE).read_text(encoding="utf-8"))
    if encoder.device.type != "cpu" or written["hardware"] is None:
        return
    hardware.adopt(written["hardware"])
    for tower in encoder.towers.values():
        tower.set_attn_implementation(written["attention"])
    now = facts(encoder)
    if exchange.rank == 0 and any(before[name] != now[name] for name in ("precision", "attention")):
        logger.warning(
            f"note: the checkpoint was computed with {now['precision']} and {now['attention']} attention; so is what "
            f"follows, though {before['precision']} and {before['attention']} are faster here"
        )
