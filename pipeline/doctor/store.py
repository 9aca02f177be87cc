"""The object store: does it do what is asked of it, and is what the run reads there?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from pipeline.doctor.finding import Finding, Visit
from pipeline.pods import STORE_CONFIG
from sharpen.errors import InputError, SharpenError
from sharpen.store import storage
from sharpen.store.check import try_store
from sharpen.uri import CredentialsError, Unreachable, parse_remote, split_addresses

_ENDPOINT = "AWS_ENDPOINT_URL_S3"
_IN_A_POD = "--pull asks from a pod; or set AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY here"


def address(visit: Visit) -> str:
    """The root address that runs write to; empty when nothing names one."""
    return visit.settings.store or (visit.runs.config_map(STORE_CONFIG) or {}).get("SHARPEN_STORE", "")


def store(visit: Visit) -> Iterator[Finding]:
    """The store, asked from here: read, write, write on condition, write in parts, delete."""
    root = address(visit)
    if not visit.settings.store:
        said = "store is not set; a cluster has no embedded store"
        yield Finding("store", "fail", said, f"--set store={root or 's3://BUCKET/KEY'}")
    if not root:
        return
    if not storage.is_remote(root):
        said = f"store {root} is on this machine only"
        yield Finding("store", "fail", said, "--set store=s3://BUCKET/KEY")
        return
    asked, endpoint, from_cluster = _from_here(visit, root)
    where = f"{root} at {endpoint}" if endpoint else root
    try:
        trials = try_store(asked)
    except (Unreachable, CredentialsError) as error:
        # the cluster's own address of its store often means nothing outside
        seen = from_cluster or isinstance(error, CredentialsError)
        yield Finding("store", "not checked" if seen else "fail", f"not seen from here: {error}", _IN_A_POD)
        return
    except InputError as error:
        yield Finding("store", "fail", str(error), "correct --set store=...")
        return
    for trial in trials:
        if trial.fault:
            yield Finding(f"store, {trial.operation}", "fail", trial.fault, _mend(trial.operation, root))
        else:
            yield Finding(f"store, {trial.operation}", "pass", where)
    if not trials[0].fault:
        yield from _inputs(visit)


def _inputs(visit: Visit) -> Iterator[Finding]:
    """What the run reads is where the settings say. Hub names and packages are known in the pod only."""
    settings = visit.settings
    named = {
        "train_data": split_addresses(settings.train_data),
        "eval_data": split_addresses(settings.eval_data),
        "base_model": [settings.base_model],
    }
    for setting, addresses in named.items():
        for place in addresses:
            if storage.is_remote(place):
                try:
                    there = storage.exists(_from_here(visit, place)[0])
                except SharpenError as error:
                    yield Finding(setting, "fail", str(error), f"correct --set {setting}=...")
                    continue
                if there:
                    yield Finding(setting, "pass", place)
                else:
                    yield Finding(
                        setting, "fail", f"nothing is at {place}", f"upload it, or correct --set {setting}=..."
                    )
            elif place.startswith(("/", ".", "~")):
                said = f"{place} is on this machine only"
                yield Finding(
                    setting, "fail", said, f"upload it to {root_of(address(visit))} and --set {setting}=s3://..."
                )


def root_of(root: str) -> str:
    """The bucket of an address."""
    return f"s3://{parse_remote(root).bucket}/"


def _from_here(visit: Visit, root: str) -> tuple[str, str, bool]:
    """Address to ask, its endpoint, and whether only the cluster named that endpoint."""
    named = parse_remote(root).endpoint
    here = named or next((os.environ[n] for n in (_ENDPOINT, "AWS_ENDPOINT_URL") if os.environ.get(n)), "")
    if here:
        return root, here, False
    inside = (visit.runs.config_map(STORE_CONFIG) or {}).get(_ENDPOINT, "")
    if not inside:
        return root, "", False
    mark = "&" if "?" in root else "?"
    return f"{root}{mark}endpoint={inside}", inside, True


def _mend(operation: str, root: str) -> str:
    bucket = parse_remote(root).bucket
    actions = "s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload"
    if operation == "read":
        return f"aws s3 ls s3://{bucket}   (the key needs {actions})"
    if operation == "conditional write":
        return "use a store with conditional writes: Amazon S3, SeaweedFS 4, MinIO of 2024-11 or newer"
    return f"give the key {actions} on {bucket}"
