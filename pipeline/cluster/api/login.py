"""Sign in through the forms of Dex, which stands before Kubeflow's pages and API: name and password -> session cookies.

The way is that of Kubeflow's documentation, "Connect the SDK to the API": pages lead to Dex's form, by way of
oauth2-proxy's in newer releases, and the answer to the form leads back with cookies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode, urljoin, urlsplit

from pipeline.cluster.api.errors import from_network
from sharpen.errors import InputError

if TYPE_CHECKING:
    import requests

_TIMEOUT = 30


def cookies_for(endpoint: str, username: str, password: str, *, connector: str = "local", ca_cert: str = "") -> str:
    """The cookies of a new session, as a `Cookie` header has them; empty where nobody has to sign in.

    Args:
        endpoint: address of Kubeflow's pages.
        username: name for the form.
        password: password for the form.
        connector: which of Dex's ways to log in, as its page names it.
        ca_cert: file with the certificate authority; empty: public ones.

    Raises:
        InputError: the endpoint cannot be reached, shows no login form, or refuses name and password.
    """
    import requests

    try:
        with requests.Session() as session:
            session.verify = ca_cert or True
            form = _form(session, endpoint, connector)
            return _sign_in(session, form, username, password) if form else ""
    except requests.RequestException as error:
        raise InputError(f"{endpoint}: signing in failed: {from_network(error).message}") from None


def _form(session: requests.Session, endpoint: str, connector: str) -> str:
    """The address that takes name and password; empty where no login is asked for."""
    page = session.get(endpoint, timeout=_TIMEOUT)
    if page.status_code in (401, 403):
        # oauth2-proxy shows a page with a button; this is where the button leads
        start = f"/oauth2/start?{urlencode({'rd': urlsplit(page.url).path or '/'})}"
        page = session.get(urljoin(page.url, start), timeout=_TIMEOUT)
    if page.status_code != 200:
        raise InputError(f"{endpoint}: no login form there (the answer is {page.status_code}); check --endpoint")
    if not page.history:
        return ""
    parts = urlsplit(page.url)
    if parts.path.rstrip("/").endswith("/auth"):
        chosen = parts._replace(path=f"{parts.path.rstrip('/')}/{connector}").geturl()
        page = session.get(chosen, timeout=_TIMEOUT)
        parts = urlsplit(page.url)
    if page.status_code != 200 or not parts.path.rstrip("/").endswith("/login"):
        raise InputError(f"{endpoint}: Dex has no form named {connector!r}; set KFP_DEX_CONNECTOR, or KFP_COOKIES")
    return page.url


def _sign_in(session: requests.Session, form: str, username: str, password: str) -> str:
    answer = session.post(form, data={"login": username, "password": password}, timeout=_TIMEOUT)
    if not answer.history:
        # Dex leads on only when it accepts them
        raise InputError(f"{form.split('?')[0]}: KFP_USERNAME and KFP_PASSWORD are not accepted")
    if urlsplit(answer.url).path.rstrip("/").endswith("/approval"):
        answer = session.post(answer.url, data={"approval": "approve"}, timeout=_TIMEOUT)
    found = "; ".join(f"{cookie.name}={cookie.value}" for cookie in session.cookies)
    if answer.status_code != 200 or not found:
        raise InputError(f"{form.split('?')[0]}: signed in, but no session came of it (answer {answer.status_code})")
    return found
