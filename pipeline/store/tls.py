"""The certificate of a store's inner servers: without it none of them answers.

SeaweedFS is several servers in one process, which speak to each other over ports of this machine. With mutual TLS they
answer nobody but each other: no web page, no other user. Only S3, which asks for its keys, speaks plain HTTP.
"""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sharpen.store import local_store

CONFIGURATION = "security.toml"
_CERTIFICATE, _KEY = "inner.crt", "inner.key"
_GRPC = ("master", "volume", "filer", "s3", "admin", "worker", "client", "msg_broker", "msg_agent", "mq")
_HTTPS = ("master", "volume", "filer", "admin")


def write(directory: Path, host: str) -> None:
    """Write a new certificate, its key and the configuration that `weed` reads in its working folder.

    Args:
        directory: the store's folder.
        host: address that the servers listen on.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sharpen store")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        # a machine may run for years
        .not_valid_after(now + datetime.timedelta(days=36500))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    files = {
        _CERTIFICATE: certificate.public_bytes(pem),
        _KEY: key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        CONFIGURATION: _configuration().encode(),
    }
    for file, content in files.items():
        local_store.replace(directory / file, content, private=True)


def _configuration() -> str:
    pair = f'cert = "{_CERTIFICATE}"\nkey = "{_KEY}"\n'
    authority = f'ca = "{_CERTIFICATE}"\n'
    sections = [f"[grpc]\n{authority}", *(f"[grpc.{server}]\n{pair}" for server in _GRPC)]
    sections += [f"[https.client]\nenabled = true\n{pair}{authority}"]
    sections += [f"[https.{server}]\n{pair}{authority}" for server in _HTTPS]
    return "\n".join(sections)
