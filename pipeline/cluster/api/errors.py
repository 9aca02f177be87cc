"""What went wrong between this client and the Kubeflow Pipelines API, and what to do about it in one line."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sharpen.errors import InputError, SharpenError, StepFailed
from sharpen.http_api import ApiError, parse_refusal

# google.rpc.Code -> HTTP status, for faults that the API answers with 500
_RPC_STATUS = {3: 400, 5: 404, 6: 409, 7: 403, 16: 401}
_HOW_TO_SIGN_IN = (
    "set one of KFP_TOKEN, KFP_TOKEN_FILE, KFP_COOKIES, or KFP_USERNAME and KFP_PASSWORD; or reach the API by kubectl "
    "port-forward"
)


class KfpError(ApiError):
    """A call was refused, or not answered; with status 0 it may or may not have taken effect.

    Attributes:
        action: what was being done, as it follows "cannot".
        unsent: no connection was made, so it has not.
    """

    action = "use the API"
    unsent = False


class SignInNeeded(KfpError):
    """The answer is a login page, or a way to one."""


class TlsError(KfpError):
    """No secure connection; calling again does not help."""

    @property
    def passing(self) -> bool:
        return False


def from_answer(status: int, reason: str, body: bytes | str | None, headers: Mapping[str, str]) -> KfpError:
    """The fault in an answer with a status of 300 or more.

    Args:
        status: of the answer.
        reason: phrase of its status line.
        body: its content.
        headers: its headers.
    """
    named = {name.lower(): value for name, value in headers.items()}
    if 300 <= status < 400:
        target = named.get("location", "")
        if re.search(r"dex|oauth|auth|login|sign", target, re.IGNORECASE):
            return SignInNeeded(status, "the way leads to a login page")
        return KfpError(status, f"the address leads on to {target}; give that as the endpoint")
    if "html" in named.get("content-type", ""):
        page = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
        title = re.search(r"<title>\s*([^<]{1,80})", page, re.IGNORECASE)
        return KfpError(status, f"{reason} ({title[1].strip()})" if title else reason)
    error = parse_refusal(status, reason, body, headers)
    if status == 500:
        status = _RPC_STATUS.get(int(error.body.get("code") or 0), status)
    return KfpError(status, " ".join(error.message.split())[:600], retry_after=error.retry_after)


def from_network(error: BaseException) -> KfpError:
    """The fault behind an exception of the HTTP client."""
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    fault = _from_network(error)
    fault.unsent = fault.passing and isinstance(error, (ConnectTimeoutError, NewConnectionError))
    return fault


def _from_network(error: BaseException) -> KfpError:
    said = " ".join(str(error).split())
    kind = f"{type(error).__name__} {said}"
    if "WRONG_VERSION_NUMBER" in kind or "record layer" in kind:
        return TlsError(0, "the endpoint does not speak TLS; write http:// instead of https://")
    if "SSL" in kind or "certificate" in kind.lower():
        why = re.search(r"certificate verify failed: ([^(\]]+)", said)
        return TlsError(0, f"its certificate is not trusted ({why[1].strip() if why else said[:200]})")
    if "Name or service not known" in said or "NameResolution" in kind or "getaddrinfo" in said:
        return KfpError(0, "no such host")
    if "refused" in said:
        return KfpError(0, "nothing listens there")
    if "timed out" in said.lower() or "Timeout" in kind:
        return KfpError(0, "no answer in time")
    return KfpError(0, f"the connection broke ({said[:200] or type(error).__name__})")


def explained(fault: KfpError, what: str, endpoint: str, credential_source: str) -> SharpenError:
    """The fault as one line for the user.

    Args:
        fault: what happened.
        what: what was being done, in words.
        endpoint: the API's address.
        credential_source: the environment variable or account that the credentials came from; empty: none were given.
    """
    if isinstance(fault, TlsError):
        hint = "" if "http://" in fault.message else "; name its certificate authority with --ca-cert FILE"
        return InputError(f"{endpoint}: no secure connection: {fault.message}{hint}")
    if isinstance(fault, SignInNeeded) or fault.status == 401:
        answer = "answers with a login page" if isinstance(fault, SignInNeeded) else "does not let you in (401)"
        if credential_source:
            return InputError(
                f"{endpoint} {answer}: what {credential_source} gives is wrong or has expired; get a new one"
            )
        return InputError(f"{endpoint} {answer}: {_HOW_TO_SIGN_IN}")
    if fault.status == 403:
        who = f"signed in by {credential_source}" if credential_source else "not signed in"
        return InputError(
            f"{what}: forbidden (403, {who}): {fault.message}; check --namespace, or ask for the role "
            "kubeflow-edit there"
        )
    if fault.status == 0:
        return InputError(
            f"{endpoint}: {fault.message} ({what}); is the address right, and does kubectl port-forward still run?"
        )
    if fault.status == 429 or fault.status >= 500:
        return StepFailed(f"{what}: the server cannot do it now ({fault}); try again later")
    return InputError(f"{what}: {fault}")
