"""Equal numbers of micro-batches on all processes, which gather the weights of a sharded model together.

Each pass through such a model is a collective of its layers: a process that encodes once more than another one would
wait for ever.
"""

from __future__ import annotations

from sharpen.data.text_type import TextType
from sharpen.distributed import ProcessGroup
from sharpen.models.encoder import Encoder
from sharpen.training.gradient.micro_batch import MicroBatch


def in_step(encoder: Encoder, micro_batches: list[MicroBatch]) -> list[MicroBatch]:
    """The micro-batches of this process, with empty ones up to the largest number that a process has.

    With two towers those of passages come first on every process, so that all of them are in the same tower.
    """
    if not encoder.sharded:
        return micro_batches
    kinds: list[TextType | None] = [None] if encoder.query_model is None else ["passage", "query"]
    by_kind = [[one for one in micro_batches if one.kind == kind] for kind in kinds]
    most = ProcessGroup().maximum([len(of_kind) for of_kind in by_kind])
    for kind, of_kind, count in zip(kinds, by_kind, most, strict=True):
        of_kind += [MicroBatch([], kind) for _ in range(count - len(of_kind))]
    return [one for of_kind in by_kind for one in of_kind]


def on_all(encoder: Encoder, decision: bool) -> bool:
    """Whether all processes decide so, where they must agree; else this one's `decision`."""
    return not ProcessGroup().maximum([not decision])[0] if encoder.sharded else decision
