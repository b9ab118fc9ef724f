"""The client library's codec on its own: requests to text, messages to calls of `Ears`. No sockets here."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import Any, Final

from exec_broker_ibkr.connection.sdk import Sdk
from exec_broker_ibkr.connection.times import epoch_seconds

#: The versions of the protocol that are spoken here; both libraries know all of them.
LOWEST_VERSION: Final = 157
HIGHEST_VERSION: Final = 176

_EXECUTION: Final = 11
_EXECUTION_TIME: Final = 15


class Encoder:
    """Spells requests, by means of the methods of the library's ``Client``.

    The client is never connected: its `sendMsg`, which gets the finished text of a message, keeps that text instead of
    sending it. So a message that cannot be spelled fails before anything is sent, and nothing waits in its throttle.
    """

    def __init__(self, sdk: Sdk, server_version: int, client_id: int) -> None:
        self._payloads: list[str] = []
        client = sdk.client(None)
        client.clientId = client_id
        client.serverVersion = lambda: server_version
        client.isConnected = lambda: True
        client.sendMsg = self._payloads.append
        self._client = client

    def spell(self, request: str, *arguments: object) -> bytes:
        """The message for a request, without its length: `request` is the name of the client's method.

        :raises ValueError: there is no way to spell it.
        """
        self._payloads.clear()
        getattr(self._client, request)(*arguments)
        (payload,) = self._payloads
        return payload.encode()


class Decoder:
    """Reads messages, by means of the library's ``Decoder``, which calls the methods of `ears`.

    `failed` is told of a message that cannot be read: its number, and the error.
    The library itself would only log it, all its fields included.
    """

    def __init__(
        self, sdk: Sdk, server_version: int, ears: object, zone: tzinfo | None, failed: Callable[[int, str], None]
    ) -> None:
        self._zone = zone
        self._failed = failed
        self._failures = _Failures()
        self._decoder = sdk.decoder(ears, server_version)
        self._decoder.logger = self._failures

    def read(self, number: int, fields: Sequence[str]) -> None:
        """One message, whose number is `number`; does not raise for what is in it."""
        taken = list(fields)
        if number == _EXECUTION and len(taken) > _EXECUTION_TIME:
            # The one time that the libraries misread, or cannot read and then lose the execution: see `times`.
            taken[_EXECUTION_TIME] = epoch_seconds(taken[_EXECUTION_TIME], self._zone)
        self._decoder.interpret(taken)
        failure = self._failures.take()
        if failure is not None:
            self._failed(number, failure)


class _Failures(logging.LoggerAdapter[logging.Logger]):
    """Stands in for the decoder's logger: keeps the error, and not the message."""

    def __init__(self) -> None:
        super().__init__(logging.getLogger(__name__), {})
        self._last: str | None = None

    def exception(self, *_args: object, **_kwargs: Any) -> None:
        """The decoder has caught one."""
        error = sys.exc_info()[1]
        self._last = f"{type(error).__name__}: {error}"

    def take(self) -> str | None:
        """What was caught since the last time, if anything."""
        last, self._last = self._last, None
        return last
