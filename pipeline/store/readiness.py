"""Whether the embedded store works: a file is stored and read."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

BUCKET = "sharpen"


def client_for(endpoint: str, keys: Mapping[str, str]) -> Any:
    """An S3 client of the store that neither waits long nor repeats, nor asks a proxy.

    Args:
        endpoint: the store's address.
        keys: ``access_key`` and ``secret_key``.
    """
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=keys.get("access_key"),
        aws_secret_access_key=keys.get("secret_key"),
        config=Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            connect_timeout=2,
            read_timeout=10,
            proxies={},
        ),
    )


def try_round_trip(client: Any) -> str:
    """Store and read a file, and make the bucket if need be; empty when it worked, else the fault.

    The port opens before the store works, so only this tells that it is ready.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    key, data = ".store-check", secrets.token_bytes(16)
    try:
        client.put_object(Bucket=BUCKET, Key=key, Body=data)
        same = client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == data
        client.delete_object(Bucket=BUCKET, Key=key)
        return "" if same else "it returned other data than it was given"
    except client.exceptions.NoSuchBucket:
        try:
            client.create_bucket(Bucket=BUCKET)
        except (BotoCoreError, ClientError) as error:
            return " ".join(str(error).split())
        return "the bucket was only just made"
    except (BotoCoreError, ClientError) as error:
        return " ".join(str(error).split())
