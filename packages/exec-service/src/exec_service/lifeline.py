"""The line between a worker and the process that started it: a pair of sockets, one end in each.

The worker says over it that it is ready, and sees from its end that the other process has ended, however that happened.
Its signals are held back until it can heed them, and again once it has stopped: a stop that comes while its modules are
being loaded is not lost, and one that comes twice does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from exec_core.errors import ConfigurationError

logger = logging.getLogger(__name__)

READY: Final = b"ready\n"
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals_held_back() -> Iterator[None]:
    """Until left, a stop asked for by signal waits; a process started meanwhile holds them back until it says so."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def stop_signals_heeded() -> Iterator[None]:
    """What a process that was started while they were held back does once it has handlers for them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


class Lifeline:
    """A worker's end of the line."""

    def __init__(self, descriptor: int) -> None:
        """:raises ConfigurationError: the descriptor is no such line."""
        try:
            os.set_inheritable(descriptor, False)
            self._socket = socket.socket(fileno=descriptor)
            self._socket.setblocking(False)
        except OSError as error:
            raise ConfigurationError(
                f"descriptor {descriptor} leads to no process that starts workers: use --workers N"
            ) from error

    def close(self) -> None:
        """Let go of the line."""
        self._socket.close()

    def tell_ready(self) -> None:
        """Say that messages flow; saying it again is fine, and nobody needs to be there to hear it."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self._socket.send(READY)

    @contextmanager
    def watched(self, stop: Callable[[], None]) -> Iterator[None]:
        """While entered, `stop` is called as soon as the process that started us has ended."""
        loop = asyncio.get_running_loop()

        def hear() -> None:
            try:
                said = self._socket.recv(1)
            except BlockingIOError:
                return
            except ConnectionError:
                said = b""
            if not said:
                loop.remove_reader(self._socket)
                logger.warning("The process that started this worker has ended without a word: stopping")
                stop()

        loop.add_reader(self._socket, hear)
        try:
            yield
        finally:
            loop.remove_reader(self._socket)
