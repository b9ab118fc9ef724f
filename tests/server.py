"""What mongod and the emulator have in common as servers of the tests: a port, a process, and being hurt."""

from __future__ import annotations

import os
import random
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from keeper import Kept, ProcessId, keep, wait_until

START_SECONDS = 120.0
PORT_TRIES = 5
#: Below what systems hand out to clients: while a killed server is away, no client may be given its port (connecting
#: to that port, it would even reach itself).
PORTS = range(20_000, 32_000)


class CannotBeHad(Exception):
    """The server cannot be run here; the text says why, and what would help."""


class PortTaken(Exception):
    """Somebody else was quicker."""


class Server(ABC):
    """A server on 127.0.0.1, with a directory of its own, that ends with its owner at the latest.

    `start` returns when the server answers; it can be started again after `kill` and `stop`, on the same port.
    `removed_with_owner` is a directory that goes if the owner goes without having ended the server.
    """

    def __init__(self, directory: Path, owner: ProcessId, *, removed_with_owner: Path | None = None) -> None:
        self.directory = directory
        self.port = 0
        self.kept: Kept | None = None
        self._owner = owner
        self._removed_with_owner = removed_with_owner
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self.directory / "server.log"

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The command line. :raises CannotBeHad: there is no such program here."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server is up and ready for tests."""

    def start(self) -> Self:
        """Start it, and wait until it answers.

        :raises CannotBeHad: it cannot be run here, or does not come up.
        """
        fixed = self.port
        for _ in range(PORT_TRIES):
            self.port = fixed or free_port()
            try:
                self._start_once()
                return self
            except PortTaken:
                continue
        raise CannotBeHad(f"{self.command()[0]} found no free port; see {self.log}")

    def _start_once(self) -> None:
        command = self.command()
        begin = self.log.stat().st_size if self.log.exists() else 0
        try:
            kept = self.kept = keep(command, owner=self._owner, log=self.log, directory=self._removed_with_owner)
        except OSError as error:
            raise CannotBeHad(str(error)) from error
        try:
            wait_until(lambda: not kept.server.alive or self.answers(), START_SECONDS, f"{command[0]} answers")
        except TimeoutError as error:
            kept.end()
            raise CannotBeHad(f"{error}; see {self.log}") from error
        if not kept.server.alive:
            kept.keeper.wait_until_gone(20)
            said = self.log.read_bytes()[begin:].decode(errors="replace")
            if "Address already in use" in said:
                raise PortTaken
            raise CannotBeHad(f"{command[0]} ended at once: {said[-1000:]}")

    def kill(self) -> None:
        """kill -9, and wait until it is gone. Nothing happens to one that does not run."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait until it is gone."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: connections stay, nothing answers."""
        self._running().server.send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._running().server.send(signal.SIGCONT)

    def _running(self) -> Kept:
        if self.kept is None:
            raise RuntimeError(f"{type(self).__name__} does not run: call start()")
        return self.kept

    def _end(self, number: signal.Signals) -> None:
        if self.kept is None:
            return
        self.kept.server.send(number)
        self.kept.server.wait_until_gone(30)
        self.kept.keeper.wait_until_gone(20)
        self.kept = None


def free_port() -> int:
    """A port that nobody listens on now; and none that another worker of this run would take while ours is away."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ours = range(PORTS.start + number, PORTS.stop, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    for port in random.SystemRandom().sample(ours, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise CannotBeHad(f"no free port on 127.0.0.1 between {PORTS.start} and {PORTS.stop}")
