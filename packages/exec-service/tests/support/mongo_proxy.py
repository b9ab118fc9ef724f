"""A way to MongoDB that loses what it is told to lose: a question on its way, or the answer to it."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Proxy:
    """Loses messages that contain `command`; both connections are closed then, as by a server that was killed."""

    server: tuple[str, int]
    port: int = 0
    #: how many of the next questions never arrive, and how many arrive but get no answer
    lose_questions: int = 0
    lose_answers: int = 0
    command: bytes = b"commitTransaction"
    #: nothing is lost any more once this was asked
    until: str = ""
    seen: Counter[str] = field(default_factory=Counter)
    refusing: bool = False
    #: commands in the order in which they came, of those that transactions are made of
    log: list[str] = field(default_factory=list)
    #: set when something was lost
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _serving: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def uri(self) -> str:
        """Straight to the server: a driver that asked for the replica set would be sent past us."""
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    def cut(self) -> None:
        """Close all connections, as a network that fails."""
        for writer in list(self._writers):
            writer.close()

    async def end(self) -> None:
        """Close all connections, and wait until nothing of them is left."""
        self.refusing = True
        while self._serving:
            self.cut()
            await asyncio.wait(self._serving, timeout=0.1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.close()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(*self.server)
        except OSError:
            writer.close()
            return
        both = {writer, server_writer}
        self._writers |= both
        unanswered = asyncio.Event()
        tasks = [
            asyncio.ensure_future(self._questions(reader, server_writer, unanswered)),
            asyncio.ensure_future(self._answers(server_reader, writer, unanswered)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for each in both:
                each.close()
                with contextlib.suppress(ConnectionError):
                    await each.wait_closed()
            self._writers -= both

    async def _questions(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, unanswered: asyncio.Event
    ) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                message = await _message(reader)
                name = _command(message)
                self.seen[name] += 1
                if name in ("insert", "update", "find", "commitTransaction", "abortTransaction", "killSessions"):
                    self.log.append(name)
                if name == self.until:
                    self.lose_questions = self.lose_answers = 0
                if name == self.command.decode():
                    if self.lose_questions:
                        self.lose_questions -= 1
                        self.lost.set()
                        return
                    if self.lose_answers:
                        self.lose_answers -= 1
                        unanswered.set()
                server.write(message)
                await server.drain()

    async def _answers(
        self, server: asyncio.StreamReader, writer: asyncio.StreamWriter, unanswered: asyncio.Event
    ) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                message = await _message(server)
                if unanswered.is_set():
                    self.lost.set()
                    return
                writer.write(message)
                await writer.drain()


@contextlib.asynccontextmanager
async def proxy_to(uri: str) -> AsyncIterator[Proxy]:
    """A proxy before the first server of the URI."""
    found = urlsplit(uri.split(",")[0])
    assert found.hostname
    assert found.port
    proxy = Proxy((found.hostname, found.port))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()
        await server.wait_closed()


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack("<i", head)[0] - 4)


def _command(message: bytes) -> str:
    """The name of an OP_MSG's command: the first key of its first document."""
    if struct.unpack_from("<i", message, 12)[0] != 2013:
        return "?"
    start = 16 + 4 + 1 + 4 + 1  # the header, flags, the section's kind, the document's length, the first type
    return message[start : message.index(b"\0", start)].decode()
