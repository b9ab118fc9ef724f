"""Answers, over HTTP, whether this worker lives and whether it is ready.

``GET /healthz``: 200 while the event loop runs and the service's tasks live, else 500. ``GET /readyz``: 200 or 503,
with reasons. Both are answered in the service's own event loop, so that a loop which is held up answers nothing: who
asks needs a time-out. Nothing else is served. aiohttp is imported only when a port is configured.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from exec_core.errors import ConfigurationError

from exec_service.readiness import NOT_STARTED, Readiness, task_ended

if TYPE_CHECKING:
    from aiohttp import web

logger = logging.getLogger(__name__)

LIVE_PATH: Final = "/healthz"
READY_PATH: Final = "/readyz"
#: A connection that nobody uses is closed after so many seconds.
KEEPALIVE_SECONDS: Final = 5.0
#: How long the service's end waits for answers under way.
SHUTDOWN_SECONDS: Final = 1.0
#: No request has a body that anybody reads.
LARGEST_REQUEST_BYTES: Final = 1_024


class Worker(Protocol):
    """Who is asked; the `Service` is one."""

    def readiness(self) -> Readiness:
        """Whether it is ready, and why not."""
        ...

    def ended_tasks(self) -> Sequence[str]:
        """The tasks it cannot do without that have ended although it has not been stopped."""
        ...


@asynccontextmanager
async def serve_health(host: str, port: int | None, get: Callable[[], Worker | None]) -> AsyncIterator[int | None]:
    """Answer for the worker that `get` returns (None: not started yet) while entered; yields the port listened on.

    Without a port nothing is served.

    :raises ConfigurationError: the address cannot be listened on.
    """
    if port is None:
        yield None
        return
    from aiohttp import web

    runner = web.AppRunner(
        _application(get),
        access_log=None,
        handle_signals=False,
        keepalive_timeout=KEEPALIVE_SECONDS,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConfigurationError(_cannot_listen(host, port, error)) from error
        bound = int(runner.addresses[0][1])
        logger.info("Health is answered on %s port %d: %s, %s", host, bound, LIVE_PATH, READY_PATH)
        yield bound
    finally:
        await runner.cleanup()


async def check_port(host: str, port: int) -> None:
    """Listen on the port for a moment, without answering.

    :raises ConfigurationError: the address cannot be listened on.
    """
    try:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port, start_serving=False)
    except OSError as error:
        raise ConfigurationError(_cannot_listen(host, port, error)) from error
    server.close()
    await server.wait_closed()


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    return (
        f"HEALTH_HOST, HEALTH_PORT: {host} port {port} cannot be listened on: {_why(error)}; "
        "stop what listens there, or choose another port"
    )


def _application(get: Callable[[], Worker | None]) -> web.Application:
    from aiohttp import web

    async def live(_request: web.Request) -> web.Response:
        worker = get()
        ended = [] if worker is None else worker.ended_tasks()
        if ended:
            return _answer(500, {"status": "failed", "reasons": [task_ended(name) for name in ended]})
        return _answer(200, {"status": "ok"})

    async def ready(_request: web.Request) -> web.Response:
        worker = get()
        found = NOT_STARTED if worker is None else worker.readiness()
        body = {
            "ready": found.ready,
            "reasons": list(found.reasons),
            "warnings": list(found.warnings),
            "info": list(found.info),
        }
        return _answer(200 if found.ready else 503, body)

    async def unnamed(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers.pop("Server", None)  # nobody needs to know what is installed here

    application = web.Application(client_max_size=LARGEST_REQUEST_BYTES)
    application.router.add_get(LIVE_PATH, live)
    application.router.add_get(READY_PATH, ready)
    application.on_response_prepare.append(unnamed)
    return application


def _answer(status: int, body: dict[str, Any]) -> web.Response:
    from aiohttp import web

    return web.json_response(body, status=status, headers={"Cache-Control": "no-store"})


def _why(error: OSError) -> str:
    """The cause in the system's words; asyncio's own text repeats the address."""
    if isinstance(error, socket.gaierror):
        return "there is no such host"
    if error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno).lower()
    return str(error)
