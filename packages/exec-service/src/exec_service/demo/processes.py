"""The demo's processes: the service, which is started, killed and stopped, and the venue's command line."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any, Final

from exec_service.demo.world import DemoFailed, World

READY: Final = "Execution service ready"
READY_SECONDS: Final = 30.0
STOP_SECONDS: Final = 30.0
LINES_SHOWN: Final = 15


class ServiceProcess:
    """``exec-service run`` as a process; `told` gets each line that it prints."""

    def __init__(self, world: World, told: Callable[[str], None]) -> None:
        self._world = world
        self._told = told
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._last: deque[str] = deque(maxlen=LINES_SHOWN)

    async def start(self) -> None:
        """Start it, and wait until it takes messages. :raises DemoFailed: it ends instead, or does not get ready."""
        self._ready.clear()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "exec_service", "run", "--embedded", "--use-mock-broker"),
            cwd=self._world.directory,
            env=self._world.environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=2**20,
        )
        output = self._process.stdout
        if output is None:
            raise RuntimeError("the service's output was asked for as a pipe")
        self._reader = asyncio.create_task(self._read(output), name="the service's lines")
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait({ready, self._reader}, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._ready.is_set():
            return
        if self._reader.done():
            await self._process.wait()
            raise self.failure("the service ended before it was ready")
        raise self.failure(f"the service was not ready within {READY_SECONDS:g} s")

    async def _read(self, output: asyncio.StreamReader) -> None:
        async for data in output:
            line = data.decode("utf-8", "replace").rstrip()
            self._last.append(line)
            if READY in line:
                self._ready.set()
            self._told(line)

    def check(self) -> None:
        """:raises DemoFailed: the service has ended by itself."""
        if self._process is not None and self._process.returncode is not None:
            raise self.failure("the service ended by itself")

    def failure(self, what: str) -> DemoFailed:
        """An error that shows the service's last lines."""
        code = self._process.returncode if self._process is not None else None
        ended = "" if code is None else f" (exit code {code})"
        lines = "\n".join(f"  {line}" for line in self._last) or "  (none)"
        return DemoFailed(f"The demo cannot go on: {what}{ended}. The service's last lines:\n{lines}")

    async def kill(self) -> None:
        """SIGKILL: no good-bye, nothing is finished."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM. :raises DemoFailed: it does not end in good order."""
        code = await self._end(signal.SIGTERM)
        if code:
            raise self.failure(f"after SIGTERM the service ended with exit code {code}")

    async def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        try:
            if process.returncode is None:
                process.send_signal(number)
            async with asyncio.timeout(STOP_SECONDS):
                return await process.wait()
        except TimeoutError:
            raise self.failure(f"the service did not end within {STOP_SECONDS:g} s after {number.name}") from None
        finally:
            await _ended(process)
            if self._reader is not None:
                await self._reader


class VenueDesk:
    """The mock venue, through its own command line: prices, scripted faults, and its book."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def price(self, symbol: str, price: str) -> None:
        """Set the market price."""
        await self._run("price", symbol, price)

    async def script(self, fault: str, *options: str) -> None:
        """Arm a fault for the next order that matches the options."""
        await self._run("script", fault, *options)

    async def book(self) -> dict[str, list[dict[str, Any]]]:
        """All orders and executions, numbers exact."""
        book: dict[str, list[dict[str, Any]]] = json.loads(await self._run("book", "--json"), parse_float=Decimal)
        return book

    async def _run(self, command: str, *arguments: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "exec_broker_mock", command, self._world.book_file.name, *arguments),
            cwd=self._world.directory,
            env=self._world.environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, errors = await process.communicate()
        finally:
            await _ended(process)
        if process.returncode:
            text = errors.decode("utf-8", "replace").strip()
            raise DemoFailed(f"The mock venue's command {command} failed (exit code {process.returncode}): {text}")
        return output


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Leave no process behind."""
    if process.returncode is None:
        process.kill()
        await process.wait()


async def together(*works: Coroutine[Any, Any, object]) -> None:
    """Do all of them at once. :raises DemoFailed: the first that failed; the others have ended then."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
