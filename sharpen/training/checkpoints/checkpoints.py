"""A run's checkpoints: a local folder, and a copy at an address that outlives the machine.

Names come from content, so a run goes on only with its own checkpoints. A checkpoint counts only when it was marked
complete and its files are those of the mark; all of them are removed when the model is written.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from sharpen.distributed import ProcessGroup
from sharpen.store import storage
from sharpen.store.download_cache import cache_folder
from sharpen.store.manifest import MARKER, fault_of, mark_complete
from sharpen.training.checkpoints.checkpoint_copy import CheckpointCopy
from sharpen.training.processes import local_rank_zero_first
from sharpen.typed_json import sha256_json
from sharpen.uri import sibling

logger = logging.getLogger(__name__)

STATE = "trainer_state.json"
AUTO = "auto"


def name_of(facts: dict[str, Any]) -> str:
    """A hash of all that decides a result: another setting, other data, another base model or other code begin anew.

    Args:
        facts: data, model, settings, code version; anything that JSON can hold.
    """
    return sha256_json(facts)[:16]


def folder_for(chosen: str | None, facts: dict[str, Any], output: str) -> Path:
    """The local folder of a run's checkpoints.

    Args:
        chosen: the folder of the settings; None: the user's cache.
        facts: what decides the result.
        output: address of the model, so that two runs on one machine never write into the same folder.
    """
    return (Path(chosen) if chosen else cache_folder() / "checkpoints") / name_of({**facts, "to": output})


def address_for(chosen: str, facts: dict[str, Any], output: str) -> str | None:
    """The address of the copy; None: there is none.

    Only `auto` depends on the output: below an address that the user chose, a new run with another output goes on
    where one with the same data, model and settings died.

    Args:
        chosen: the address of the settings; ``auto``: next to an output in an object store; empty: none.
        facts: what decides the result.
        output: address of the model.
    """
    if chosen != AUTO:
        return storage.join(chosen, name_of(facts)) if chosen else None
    if not storage.is_remote(output):
        return None
    return storage.join(sibling(output, "checkpoints"), name_of(facts))


class Checkpoints:
    """What is kept of a training while it runs.

    Args:
        folder: local folder; transformers' `Trainer` writes the checkpoints into it.
        address: where they are copied to; None: nowhere.
        limit: how many are kept; the newest and the best one always are.
        producer: the step that writes them.
    """

    def __init__(self, folder: Path, address: str | None, limit: int = 2, producer: str = "finetuning") -> None:
        self.folder, self.limit, self.producer = folder, limit, producer
        self.copy = CheckpointCopy(address, self.steps, self.path, producer) if address else None

    def path(self, step: int) -> Path:
        """The folder of a checkpoint."""
        return self.folder / f"{PREFIX_CHECKPOINT_DIR}-{step}"

    def steps(self) -> set[int]:
        """The complete checkpoints of the local folder."""
        return {_step(path) for path in self._all() if not fault_of(path)}

    def saved(self, step: int, best: int | None = None) -> None:
        """Every process has written its part of a checkpoint: mark it, then delete older ones, then copy.

        In this order a process that is killed at any point leaves a complete checkpoint. The copying goes on in the
        background.

        Args:
            step: the checkpoint.
            best: the checkpoint that stays although it is older; None: there is none.
        """
        # The last copy reads what may be deleted now.
        self.wait()
        mark_complete(self.path(step), producer=self.producer)
        needed = {step, *({best} if best is not None else ())}
        older = sorted(self.steps() - needed, reverse=True)
        self._remove(self.path(one) for one in older[max(0, self.limit - len(needed)) :])
        if self.copy:
            self.copy.start()

    def wait(self, patience: float = 0.0) -> None:
        """Until nothing is being copied; for a store that does not answer no longer than `patience` seconds."""
        if self.copy:
            self.copy.wait(patience)

    def described(self, step: int) -> str:
        """Where a checkpoint is, in words."""
        copied = self.copy is not None and step in self.copy.copied
        return f"{self.path(step)}{f', copied to {self.copy.address}' if self.copy and copied else ''}"

    def restore(self, exchange: ProcessGroup) -> Path | None:
        """The newest complete checkpoint that every process can read, brought here if need be; None: there is none.

        Later checkpoints, damaged ones, and what a process that died had begun to write, are deleted from the local
        folder.
        """
        with local_rank_zero_first(exchange):
            faults = {path: fault_of(path) for path in self._all()}
            for path, fault in faults.items():
                if fault and (path / MARKER).is_file():
                    logger.warning(f"the checkpoint {path} cannot be used: {fault}")
            self._remove(path for path, fault in faults.items() if fault)
        found: list[int] = []
        if exchange.rank == 0:
            found = sorted(self.steps() | (self.copy.steps() if self.copy else set()), reverse=True)
        chosen = None
        for step in exchange.broadcast_object(found):
            with local_rank_zero_first(exchange):
                here = self._bring(step)
            if not any(exchange.sum([float(not here)])):
                chosen = step
                break
        with local_rank_zero_first(exchange):
            self._remove(path for path in self._all() if chosen is None or _step(path) > chosen)
        return None if chosen is None else self.path(chosen)

    def remove(self) -> None:
        """Delete all of them: the model is written."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.copy:
            self.copy.remove()

    def _all(self) -> list[Path]:
        return list(self.folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"))

    def _remove(self, paths: Any) -> None:
        for path in paths:
            # Without its mark first: a deletion that is cut short must not leave a complete half.
            (path / MARKER).unlink(missing_ok=True)
            shutil.rmtree(path)

    def _bring(self, step: int) -> bool:
        """Have a checkpoint here, and the best one so far, whose weights the end of the training returns to."""
        if not self._here(step):
            return False
        best = TrainerState.load_from_json(str(self.path(step) / STATE)).best_global_step
        return best is None or self._here(best)

    def _here(self, step: int) -> bool:
        if step in self.steps():
            return True
        return self.copy is not None and self.copy.fetch(step)


def _step(path: Path) -> int:
    return int(path.name.rsplit("-", 1)[1])
