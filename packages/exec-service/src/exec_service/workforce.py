"""Several workers of one command: a parent that starts them, starts again what dies, and stops all in good order.

It knows processes only: no store, no bus, no order. A worker that was killed, or failed, is started again under its
number, so under its id, while the others go on. Until the first worker has been ready nothing has been achieved that
could be kept: a failure then ends all, with the exit code of the worker that failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from exec_service.backoff import exponential
from exec_service.lifeline import stop_signals_held_back

logger = logging.getLogger(__name__)

#: How long a dead worker stays dead: doubling from the first to the longest.
FIRST_WAIT_SECONDS: Final = 0.5
LONGEST_WAIT_SECONDS: Final = 30.0
#: A worker that worked for so long before it died is started again as if it were the first time.
GOOD_LIFE_SECONDS: Final = 60.0

#: A worker's command line, from its number and the descriptor of its end of the line.
MakeCommand = Callable[[int, int], Sequence[str]]


@dataclass(slots=True)
class _Worker:
    """One worker, over all the processes that it has been."""

    number: int
    name: str
    waits: Iterator[float]
    process: asyncio.subprocess.Process | None = None
    ready_at: float | None = None
    #: Its process ended otherwise than in good order although it had been asked to stop.
    failed_to_stop: bool = False


@dataclass(slots=True)
class Workforce:
    """So many workers, from their start to their end.

    `name` makes a worker's name, for people, of its number. `patience_seconds`: how long a stop waits for them.
    """

    count: int
    command: MakeCommand
    name: Callable[[int], str]
    patience_seconds: float
    first_wait_seconds: float = FIRST_WAIT_SECONDS
    longest_wait_seconds: float = LONGEST_WAIT_SECONDS
    clock: Callable[[], float] = time.monotonic
    _workers: list[_Worker] = field(default_factory=list)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _ever_ready: set[int] = field(default_factory=set)
    _exit_code: int = 0

    async def run(self) -> int:
        """Keep the workers alive until `stop`, or until none of them can start; the command's exit code."""
        self._workers = [_Worker(number, self.name(number), self._waits()) for number in range(1, self.count + 1)]
        logger.info("Starting %d workers: %s", self.count, ", ".join(worker.name for worker in self._workers))
        async with asyncio.TaskGroup() as group:
            keeping = [group.create_task(self._keep(worker), name=worker.name) for worker in self._workers]
            await self._stopping.wait()
            _, late = await asyncio.wait(keeping, timeout=self.patience_seconds)
            if late:
                self._kill_the_rest()
        if any(worker.failed_to_stop for worker in self._workers):
            self._exit_code = self._exit_code or 1
        logger.info("All workers have ended")
        return self._exit_code

    def stop(self) -> None:
        """Ask all workers to stop in good order; none is started any more. Asking again is fine."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        logger.info("Stopping the workers")
        for worker in self._workers:
            if worker.process is not None:
                _send(worker.process, signal.SIGTERM)

    async def stopped_within(self, seconds: float) -> bool:
        """Wait for so long, or until a stop is asked for; whether it was."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return self._stopping.is_set()

    def _kill_the_rest(self) -> None:
        for worker in self._workers:
            if worker.process is not None:
                logger.error(
                    "Worker %s (process %d) has not ended within %g s: killing it; the next start goes on",
                    worker.name, worker.process.pid, self.patience_seconds,
                )  # fmt: skip
                _send(worker.process, signal.SIGKILL)

    # ------------------------------------------------------------------ one worker

    async def _keep(self, worker: _Worker) -> None:
        """One life of the worker after the other."""
        while not self._stopping.is_set():
            try:
                how = await self._one_life(worker)
            except OSError as error:
                how = f"Worker {worker.name} cannot be started ({error.strerror or error})"
            if self._stopping.is_set():
                return
            if worker.ready_at is not None and self.clock() - worker.ready_at >= GOOD_LIFE_SECONDS:
                worker.waits = self._waits()
            seconds = next(worker.waits)
            logger.error("%s: starting it again in %g s", how, seconds)
            await self.stopped_within(seconds)

    async def _one_life(self, worker: _Worker) -> str:
        """Start the worker's process and wait for its end; how it ended.

        :raises OSError: the system does not start it.
        """
        worker.ready_at = None
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = worker.process = await self._start(worker, theirs.fileno())
            try:
                if self._stopping.is_set():  # asked for while it was being started
                    _send(process, signal.SIGTERM)
                logger.info("Worker %s is process %d", worker.name, process.pid)
                with self._heard(worker, ours):
                    code = await process.wait()
            finally:
                worker.process = None
        how = f"Worker {worker.name} (process {process.pid}) {_ending(code)}"
        if self._stopping.is_set():
            worker.failed_to_stop = code != 0
            if code != 0:
                logger.error("%s while it stopped: the next start goes on", how)
        elif code > 0 and not self._ever_ready:
            logger.error("%s before any worker was ready", how)
            self._exit_code = code
            self.stop()
        return how

    async def _start(self, worker: _Worker, descriptor: int) -> asyncio.subprocess.Process:
        # One after the other, because what holds the signals back belongs to the whole thread.
        async with self._starting:
            with stop_signals_held_back():
                return await asyncio.create_subprocess_exec(
                    *self.command(worker.number, descriptor),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(descriptor,),
                )

    @contextlib.contextmanager
    def _heard(self, worker: _Worker, line: socket.socket) -> Iterator[None]:
        """While entered, what the worker says on its line is heard."""
        loop = asyncio.get_running_loop()
        line.setblocking(False)

        def hear() -> None:
            try:
                said = line.recv(64)
            except BlockingIOError:
                return
            except ConnectionError:
                said = b""
            if not said:
                loop.remove_reader(line)
            elif worker.ready_at is None:
                worker.ready_at = self.clock()
                self._ever_ready.add(worker.number)
                ready = sum(other.process is not None and other.ready_at is not None for other in self._workers)
                logger.info("Worker %s is ready: %d of %d", worker.name, ready, self.count)

        loop.add_reader(line, hear)
        try:
            yield
        finally:
            hear()  # it may have said so, and ended, within one round of the loop
            loop.remove_reader(line)

    def _waits(self) -> Iterator[float]:
        return exponential(self.first_wait_seconds, self.longest_wait_seconds)


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    # Not `process.send_signal`: that asks for the exit code first, and so may take it from whoever waits for it.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(process.pid, number)


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"was ended by signal {-code}"
