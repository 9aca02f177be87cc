"""The copy of a run's checkpoints at an address that outlives the machine, made while training goes on."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from sharpen.errors import SharpenError
from sharpen.retry import until
from sharpen.run_context import run_id
from sharpen.store import local_store, storage
from sharpen.store.manifest import file_names
from sharpen.uri import StoreUnavailable

logger = logging.getLogger(__name__)


class CheckpointCopy:
    """Checkpoints below an address, each a finished folder.

    A fault of the store never ends a training that has begun: a store that is away is waited for while the training
    goes on, until the next checkpoint, whose copy replaces this one.

    Args:
        address: where the copies are.
        local: the steps of the local checkpoints.
        path: step -> local folder.
        producer: the step that makes them.

    Attributes:
        copied: steps whose copies this process finished.
    """

    def __init__(self, address: str, local: Callable[[], set[int]], path: Callable[[int], Path], producer: str) -> None:
        self.address, self._local, self._path, self._producer = address, local, path, producer
        self.copied: set[int] = set()
        self._unusable: set[int] = set()
        self._running: threading.Thread | None = None
        self._replaced = threading.Event()
        self._warned = False

    def steps(self) -> set[int]:
        """The complete copies; none when the store cannot be read.

        Raises:
            StoreUnavailable: it does not answer: beginning anew would throw away what is there.
        """
        try:
            return {step for step in self._listed() if storage.is_complete(self._at(step))}
        except StoreUnavailable:
            raise
        except SharpenError as fault:
            self._tell(f"cannot look for checkpoints at {self.address}", fault)
            return set()

    def fetch(self, step: int) -> bool:
        """Bring a copy into its local folder, every file checked by its SHA-256; False when that cannot be done.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        target = self._path(step)
        # Machines that share the folder must not both fill it.
        with local_store.locked(target.parent / ".fetching.lock"):
            if step in self._local():
                return True
            try:
                found = storage.open_artifact(self._at(step))
            except StoreUnavailable:
                raise
            except SharpenError as fault:
                self._unusable.add(step)
                logger.warning(f"the checkpoint of step {step} cannot be used: {fault}")
                return False
            shutil.rmtree(target, ignore_errors=True)
            # Out of the download cache, where nobody would ever ask for it again.
            (shutil.move if storage.is_remote(self.address) else shutil.copytree)(found, target)
        return True

    def start(self) -> None:
        """Make the address equal to the local folder, in the background; the local folder must stay until `wait`."""
        self.wait()
        self._replaced.clear()
        self._running = threading.Thread(target=self._try, name="checkpoint copy")
        self._running.start()

    def wait(self, patience: float = 0.0) -> None:
        """Until nothing is being copied; for a store that does not answer no longer than `patience` seconds."""
        if self._running is not None:
            self._running.join(patience)
            self._replaced.set()
            self._running.join()
            self._running = None

    def remove(self) -> None:
        """Delete every copy."""
        try:
            storage.delete(self.address)
        except SharpenError as fault:
            logger.warning(f"checkpoints stay at {self.address} ({fault}); delete the folder")

    def _try(self) -> None:
        try:
            with until(self._replaced):
                self._copy()
        except Exception as fault:
            self._tell(f"checkpoints are not copied to {self.address}, only kept on this machine", fault)

    def _copy(self) -> None:
        here, there = self._local(), self._listed()
        finished = {step for step in there if storage.is_complete(self._at(step))} - self._unusable
        for step in sorted(here - finished):
            rows = {"steps": step}
            with storage.publish(self._at(step), producer=self._producer, run_id=run_id(), rows=rows) as folder:
                for name in file_names(self._path(step)):
                    _link(self._path(step) / name, folder / name)
            self._unusable.discard(step)
            self.copied.add(step)
        # Newer ones would be those of another process that took over this run.
        for step in sorted(step for step in there - here if step < max(here)):
            storage.delete(self._at(step))

    def _listed(self) -> set[int]:
        names = storage.list_folders(self.address)
        return {int(name.removeprefix("step-")) for name in names if name.removeprefix("step-").isdecimal()}

    def _at(self, step: int) -> str:
        return storage.join(self.address, f"step-{step}")

    def _tell(self, what: str, fault: Exception) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(f"{what} ({' '.join(str(fault).split())}); training goes on")


def _link(source: Path, target: Path) -> None:
    """A second name for a file, or a copy of it where the temporary folder is another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
