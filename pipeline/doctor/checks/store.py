"""The object store: does it do what is asked of it, and is what the run reads there?

It is asked with the credentials that are set here; where none are, or where only the cluster names the store, with
those of the cluster's secret, if it may be read.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.doctor.finding import CheckContext, Finding
from pipeline.pods import STORE_KEYS, STORE_SECRET
from sharpen.data.source_settings import addresses_in
from sharpen.errors import InputError, SharpenError
from sharpen.jobs.kubernetes.errors import KubernetesError
from sharpen.store import storage
from sharpen.store.check import try_store
from sharpen.uri import CredentialsError, Unreachable, parse_remote

_ENDPOINT = "AWS_ENDPOINT_URL_S3"
_ACTIONS = "s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload"


def check(context: CheckContext) -> Iterator[Finding]:
    """The store, asked from here: read, write, write on condition, write in parts, delete; then the run's inputs."""
    config = context.store_config
    root = context.settings.store or config.get("SHARPEN_STORE", "")
    if not root:
        detail = (
            "store is not set, and the ConfigMap sharpen-store has no SHARPEN_STORE; a cluster has no embedded store"
        )
        yield Finding("store", "fail", detail, "--set store=s3://BUCKET/KEY")
        return
    if not storage.is_remote(root):
        yield Finding("store", "fail", f"store {root} is on this machine only", "--set store=s3://BUCKET/KEY")
        return
    asked, only_inside = _seen_from_here(root, config)
    with _credentials(context, of_cluster=only_inside):
        yield from _trials(context, root, asked, only_inside)


def _trials(context: CheckContext, root: str, asked: str, only_inside: bool) -> Iterator[Finding]:
    """What the store does, and where it does it all, the run's inputs.

    Args:
        context: cluster and settings.
        root: address of the store, as the run has it.
        asked: the same, as it is asked from here.
        only_inside: only the cluster names its endpoint.
    """
    try:
        trials = try_store(asked)
    except (Unreachable, CredentialsError) as error:
        # the cluster's own address of its store often means nothing outside
        unknown = only_inside or isinstance(error, CredentialsError)
        remedy = (
            f"kubectl create job --namespace {context.runs.namespace} --from=cronjob/sharpen-store-check store-check "
            f"asks from a pod; or set {_ENDPOINT}, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY here"
        )
        yield Finding("store", "not checked" if unknown else "fail", f"not seen from here: {error}", remedy)
        return
    except InputError as error:
        yield Finding("store", "fail", str(error), "correct --set store=...")
        return
    for operation, fault in trials:
        remedy = f"the key needs {_ACTIONS} on s3://{parse_remote(root).bucket}"
        if operation == "conditional write":
            remedy = "use a store with conditional writes: Amazon S3, SeaweedFS 4, MinIO of 2024-11 or newer"
        state = "fail" if fault else "pass"
        yield Finding(f"store, {operation}", state, fault or root, remedy if fault else "")
    if not trials[0].fault:
        yield from _inputs(context, root, context.store_config)


@contextmanager
def _credentials(context: CheckContext, *, of_cluster: bool) -> Iterator[None]:
    """The environment with the keys that the run's pods have, where this machine has none or those of another store.

    Args:
        context: cluster and settings.
        of_cluster: only the cluster names the store.
    """
    own = any(os.environ.get(name) for name in (*STORE_KEYS.values(), "AWS_PROFILE"))
    keys = _keys_of_cluster(context) if of_cluster or not own else {}
    # a token of a session belongs to other keys
    before = {name: os.environ.pop(name, None) for name in [*keys, "AWS_SESSION_TOKEN"]} if keys else {}
    os.environ.update(keys)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _keys_of_cluster(context: CheckContext) -> dict[str, str]:
    """Environment variable -> its value in the cluster's secret; empty where it may not be read or lacks a key."""
    try:
        data = context.runs.data("secrets", STORE_SECRET) or {}
        return {name: base64.b64decode(data[key]).decode() for key, name in STORE_KEYS.items()}
    except KubernetesError as error:
        if error.status != 403:
            raise
        return {}
    except (KeyError, ValueError):
        return {}


def _inputs(context: CheckContext, root: str, config: dict[str, str]) -> Iterator[Finding]:
    """What the run reads is where the settings say. Hub names and packages are known in the pod only."""
    settings = context.settings
    named = {
        "train_data": addresses_in(settings.train_data),
        "eval_data": addresses_in(settings.eval_data),
        "base_model": [settings.base_model],
    }
    for setting, address in ((name, address) for name, addresses in named.items() for address in addresses):
        correct = f"correct --set {setting}=..."
        if storage.is_remote(address):
            try:
                there = storage.exists(_seen_from_here(address, config)[0])
            except SharpenError as error:
                yield Finding(setting, "fail", str(error), correct)
                continue
            if there:
                yield Finding(setting, "pass", address)
            else:
                yield Finding(setting, "fail", f"nothing is at {address}", f"upload it, or {correct}")
        elif address.startswith(("/", ".", "~")):
            remedy = f"upload it to s3://{parse_remote(root).bucket}/ and --set {setting}=s3://..."
            yield Finding(setting, "fail", f"{address} is on this machine only", remedy)


def _seen_from_here(uri: str, config: dict[str, str]) -> tuple[str, bool]:
    """The URI to ask from here, and whether only the cluster named its endpoint."""
    named = parse_remote(uri).endpoint or any(os.environ.get(name) for name in (_ENDPOINT, "AWS_ENDPOINT_URL"))
    inside = config.get(_ENDPOINT, "")
    if named or not inside:
        return uri, False
    return f"{uri}{'&' if '?' in uri else '?'}endpoint={inside}", True
