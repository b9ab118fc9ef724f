"""What the client library sends its requests by, in place of a session of its own.

Its own obeys ``HTTP_PROXY``, and lets a ``~/.netrc`` entry replace the token's header: here the environment is not
trusted. It follows redirects, which would send an order to another address: they are not followed, and prove nothing.
It keeps few connections: here there is room for all threads. It turns figures into floats: they are read from the
wire's text as `Decimal`.
"""

from __future__ import annotations

import threading
from decimal import Decimal
from http.cookiejar import DefaultCookiePolicy
from typing import Any

from exec_broker_zerodha.failures import Seen


def plain_session(requests: Any, connections: int) -> Any:
    """A session of `requests` that asks nobody but Kite: no proxies, no netrc, no cookies, no second attempt."""
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("https://", "http://"):
        adapter = requests.adapters.HTTPAdapter(pool_connections=2, pool_maxsize=connections, max_retries=0)
        session.mount(scheme, adapter)
    return session


class Redirected(Exception):
    """The answer is that it should be sent elsewhere."""


class Line:
    """What the library sends its requests by, in place of a session of its own: notes what it sees of the answer."""

    def __init__(self, session: Any, local: threading.local) -> None:
        self._session = session
        self._local = local

    def __repr__(self) -> str:
        return "<the line to Kite>"

    def request(self, method: str, url: str, **options: Any) -> Any:
        """The answer, read exactly, and never from another address than was asked."""
        response = self._session.request(method, url, **{**options, "allow_redirects": False})
        if response.is_redirect:
            raise Redirected(
                f"Kite's address answers with a redirect (HTTP {response.status_code}), which is not followed"
            )
        seen: Seen = getattr(self._local, "answer", None) or Seen()
        seen.status, seen.date = response.status_code, response.headers.get("date")
        read = response.json

        def exact() -> Any:
            data = read(parse_float=Decimal, parse_constant=lambda _: None)
            if isinstance(data, dict) and isinstance(data.get("error_type"), str):
                seen.error_type = data["error_type"]
            return data

        response.json = exact
        return response
