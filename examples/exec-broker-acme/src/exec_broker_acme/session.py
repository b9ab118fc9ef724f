"""The connection to Acme: the only module that touches the HTTP library, and that judges what an answer proves."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from exec_core import AuthenticationFailed, Availability, AvailabilityState, ConfigurationError, ConnectionFailed
from exec_core.clock import utc_now

from exec_broker_acme.settings import AcmeSettings

if TYPE_CHECKING:
    import aiohttp


class Refused(Exception):
    """Acme understood the request and will not do it; the text is its reason."""


class Session:
    """HTTP under one token. `availability` is what the last answer, or its absence, tells of the line."""

    def __init__(self, settings: AcmeSettings) -> None:
        self._settings = settings
        self._http: aiohttp.ClientSession | None = None
        self.availability = Availability(AvailabilityState.DISCONNECTED, utc_now(), "not connected")

    async def open(self) -> None:
        """Check token and account. :raises NotSent, ConfigurationError: as the contract says."""
        import aiohttp  # not earlier: whoever only lists the plugins should not wait for it

        seconds = self._settings.timeout_seconds
        headers = {"Authorization": f"Bearer {self._settings.token.get_secret_value()}"}
        timeout = aiohttp.ClientTimeout(seconds, connect=seconds / 2)
        self._http = aiohttp.ClientSession(self._settings.url, headers=headers, timeout=timeout)
        try:
            account = (await self.request("GET", "/account"))["id"]
            if account != self._settings.account:
                raise ConfigurationError(f"Acme's token belongs to account {account}, not {self._settings.account}")
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of the connections."""
        http, self._http = self._http, None
        self._is(AvailabilityState.DISCONNECTED, "the session is closed")
        if http is not None:
            await http.close()

    async def request(self, method: str, path: str, body: object = None) -> Any:
        """Acme's answer. Whatever is raised beyond these may have come after Acme did what it was asked.

        :raises NotSent: proven that Acme did nothing.
        :raises Refused: Acme says that it did nothing, and why.
        """
        import aiohttp

        if self._http is None:
            raise ConnectionFailed("The session with Acme is not open")
        try:
            # A redirect would be a second request, whose failure proves nothing about the first.
            async with self._http.request(method, path, json=body, allow_redirects=False) as response:
                status, text = response.status, await response.text()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            self._is(AvailabilityState.DISCONNECTED, str(error))
            raise ConnectionFailed(f"Acme cannot be reached: {error}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            self._is(AvailabilityState.DISCONNECTED, f"the line broke: {error}")
            raise
        if status == 401:
            self._is(AvailabilityState.LOGIN_NEEDED, "Acme wants a new token")
            raise AuthenticationFailed("Acme wants a new token")
        if status >= 500:
            self._is(AvailabilityState.DISCONNECTED, f"Acme answers {status}")
        else:
            self._is(AvailabilityState.READY)
        if status not in (200, 201, 202, 404, 409, 422):
            # Not with `raise_for_status`: the repr of that error holds the headers, and so the token.
            raise RuntimeError(f"Acme answered {status} to {method} {path}")
        answer = json.loads(text, parse_float=Decimal)
        if status >= 400:
            raise Refused(answer["error"])
        return answer

    def _is(self, state: AvailabilityState, reason: str | None = None) -> None:
        if self.availability.state is not state:
            self.availability = Availability(state, utc_now(), reason)
