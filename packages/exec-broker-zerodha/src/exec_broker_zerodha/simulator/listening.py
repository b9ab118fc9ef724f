"""One loopback port that can be let go of and taken again: while it is shut, connections are refused at once."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from aiohttp import web

HOST: Final = "127.0.0.1"


class Door:
    """Serves an application on a port of 127.0.0.1, which stays ours while it is shut."""

    def __init__(self, application: web.Application, port: int = 0) -> None:
        self._runner = web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=1.0)
        self._wanted = port
        self._keeper: socket.socket | None = None
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port, once it was opened."""
        if self._keeper is None:
            raise RuntimeError("the port is known once it was opened")
        port: int = self._keeper.getsockname()[1]
        return port

    @property
    def is_open(self) -> bool:
        """Whether connections are taken."""
        return self._server is not None

    async def open(self) -> None:
        """Take connections. Twice does nothing. :raises OSError: somebody else has the port."""
        if self._server is not None:
            return
        if self._keeper is None:
            await self._runner.setup()
            # Bound, and never listening: nobody else gets the port while the door is shut.
            self._keeper = _bound(self._wanted)
        speaker = self._runner.server
        if speaker is None:
            raise RuntimeError("a door that was closed for good is not opened again")
        self._server = await asyncio.get_running_loop().create_server(speaker, sock=_bound(self.port))

    async def shut(self) -> None:
        """Cut all connections, and refuse new ones. Twice does nothing."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        await self.cut()

    async def cut(self) -> None:
        """Cut all connections there are: their other ends know when this returns."""
        server = self._runner.server
        for connection in server.connections if server is not None else ():
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        # What `abort` puts off to the loop's next round, the closing itself, is done then.
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Let go of everything."""
        await self.shut()
        await self._runner.cleanup()
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None


def _bound(port: int) -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        found.bind((HOST, port))
    except OSError:
        found.close()
        raise
    found.setblocking(False)
    return found
