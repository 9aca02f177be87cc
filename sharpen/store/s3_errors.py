"""What an error of the S3 client library means, in one line: whose fault it is, and whether it passes by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sharpen.errors import InputError, NoSpace, SharpenError, StepFailed
from sharpen.store.s3_client import endpoint_of
from sharpen.uri import (
    CredentialsError,
    DamagedTransfer,
    NotFound,
    PreconditionFailed,
    S3Uri,
    StoreUnavailable,
    Unreachable,
)

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html, and what look-alikes add
_PASSING_CODES = {
    "SlowDown",
    "SlowDownRead",
    "SlowDownWrite",
    "RequestTimeout",
    "RequestTimeoutException",
    "InternalError",
    "ServiceUnavailable",
    "ServerBusy",
    "OperationAborted",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "XMinioServerNotInitialized",
}
_PASSING_STATUS = {408, 429, 500, 502, 503, 504}
_DAMAGED_CODES = {"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody"}


def fault_of(remote: S3Uri, error: Exception) -> Exception:
    """The plain fault behind an error of the client library; the error itself where it is a defect of ours.

    `StoreUnavailable` and `Unreachable` (no connection, or no answer of an object store) may pass by themselves.
    """
    from boto3.exceptions import Boto3Error
    from botocore import exceptions as faults
    from botocore.parsers import ResponseParserError

    if isinstance(error, (SharpenError, PreconditionFailed)):
        return error
    if isinstance(error, faults.ClientError):
        return _of_answer(remote, error)
    if isinstance(error, (faults.NoCredentialsError, faults.PartialCredentialsError, faults.ProfileNotFound)):
        return CredentialsError(
            f"{remote.uri}: no credentials for the object store ({_line(error)}); "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if isinstance(error, faults.CredentialRetrievalError):
        return Unreachable(
            f"{remote.uri}: the service that gives credentials for the object store fails ({_line(error)})",
            "are AWS_PROFILE and the service account right?",
        )
    if isinstance(error, faults.FlexibleChecksumError):
        return DamagedTransfer(f"{remote.uri}: damaged on its way from the object store ({_line(error)})")
    if isinstance(error, ResponseParserError):
        return no_store(remote, "what it sends is not XML")
    broken = (faults.ConnectionError, faults.HTTPClientError, faults.IncompleteReadError)
    if isinstance(error, (*broken, ConnectionError, TimeoutError)):
        return Unreachable(
            f"{remote.uri}: cannot reach the object store at {endpoint_of(remote)} ({_reason(error)})",
            "is it running, and is AWS_ENDPOINT_URL_S3 right?",
        )
    if isinstance(error, (faults.BotoCoreError, Boto3Error)):
        cause = error.__context__
        if isinstance(cause, faults.ClientError):
            return _of_answer(remote, cause)
        return StepFailed(f"{remote.uri}: {_line(error)}")
    return error


def no_store(remote: S3Uri, reason: str) -> Unreachable:
    """The fault that a server's answer is not that of an object store."""
    return Unreachable(
        f"{remote.uri}: {endpoint_of(remote)} does not answer as an object store does ({reason})",
        "is AWS_ENDPOINT_URL_S3 right?",
    )


def code_of(error: ClientError) -> str:
    """The error's code in the store's words; a number where the answer was not the store's own XML."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _of_answer(remote: S3Uri, error: ClientError) -> Exception:
    code = code_of(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    where = f"{remote.uri}: "
    if code in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
        return PreconditionFailed(f"{where}changed by somebody else")
    if code == "NoSuchBucket":
        return InputError(f"{where}no bucket {remote.bucket!r} at {endpoint_of(remote)}; create it or correct the name")
    if error.operation_name == "ListObjectsV2" and code.isdecimal() and status not in (403, 412):
        # a listing's answer has a body, so a store says in XML what is wrong
        return no_store(remote, f"status {status}")
    if code in ("NoSuchKey", "NotFound", "404"):
        return NotFound(f"{where}no such file")
    if code == "SignatureDoesNotMatch":
        return InputError(f"{where}the secret is wrong for this access key; check AWS_SECRET_ACCESS_KEY")
    if code in ("InvalidAccessKeyId", "InvalidClientTokenId"):
        return InputError(f"{where}{endpoint_of(remote)} does not know this access key; check AWS_ACCESS_KEY_ID")
    if code in ("ExpiredToken", "InvalidToken", "ExpiredTokenException"):
        return InputError(f"{where}the session token has expired or is wrong; renew AWS_SESSION_TOKEN")
    if code in ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"):
        return InputError(f"{where}the bucket {remote.bucket!r} is in another region; set AWS_REGION ({_line(error)})")
    if code == "RequestTimeTooSkewed":
        return InputError(f"{where}the clock of this machine is wrong; the store refuses its signature")
    if code == "KeyTooLongError":
        return InputError(f"{where}the key is too long; S3 takes 1,024 bytes")
    if code in ("InsufficientStorage", "XMinioStorageFull", "QuotaExceeded", "507"):
        return NoSpace(f"{where}no space left in the object store; free some space")
    if code in _DAMAGED_CODES:
        return DamagedTransfer(f"{where}damaged on its way to the object store ({code})")
    if status == 403 or code in ("AccessDenied", "403"):
        return InputError(f"{where}access denied; this key may not do this on bucket {remote.bucket!r}")
    if code in _PASSING_CODES or status in _PASSING_STATUS:
        return StoreUnavailable(f"{where}{endpoint_of(remote)} answers {code or status} ({_line(error)})")
    return StepFailed(f"{where}the object store answered {code or status}: {_line(error)}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _reason(error: BaseException) -> str:
    """The innermost cause in a few words; the library's own text repeats the whole request."""
    innermost = error
    while innermost.__context__ is not None and innermost.__context__ is not innermost:
        innermost = innermost.__context__
    for text in (_line(error), _line(innermost)):
        for known in ("Connection refused", "Name or service not known", "No route to host", "timed out", "timeout"):
            if known.lower() in text.lower():
                return known.lower()
    return _line(innermost)[:160]
