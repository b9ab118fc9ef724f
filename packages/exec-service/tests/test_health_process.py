"""The health endpoint of `exec-service run`, as a process of its own."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from pathlib import Path

from harness import World, until

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as server:
        port: int = server.getsockname()[1]
        return port


async def ask(port: int, path: str) -> tuple[int, dict[str, object]] | None:
    """The answer; None while nobody listens."""

    def call() -> tuple[int, dict[str, object]] | None:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except ConnectionError:
            return None
        finally:
            connection.close()

    return await asyncio.to_thread(call)


async def test_the_process_answers_and_ends_in_good_order(tmp_path: Path) -> None:
    port = free_port()
    world = World(tmp_path, {"HEALTH_PORT": str(port)})
    with world.start() as service:

        async def ready() -> bool:
            answer = await ask(port, "/readyz")
            return answer is not None and answer[0] == 200

        await until(ready, seconds=30, what=lambda: f"/readyz says ready:\n{service.console}")
        assert await ask(port, "/healthz") == (200, {"status": "ok"})
        assert service.stop() == 0
        assert "GET /" not in service.console
        assert await ask(port, "/healthz") is None


async def test_a_port_that_is_taken_is_exit_code_2_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        world = World(tmp_path, {"HEALTH_PORT": str(port)})
        with world.start() as service:
            assert await asyncio.to_thread(service.process.wait, 30) == 2
            assert f"port {port} cannot be listened on" in service.console
            assert "Traceback" not in service.console
    assert not world.data.exists()


async def test_without_a_port_nothing_listens(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.start() as service:
        await service.ready()
        assert "Health is answered" not in service.console
        assert service.stop() == 0
