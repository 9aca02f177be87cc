"""The object store: does it do what is asked of it, and is what the run reads there?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from pipeline.doctor.finding import CheckContext, Finding
from sharpen.errors import InputError, SharpenError
from sharpen.store import storage
from sharpen.store.check import try_store
from sharpen.uri import CredentialsError, Unreachable, parse_remote, split_addresses

_ENDPOINT = "AWS_ENDPOINT_URL_S3"
_ACTIONS = "s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload"


def check(context: CheckContext) -> Iterator[Finding]:
    """The store, asked from here: read, write, write on condition, write in parts, delete; then the run's inputs."""
    config = context.store_config
    root = context.settings.store or config.get("SHARPEN_STORE", "")
    if not context.settings.store:
        detail = "store is not set; a cluster has no embedded store"
        yield Finding("store", "fail", detail, f"--set store={root or 's3://BUCKET/KEY'}")
    if not root:
        return
    if not storage.is_remote(root):
        yield Finding("store", "fail", f"store {root} is on this machine only", "--set store=s3://BUCKET/KEY")
        return
    asked, only_inside = _seen_from_here(root, config)
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
        yield from _inputs(context, root, config)


def _inputs(context: CheckContext, root: str, config: dict[str, str]) -> Iterator[Finding]:
    """What the run reads is where the settings say. Hub names and packages are known in the pod only."""
    settings = context.settings
    named = {
        "train_data": split_addresses(settings.train_data),
        "eval_data": split_addresses(settings.eval_data),
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
