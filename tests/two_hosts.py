"""Fine-tuning on two hosts as the generated PyTorchJob starts it: `make test-two-hosts`.

Two network namespaces with host names of their own stand in for two nodes. Command, environment and rendezvous come
from the manifest; the test adds what the operator adds for a pod, and restarts a host's container as the kubelet
would. Each host in turn is lost with `kill -9`, the one that serves the rendezvous too; the job goes on from the
checkpoint in a real object store and ends with the weights of a run that nothing happened to.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from safetensors.numpy import load_file

from sharpen.jobs.job import Job
from sharpen.jobs.launch_context import LaunchContext
from sharpen.jobs.manifests.pod_spec_inputs import make_pod_spec_inputs
from sharpen.jobs.manifests.pytorchjob import pytorchjob
from sharpen.jobs.settings import JobSettings
from sharpen.store import storage
from tests.sharpen.training.small_data import small_data

ROOT = Path(__file__).parents[1]
NETWORK = "10.213.77"
RUN = "two-hosts"
TRAINING = {
    "train_batch_size": "8",
    "train_group_size": "4",
    "learning_rate": "1e-3",
    "max_steps": "300",
    "save_steps": "20",
    "logging_steps": "100",
    "query_max_len": "16",
    "passage_max_len": "32",
    "precision": "fp32",
}


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def namespaces() -> Iterator[list[str]]:
    """Two network namespaces on a bridge; host n has the address NETWORK.n, this machine NETWORK.254."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("network namespaces need root, ip and unshare")
    names = [f"sharpen-{os.getpid()}-{number}" for number in (1, 2)]
    bridge = f"shp{os.getpid()}"[:15]
    with contextlib.ExitStack() as undo:
        try:
            ip("link", "add", bridge, "type", "bridge")
            undo.callback(ip, "link", "del", bridge)
            ip("addr", "add", f"{NETWORK}.254/24", "dev", bridge)
            ip("link", "set", bridge, "up")
            for number, name in enumerate(names, 1):
                ip("netns", "add", name)
                undo.callback(ip, "netns", "del", name)
                here = f"shp{os.getpid()}v{number}"[:15]
                ip("link", "add", here, "type", "veth", "peer", "name", "eth0", "netns", name)
                ip("link", "set", here, "master", bridge, "up")
                ip("-n", name, "addr", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
                ip("-n", name, "link", "set", "eth0", "up")
                ip("-n", name, "link", "set", "lo", "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        yield names


@contextlib.contextmanager
def relay(endpoint: str) -> Iterator[str]:
    """The store, which listens on 127.0.0.1 only, as the hosts reach it: byte by byte through the bridge's address."""
    target = urlsplit(endpoint)
    server = socket.create_server((f"{NETWORK}.254", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = server.accept()
                far = socket.create_connection((target.hostname, target.port))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://{NETWORK}.254:{server.getsockname()[1]}"
    finally:
        server.close()


def operator_env(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What the training operator 1.9 adds for a worker of a job with an elastic policy and no master.

    pkg/controller.v1/pytorch/{envvar,elastic}.go. It adds no PET_NPROC_PER_NODE there.
    """
    policy = manifest["spec"]["elasticPolicy"]
    return {
        "PYTHONUNBUFFERED": "0",
        "PET_RDZV_ENDPOINT": f"{manifest['metadata']['name']}-worker-0:{policy['rdzvPort']}",
        "PET_RDZV_BACKEND": policy["rdzvBackend"],
        "PET_NNODES": f"{policy['minReplicas']}:{policy['maxReplicas']}",
        "PET_MAX_RESTARTS": str(policy["maxRestarts"]),
        "PET_RDZV_ID": policy["rdzvId"],
        "PET_RDZV_CONF": ",".join(f"{conf['key']}={conf['value']}" for conf in policy["rdzvConf"]),
    }


class Host:
    """A node with one worker's pod: a namespace, a host name, a scratch disk, and a kubelet that restarts.

    Args:
        manifest: the job.
        number: which worker.
        namespace: its network.
        folder: its disk.
        env: credentials and address of the store.
    """

    def __init__(
        self, manifest: Mapping[str, Any], number: int, namespace: str, folder: Path, env: Mapping[str, str]
    ) -> None:
        template = manifest["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
        assert manifest["spec"]["pytorchReplicaSpecs"]["Worker"]["restartPolicy"] == "OnFailure"
        (container,) = template["spec"]["containers"]
        self.folder, self.log = folder / "scratch", folder / "log"
        plain = {entry["name"]: entry["value"] for entry in container["env"]}
        own = {name: value.replace("/tmp", str(self.folder), 1) for name, value in plain.items()}  # the pod's own /tmp
        self.env = {
            **own,
            **operator_env(manifest),
            **env,
            "TMPDIR": str(self.folder),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HF_HUB_OFFLINE": "1",
        }
        name = f"{manifest['metadata']['name']}-worker-{number}"
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name]
        self.command = ["ip", "netns", "exec", namespace, *named, *container["command"], *container["args"]]
        self.starts = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.code: int | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._kubelet, daemon=True)
        folder.mkdir()
        self._thread.start()

    def _kubelet(self) -> None:
        while not self._stopping and self.code != 0 and self.starts < 8:
            self.folder.mkdir(exist_ok=True)
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    self.command, env=self.env, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
                )
            self.starts += 1
            self.code = self.process.wait()
            time.sleep(1)

    def lose(self) -> None:
        """The machine is gone, its disk with it; the scheduler puts the pod on another."""
        assert self.process is not None
        found = psutil.Process(self.process.pid)
        for process in [found, *found.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self) -> None:
        """End what still runs."""
        self._stopping = True
        if self.process is not None and self.process.poll() is None:
            self.lose()
        self._thread.join(10)

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def until(what: Callable[[], Any], hosts: list[Host], seconds: float = 90) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := what()):
        if time.monotonic() > deadline:
            pytest.fail(
                "\n".join(f"--- {host.env['PET_RDZV_ID']} {n}\n{host.text()[-3000:]}" for n, host in enumerate(hosts))
            )
        time.sleep(0.05)
    return value


def newest(place: str) -> int:
    """The step of the newest complete checkpoint in the store."""
    names = [file.name for file in storage.list_files(place) if file.name.endswith(f"/{storage.MARKER}")]
    return max((int(name.split("/")[-2].removeprefix("step-")) for name in names), default=0)


def unbroken(arguments: Mapping[str, str], folder: Path) -> Path:
    """The same training with nothing happening to it: two processes here."""
    output = folder / "unbroken"
    options = {**arguments, "output": str(output), "checkpoint_folder": str(folder / "checkpoints"), "save_steps": "0"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "components.finetuning", *(text for n, v in options.items() for text in (f"--{n}", v))]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True)
    return output


def test_either_host_may_be_lost(s3: str, tiny_model: Path, namespaces: list[str], tmp_path: Path) -> None:
    with storage.publish(f"{s3}/two/data", producer="test") as place:
        small_data().save(place)
    with storage.publish(f"{s3}/two/base", producer="test") as place:
        shutil.copytree(tiny_model, place, dirs_exist_ok=True)
    output = f"{s3}/two/model"
    arguments = {"data": f"{s3}/two/data", "model": f"{s3}/two/base", "output": output, **TRAINING}
    settings = JobSettings.checked({"nodes": 2, "processes": 1, "threads": 1, "image": "none", "backoff_limit": 5})
    manifest = pytorchjob(
        make_pod_spec_inputs(Job("components.finetuning", arguments, settings), LaunchContext("team", RUN))
    )
    names = [f"{manifest['metadata']['name']}-worker-{number}" for number in (0, 1)]
    for namespace in namespaces:
        # `ip netns exec` shows these in place of the machine's own /etc
        etc = Path("/etc/netns") / namespace
        etc.mkdir(parents=True)
        lines = ["127.0.0.1 localhost", *(f"{NETWORK}.{number} {name}" for number, name in enumerate(names, 1))]
        (etc / "hosts").write_text("\n".join(lines) + "\n")
    expected = unbroken(arguments, tmp_path)
    hosts: list[Host] = []
    try:
        with relay(os.environ["AWS_ENDPOINT_URL_S3"]) as endpoint:
            env = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
            env["AWS_ENDPOINT_URL_S3"] = endpoint
            for number, namespace in enumerate(namespaces):
                hosts.append(Host(manifest, number, namespace, tmp_path / f"host-{number}", env))
            place = f"{output}-checkpoints"
            for lost in (1, 0):
                before = until(lambda: newest(place), hosts)
                hosts[lost].lose()
                told = hosts[0].text().count("Training from step")
                until(lambda told=told: hosts[0].text().count("Training from step") > told, hosts)
                assert newest(place) >= before
                until(lambda before=before: newest(place) > before or storage.is_complete(output), hosts)
                assert not storage.is_complete(output), "the training was over before the second host was lost"
            until(lambda: all(host.code == 0 for host in hosts), hosts)
    finally:
        for host in hosts:
            host.stop()
        for namespace in namespaces:
            shutil.rmtree(Path("/etc/netns") / namespace)
    assert storage.read_manifest(output).run_id == RUN
    weights = [load_file(storage.open_artifact(str(folder)) / "model.safetensors") for folder in (output, expected)]
    assert weights[0].keys() == weights[1].keys()
    assert [name for name in weights[0] if not (weights[0][name] == weights[1][name]).all()] == []
    assert all(host.starts > 1 for host in hosts)
