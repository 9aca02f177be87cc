"""The machine that a run would be on, as far as a preset depends on it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

from sharpen.jobs.settings import JobSettings
from sharpen.processes.cores import machine_cores

_QUERY = ("--query-gpu=memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Machine:
    """Cores, GPUs and machines.

    Attributes:
        cores: of this machine; 0 on a cluster.
        gpus: of each machine.
        gpu_gib: memory of the smallest GPU; 0: not known.
        nodes: machines of the training job.
        on_cluster: whether the run is on a cluster, of which the job's settings alone are known.
    """

    cores: int
    gpus: int
    gpu_gib: float
    nodes: int
    on_cluster: bool

    @property
    def words(self) -> str:
        """As a person reads it."""
        if self.on_cluster:
            gpus = f" with {self.gpus} GPU(s)" if self.gpus else " without a GPU"
            return f"{self.nodes} pod(s) of the cluster{gpus} each"
        memory = f" of {self.gpu_gib:.0f} GiB" if self.gpu_gib else ""
        return f"{self.cores} cores, {f'{self.gpus} GPU(s){memory}' if self.gpus else 'no GPU'}"


def read_machine(job: JobSettings, *, on_cluster: bool) -> Machine:
    """This machine, or what the job's settings ask of a cluster."""
    if on_cluster:
        return Machine(0, job.gpus_per_node, 0.0, job.nodes, True)
    memory = _gpu_memory()
    return Machine(machine_cores(), len(memory), min(memory, default=0) / 1024, 1, False)


def _gpu_memory() -> list[int]:
    """MiB of each GPU, by the driver's own program; none where it is not there or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        done = subprocess.run([program, *_QUERY], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [int(line) for line in done.stdout.split() if line.isdecimal()]
