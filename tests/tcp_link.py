"""A network between the service and a server: with a delay, and with times in which nothing gets through.

async with link_to("mongodb://127.0.0.1:27017/?replicaSet=rs0") as link:
    world.variables["MONGODB_URI"] = link.mongodb_uri
    link.delay_seconds = 0.1          # each way
    link.hold()                       # connections stay open, and nothing arrives, in either direction
    link.release()                    # what was held arrives now, however late
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LARGEST_PIECE = 65_536


@dataclass
class Link:
    """The network, while it is entered."""

    server: tuple[str, int]
    delay_seconds: float = 0.0
    port: int = 0
    #: How many connections were made over it.
    connections: int = 0
    _flows: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._flows.set()

    @property
    def mongodb_uri(self) -> str:
        """The server over this link. A driver that was told of the replica set would go past it."""
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    def hold(self) -> None:
        """From now on nothing gets through; new connections are taken, and lead nowhere."""
        self._flows.clear()

    def release(self) -> None:
        """Everything that was held goes on its way, in its order."""
        self._flows.set()

    def cut(self) -> None:
        """Close all connections; what was held on them is lost."""
        for writer in list(self._writers):
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        self.connections += 1
        self._writers.add(writer)
        try:
            await self._flows.wait()
            try:
                far_reader, far_writer = await asyncio.open_connection(*self.server)
            except OSError:
                return  # as if nobody listened: the client is hung up on
            self._writers.add(far_writer)
            directions = [
                asyncio.ensure_future(self._carry(reader, far_writer)),
                asyncio.ensure_future(self._carry(far_reader, writer)),
            ]
            try:
                await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for direction in directions:
                    direction.cancel()
                await asyncio.gather(*directions, return_exceptions=True)
                far_writer.close()
                self._writers.discard(far_writer)
        finally:
            writer.close()
            self._writers.discard(writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction: every piece arrives `delay_seconds` after it was sent, so that a stream is late, not slow."""
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def read() -> None:
            piece = b"?"
            while piece:
                try:
                    piece = await reader.read(LARGEST_PIECE)
                except ConnectionError:
                    piece = b""  # reset: for the other side as good as closed
                under_way.put_nowait((loop.time() + self.delay_seconds, piece))

        reading = asyncio.ensure_future(read())
        try:
            with contextlib.suppress(ConnectionError):
                while True:
                    due, piece = await under_way.get()
                    if due > loop.time():
                        await asyncio.sleep(due - loop.time())
                    await self._flows.wait()
                    if not piece:
                        return
                    writer.write(piece)
                    await writer.drain()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


@contextlib.asynccontextmanager
async def link_to(uri: str) -> AsyncIterator[Link]:
    """A link to the first server that the URI names."""
    found = urlsplit(uri.split(",")[0])
    assert found.hostname is not None
    assert found.port is not None
    link = Link((found.hostname, found.port))
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(link.serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    link.port = server.sockets[0].getsockname()[1]
    try:
        yield link
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()
