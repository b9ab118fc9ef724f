"""A TWS that says what a test tells it to: real sockets, the real framing, and no book behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from exec_broker_ibkr.simulator import inbound, outbound, requests, wire

DEADLINE = 60.0

Raw = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Answer = Callable[["Client", requests.Request], None]


class Client:
    """One connected client, as the server sees it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer

    def say(self, *messages: list[str]) -> None:
        self.writer.write(b"".join(wire.frame(message) for message in messages))

    def say_bytes(self, data: bytes) -> None:
        self.writer.write(data)

    def cut(self) -> None:
        """The connection breaks."""
        self.writer.transport.abort()

    def hang_up(self) -> None:
        """The connection is closed, what was said is delivered before."""
        self.writer.close()


class ScriptedTws:
    """Answers each kind of request as scripted in `on`; the start of the API it answers by itself."""

    def __init__(self) -> None:
        self.on: dict[type[requests.Request], Answer] = {requests.StartApi: self.welcome}
        self.version = wire_version = outbound.SERVER_VERSION
        assert wire_version == 176
        self.accounts = ("DU1",)
        self.next_id = 1
        self.raw: Raw | None = None
        self.received: list[requests.Request] = []
        self.clients: list[Client] = []
        self.open_sockets = 0
        self.port = 0
        self.problems: list[BaseException] = []
        self._changed = asyncio.Event()

    def welcome(self, client: Client, _request: requests.Request) -> None:
        client.say(outbound.managed_accounts(self.accounts), outbound.next_valid_id(self.next_id))

    def got(self, kind: type[requests.Request]) -> list[requests.Request]:
        return [request for request in self.received if isinstance(request, kind)]

    @property
    def client(self) -> Client:
        return self.clients[-1]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is so; whatever happens at the server wakes this."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open_sockets += 1
        try:
            if self.raw is not None:
                await self.raw(reader, writer)
            else:
                await self._talk(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client cut the connection, or the test is over
        except BaseException as problem:
            self.problems.append(problem)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self.open_sockets -= 1
            self._changed.set()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeting = await wire.read_greeting(reader)
        if greeting is None:
            return
        assert (greeting.lowest, greeting.highest) == (157, 176)
        writer.write(wire.greeting_answer(self.version, datetime(2026, 11, 23, 12, tzinfo=UTC)))
        client = Client(writer)
        self.clients.append(client)
        while (fields := await wire.read_message(reader)) is not None:
            request = inbound.decode(fields, self.version)
            self.received.append(request)
            self._changed.set()
            if type(request) in self.on:
                self.on[type(request)](client, request)


@asynccontextmanager
async def scripted_tws() -> AsyncIterator[ScriptedTws]:
    """One that listens."""
    tws = ScriptedTws()
    server = await asyncio.start_server(tws.serve, "127.0.0.1", 0)
    tws.port = server.sockets[0].getsockname()[1]
    try:
        yield tws
        assert tws.problems == []
    finally:
        server.close()
        for client in tws.clients:
            client.writer.close()
        await server.wait_closed()
