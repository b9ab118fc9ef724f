"""One client's connection to the simulated TWS: its greeting, its messages, and what it is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

from exec_broker_ibkr.messages import ErrorTold
from exec_broker_ibkr.simulator import outbound, requests
from exec_broker_ibkr.simulator.fields import Unreadable
from exec_broker_ibkr.simulator.inbound import decode
from exec_broker_ibkr.simulator.wire import WireError, frame, greeting_answer, read_greeting, read_message

logger = logging.getLogger(__name__)


class Owner(Protocol):
    """Whom a connection belongs to: it decides what is answered."""

    def heard(self, connection: Connection, request: requests.Request) -> None:
        """The client asks for something."""

    def is_deaf(self) -> bool:
        """Whether bytes are taken and nothing comes of them."""

    def gone(self, connection: Connection) -> None:
        """The connection is over."""


class Connection:
    """One connection. `client_id` is None until the client has said who it is."""

    def __init__(self, owner: Owner, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.client_id: int | None = None
        self.wants_positions = False
        self._owner = owner
        self._reader = reader
        self._writer = writer
        self._version = 0

    async def serve(self) -> None:
        """Until it is over, whoever ends it."""
        try:
            await self._talk()
        except WireError as error:
            logger.warning("A connection is dropped: %s", error)
        except OSError as error:
            logger.info("A connection broke: %s", error)
        finally:
            self._owner.gone(self)
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()

    async def _talk(self) -> None:
        greeting = await read_greeting(self._reader)
        if greeting is None:
            return
        if self._owner.is_deaf():
            while await self._reader.read(65_536):
                pass
            return
        self._version = greeting.version(outbound.SERVER_VERSION)
        self._writer.write(greeting_answer(self._version, datetime.now(UTC)))
        while (fields := await read_message(self._reader)) is not None:
            if not self._owner.is_deaf():
                self._take(fields)
            await self._writer.drain()

    def _take(self, fields: list[str]) -> None:
        try:
            request = decode(fields, self._version)
        except Unreadable as error:
            logger.warning("A message is refused: %s", error)
            self.tell([outbound.error(ErrorTold(error.request_id, 320, f"Error reading request: {error}"))])
            return
        if isinstance(request, requests.NotUnderstood):
            logger.info("A message that is not known here is left unanswered: %s", request.fields[:3])
        self._owner.heard(self, request)

    def tell(self, messages: Iterable[list[str]]) -> None:
        """Send these, in this order; nothing where the connection is over."""
        if not self._writer.is_closing():
            self._writer.writelines([frame(fields) for fields in messages])

    def finish(self) -> None:
        """End it in order: what was told still arrives."""
        self._writer.close()

    def cut(self) -> None:
        """End it at once, as a broken line does: what is under way is lost."""
        self._writer.transport.abort()
