"""What the Kubernetes API answers when it does not do what it is asked: one error, whatever the client's version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sharpen import http_api, retry
from sharpen.errors import StepFailed
from sharpen.jobs.kubernetes.diagnosis import refusal


class KubernetesError(http_api.ApiError):
    """The API refused a call, or could not be reached (status 0)."""

    @property
    def passing(self) -> bool:
        """True if the same call may succeed later: also after a rotated token, an expired version or a conflict."""
        return super().passing or self.status in (401, 410) or (self.status == 409 and self.reason != "AlreadyExists")


def explained(error: KubernetesError, what: str) -> StepFailed:
    """A call that was refused for good, in one line with what to do."""
    if error.status and (known := refusal(error.message)):
        return StepFailed(f"{what}: {known.line}")
    hints = {
        0: "the API server cannot be reached",
        401: "the service account's token is refused",
        403: "the step's service account needs the rights in k8s/, or an admission rule says no",
        404: "the cluster does not know this kind; install its operator or choose another job.backend",
        422: "the cluster refuses the manifest",
    }
    hint = f" ({hints[error.status]})" if error.status in hints else ""
    return StepFailed(retry.explain(error, f"{what}: {error.message}{hint}"))


@contextmanager
def translate_kubernetes_errors() -> Iterator[None]:
    """Turn the client's and the connection's errors within the block into `KubernetesError`."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise _refusal(error.status or 0, error.reason, error.body, error.headers) from None
    except (HTTPError, OSError) as error:
        raise KubernetesError(0, str(error), type(error).__name__) from None


def raise_for_status(response: Any) -> None:
    """Raise KubernetesError for a plain response that is a refusal; only some versions of the client do so."""
    if response.status >= 400:
        raise _refusal(response.status, response.reason, response.data, response.headers)


def _refusal(status: int, reason: str | None, body: Any, headers: Any) -> KubernetesError:
    error = http_api.parse_refusal(status, reason or "", body, dict(headers or {}))
    return KubernetesError(error.status, error.message, error.reason, error.retry_after)
