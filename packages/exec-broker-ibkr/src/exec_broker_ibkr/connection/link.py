"""The TCP connection to TWS: bytes to messages and back, and nothing of what they mean.

The libraries' own connection is not used, for what it does in bad moments: it drops a message without a word where the
connection has just gone (``Connection.sendMsg``), lets ``eventkit`` swallow every exception of its readers, waits for
a stranger's greeting until the time is out, and asks the event loop policy for the loop with each message.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from typing import Final, cast

from exec_core.errors import ConnectionFailed

logger = logging.getLogger(__name__)

#: What IB's own client allows (``ibapi``, ``MAX_MSG_LEN``).
MESSAGE_LIMIT: Final = 0xFFFFFF
#: The answer to the greeting is a version and a time; what is longer is no such answer.
GREETING_LIMIT: Final = 1_000
#: How long a close waits for bytes that are still on their way out, before it drops them.
CLOSE_SECONDS: Final = 1.0

_LENGTH: Final = struct.Struct(">I")


class Link(asyncio.Protocol):
    """One connection. `message` gets the fields of each message, `ended` once the reason why it ended.

    `held` is told when the peer stops taking bytes (True) and when it takes them again (False): with a buffer of no
    size, so that no order ever waits in it to be sent later. `is_garbled` says that it ended for what came.
    """

    def __init__(
        self,
        message: Callable[[list[str]], None],
        ended: Callable[[str], None],
        held: Callable[[bool], None],
    ) -> None:
        self._message = message
        self._ended = ended
        self._held = held
        self._transport: asyncio.Transport | None = None
        self._gone = asyncio.get_running_loop().create_future()
        self._data = bytearray()
        self._limit = GREETING_LIMIT
        self._reason: str | None = None
        self.is_garbled = False

    @property
    def is_open(self) -> bool:
        """Whether bytes can be handed over."""
        return self._transport is not None and not self._transport.is_closing()

    def greet(self, lowest: int, highest: int) -> None:
        """Say which versions of the protocol we speak; the next message is the answer."""
        payload = f"v{lowest}..{highest}".encode()
        self._write(b"API\0" + _LENGTH.pack(len(payload)) + payload)

    def greeted(self) -> None:
        """The answer was one: from now on messages may be long."""
        self._limit = MESSAGE_LIMIT

    def send(self, payload: bytes) -> None:
        """Hand a message over: its fields, each with its NUL.

        :raises ConnectionFailed: the connection is gone; not a byte was handed over.
        """
        self._write(_LENGTH.pack(len(payload)) + payload)

    def abort(self, reason: str) -> None:
        """End it at once, for this reason."""
        if self._reason is None:
            self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """End it, and return when the socket is closed. Twice is fine."""
        transport = self._transport
        if transport is None:
            return
        if self._reason is None:
            self._reason = "the connection was closed"
        transport.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.shield(self._gone)
        except TimeoutError:
            transport.abort()
            await asyncio.shield(self._gone)
        except asyncio.CancelledError:
            transport.abort()
            raise

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._data += data
        while len(self._data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data)
            if not 0 < length <= self._limit:
                self.is_garbled = True
                self.abort(f"what came is not TWS's protocol: a message of {length} bytes was announced")
                self._data.clear()
                return
            end = _LENGTH.size + length
            if len(self._data) < end:
                return
            # As in the libraries: a byte that is no UTF-8 must not cost a message.
            text = bytes(self._data[_LENGTH.size : end]).decode(errors="backslashreplace")
            del self._data[:end]
            try:
                self._message(text.removesuffix("\0").split("\0"))
            except Exception:
                logger.exception("A message of TWS could not be handled and is lost; the line goes on")
            if not self.is_open:
                return

    def pause_writing(self) -> None:
        """The peer takes no more at the moment."""
        self._held(True)

    def resume_writing(self) -> None:
        """It has taken everything."""
        self._held(False)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._transport = None
        if not self._gone.done():
            self._gone.set_result(None)
        reason = self._reason or (f"the connection broke: {exc}" if exc else "TWS closed the connection")
        self._ended(reason)

    def _write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionFailed(self._reason or "the connection to TWS is gone", broker="ibkr")
        self._transport.write(data)
