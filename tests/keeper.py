"""Keeps a server for as long as its owner lives: a server of the tests must not outlive a pytest that was killed -9.

    python tests/keeper.py OWNER_PID OWNER_STARTED LOG_FILE DIRECTORY|- COMMAND...

puts itself into the background, runs the command, prints both processes as JSON and waits. When the owner is gone
(its pid, or the pid's start time) it kills the server and removes the directory; when the server ends by itself, it
ends too; SIGTERM makes it kill the server and end.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil

LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class ProcessId:
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """The process that has this pid now."""
        return cls(pid, psutil.Process(pid).create_time())

    @property
    def alive(self) -> bool:
        """Whether it runs (or is stopped); one that only waits to be buried does not."""
        try:
            process = psutil.Process(self.pid)
            return process.create_time() == self.started and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still lives."""
        if self.alive:
            os.kill(self.pid, number)

    def wait_until_gone(self, seconds: float) -> None:
        """:raises TimeoutError: it is still there."""
        wait_until(lambda: not self.alive, seconds, f"process {self.pid} has ended")


@dataclass(frozen=True)
class Kept:
    """A server and its keeper."""

    keeper: ProcessId
    server: ProcessId

    def end(self) -> None:
        """Kill the server, and wait until both are gone."""
        self.keeper.send(signal.SIGTERM)
        self.server.wait_until_gone(20)
        self.keeper.wait_until_gone(20)


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Ask `condition` until it holds. :raises TimeoutError: it never did."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


def keep(command: Sequence[str], *, owner: ProcessId, log: Path, directory: Path | None = None) -> Kept:
    """Start a server under a keeper of its own; `directory` is removed with the owner."""
    arguments = [str(owner.pid), repr(owner.started), str(log), str(directory or "-"), *command]
    done = subprocess.run(
        [sys.executable, __file__, *arguments], capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode != 0:
        raise OSError(f"{command[0]} cannot be started: {(done.stderr or done.stdout).strip()[-500:]}")
    found = json.loads(done.stdout)
    return Kept(ProcessId(*found["keeper"]), ProcessId(*found["server"]))


def main() -> int:
    """The command."""
    owner = ProcessId(int(sys.argv[1]), float(sys.argv[2]))
    log, directory, command = sys.argv[3], sys.argv[4], sys.argv[5:]
    reading, writing = os.pipe()
    if os.fork():  # whoever starts a keeper waits only until it stands on its own feet
        os.close(writing)
        with os.fdopen(reading) as told:
            text = told.read()
        print(text)
        return 0 if text.startswith("{") else 1
    os.close(reading)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    _keep(owner, Path(log), None if directory == "-" else Path(directory), command, writing)
    return 0


def _keep(owner: ProcessId, log: Path, directory: Path | None, command: Sequence[str], told: int) -> None:
    ending: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        ending.append(number)

    signal.signal(signal.SIGTERM, end)
    try:
        with log.open("ab") as output:
            server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    except OSError as error:
        os.write(told, str(error).encode())
        os.close(told)
        return
    processes = {"keeper": ProcessId.of(os.getpid()), "server": ProcessId.of(server.pid)}
    os.write(told, json.dumps({name: [made.pid, made.started] for name, made in processes.items()}).encode())
    os.close(told)
    while server.poll() is None and not ending and owner.alive:
        try:
            server.wait(LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    server.kill()
    server.wait()
    if directory is not None and not owner.alive:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
