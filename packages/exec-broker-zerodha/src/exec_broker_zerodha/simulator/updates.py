"""The websocket of order updates: frames of text to whoever is connected now. Nobody is told what was missed."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any, Final

from aiohttp import WSCloseCode, web

_HEARTBEAT: Final = b"\x00"
_HEARTBEAT_SECONDS: Final = 1.0


class Updates:
    """Sends what it is told. `repeats`: every frame twice; `reorders`: what is told together in reverse order."""

    def __init__(self) -> None:
        self.repeats = False
        self.reorders = False
        self._queues: set[asyncio.Queue[dict[str, Any]]] = set()

    @property
    def listeners(self) -> int:
        """How many are connected."""
        return len(self._queues)

    def tell(self, update: dict[str, Any]) -> None:
        """Send it to everybody who is connected now."""
        for queue in self._queues:
            queue.put_nowait(update)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Send updates until the other side, or the server, ends it."""
        socket = web.WebSocketResponse(autoclose=True)
        await socket.prepare(request)
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._queues.add(queue)
        sending = asyncio.create_task(self._send(socket, queue))
        try:
            async for _ in socket:
                """Subscriptions to quotes, which this simulator does not have."""
        finally:
            self._queues.discard(queue)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await socket.close(code=WSCloseCode.GOING_AWAY)
        return socket

    async def _send(self, socket: web.WebSocketResponse, queue: asyncio.Queue[dict[str, Any]]) -> None:
        with suppress(ConnectionError):  # the reader notices as well
            while not socket.closed:
                try:
                    frames = [await asyncio.wait_for(queue.get(), _HEARTBEAT_SECONDS)]
                except TimeoutError:
                    await socket.send_bytes(_HEARTBEAT)
                    continue
                while not queue.empty():
                    frames.append(queue.get_nowait())
                for frame in reversed(frames) if self.reorders else frames:
                    for _ in range(2 if self.repeats else 1):
                        await socket.send_str(json.dumps(frame))
