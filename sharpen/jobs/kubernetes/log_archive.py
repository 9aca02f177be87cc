"""The last output of a job's pods, copied to the store, where it outlives them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sharpen.errors import SharpenError
from sharpen.jobs.kubernetes.client import Cluster
from sharpen.jobs.kubernetes.logs import LogTail
from sharpen.jobs.manifests.kinds import Kind
from sharpen.retry import at_most
from sharpen.store import storage
from sharpen.uri import sibling

logger = logging.getLogger(__name__)

# of each process; those of a pod write to one output
LOG_BYTES = 10 * 2**20
# logs are a help, not a result
STORE_SECONDS = 60.0
_THREADS = 8


class LogArchive:
    """``node-N.log`` for each pod, and ``node-N.start-M.log`` for a start of it that failed.

    Args:
        cluster: where the pods run.
        kind: of their job.
        output: address of the job's output; the logs are beside it.
        processes: of each pod.

    Attributes:
        address: the folder.
        first: output of the first pod, in all its starts, which the caller streams.
        saved: whether the folder holds a log.
    """

    def __init__(self, cluster: Cluster, kind: Kind, output: str, processes: int) -> None:
        self._cluster, self._kind = cluster, kind
        self._limit = LOG_BYTES * max(1, processes)
        self.address = sibling(output, "logs")
        self.first = LogTail(self._limit)
        self.saved = False
        self._starts: Counter[str] = Counter()
        self._failed: set[str] = set()

    def save_start(self, pod: Mapping[str, Any], lines: Sequence[str], *, again: bool) -> None:
        """Copy the output of a start that failed, before its pod goes.

        Args:
            pod: which failed.
            lines: its output.
            again: its container started again already, and has another output now.
        """
        node = self._kind.index_of(pod)
        self._starts[node] += 1
        self._save({f"node-{node}.start-{self._starts[node]}.log": self._tail(lines)})
        if not again:
            self._failed.add(pod["metadata"]["uid"])

    def save(self, pods: Sequence[Mapping[str, Any]]) -> None:
        """Copy the present output of every pod."""
        rest = [pod for pod in pods if pod["metadata"]["uid"] not in self._failed]
        with ThreadPoolExecutor(_THREADS) as pool:
            found = pool.map(
                lambda pod: self._tail(self._cluster.log_lines(self._name(pod), self._kind.container)), rest
            )
            logs = {f"node-{self._kind.index_of(pod)}.log": log for pod, log in zip(rest, found, strict=True) if log}
        if streamed := bytes(self.first):
            logs["node-0.log"] = streamed
        self._save(logs)

    def _tail(self, lines: Sequence[str]) -> bytes:
        tail = LogTail(self._limit)
        for line in lines:
            tail.add(line)
        return bytes(tail)

    def _save(self, logs: Mapping[str, bytes]) -> None:
        try:
            with at_most(STORE_SECONDS):
                for name, content in logs.items():
                    storage.write_bytes(storage.join(self.address, name), content)
                    self.saved = True
        except SharpenError as error:
            logger.warning(f"the job's logs are not copied to {self.address} ({' '.join(str(error).split())})")

    @staticmethod
    def _name(pod: Mapping[str, Any]) -> str:
        return pod["metadata"]["name"]
