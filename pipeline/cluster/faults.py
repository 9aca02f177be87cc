"""What went wrong between this client and the Kubeflow Pipelines API, and what to do about it in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from sharpen.errors import InputError, SharpenError, StepFailed

#: answers after which the same call may succeed; 0: no answer
PASSING = (0, 408, 425, 429, 500, 502, 503, 504)
# google.rpc.Code -> HTTP status, for faults that the API answers with 500
_RPC_STATUS = {3: 400, 5: 404, 6: 409, 7: 403, 16: 401}
_HOW_TO_SIGN_IN = (
    "set one of KFP_TOKEN, KFP_TOKEN_FILE, KFP_COOKIES, or KFP_USERNAME and KFP_PASSWORD; or reach the API by kubectl "
    "port-forward"
)


class ApiFault(Exception):
    """A call was refused, or not answered.

    Attributes:
        status: HTTP status; 0: no answer came, and the call may or may not have taken effect.
        message: what the server or the network said.
        retry_after: seconds that the server asked to wait.
        what: what was being done, as it follows "cannot".
    """

    def __init__(self, status: int, message: str, retry_after: float = 0.0) -> None:
        super().__init__(f"{status} {message}" if status else message)
        self.status, self.message, self.retry_after = status, message, retry_after
        self.what = "use the API"

    @property
    def passing(self) -> bool:
        """True if the same call may succeed later."""
        return self.status in PASSING


class SignInNeeded(ApiFault):
    """The answer is a login page, or a way to one."""


class TlsFault(ApiFault):
    """No secure connection; calling again does not help."""

    @property
    def passing(self) -> bool:
        return False


def from_answer(status: int, reason: str, body: str, headers: Mapping[str, str]) -> ApiFault:
    """The fault in an answer with a status of 300 or more."""
    named = {name.lower(): value for name, value in headers.items()}
    if 300 <= status < 400:
        target = named.get("location", "")
        if re.search(r"dex|oauth|auth|login|sign", target, re.IGNORECASE):
            return SignInNeeded(status, "the way leads to a login page")
        return ApiFault(status, f"the address leads on to {target}; give that as the endpoint")
    if "html" in named.get("content-type", ""):
        title = re.search(r"<title>\s*([^<]{1,80})", body, re.IGNORECASE)
        return ApiFault(status, f"{reason} ({title[1].strip()})" if title else reason)
    try:
        said = json.loads(body)
    except ValueError:
        said = {}
    if not isinstance(said, dict):
        said = {}
    if status == 500:
        status = _RPC_STATUS.get(int(said.get("code") or 0), status)
    # the upload's answers have a form of their own
    message = str(said.get("message") or said.get("error_message") or said.get("error") or body.strip()[:300] or reason)
    asked = named.get("retry-after", "")
    return ApiFault(status, " ".join(message.split())[:600], float(asked) if asked.isdigit() else 0.0)


def from_network(error: BaseException) -> ApiFault:
    """The fault behind an exception of the HTTP client."""
    said = " ".join(str(error).split())
    kind = f"{type(error).__name__} {said}"
    if "WRONG_VERSION_NUMBER" in kind or "record layer" in kind:
        return TlsFault(0, "the endpoint does not speak TLS; write http:// instead of https://")
    if "SSL" in kind or "certificate" in kind.lower():
        why = re.search(r"certificate verify failed: ([^(\]]+)", said)
        return TlsFault(0, f"its certificate is not trusted ({why[1].strip() if why else said[:200]})")
    if "Name or service not known" in said or "NameResolution" in kind or "getaddrinfo" in said:
        return ApiFault(0, "no such host")
    if "refused" in said:
        return ApiFault(0, "nothing listens there")
    if "timed out" in said.lower() or "Timeout" in kind:
        return ApiFault(0, "no answer in time")
    return ApiFault(0, f"the connection broke ({said[:200] or type(error).__name__})")


def explained(fault: ApiFault, what: str, endpoint: str, proof: str) -> SharpenError:
    """The fault as one line for the user.

    Args:
        fault: what happened.
        what: what was being done, in words.
        endpoint: the API's address.
        proof: the environment variable or account that the credentials came from; empty: none were given.
    """
    if isinstance(fault, TlsFault):
        hint = "" if "http://" in fault.message else "; name its certificate authority with --ca-cert FILE"
        return InputError(f"{endpoint}: no secure connection: {fault.message}{hint}")
    if isinstance(fault, SignInNeeded) or fault.status == 401:
        said = "answers with a login page" if isinstance(fault, SignInNeeded) else "does not let you in (401)"
        if proof:
            return InputError(f"{endpoint} {said}: what {proof} gives is wrong or has expired; get a new one")
        return InputError(f"{endpoint} {said}: {_HOW_TO_SIGN_IN}")
    if fault.status == 403:
        who = f"signed in by {proof}" if proof else "not signed in"
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
