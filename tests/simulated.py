"""A broker's simulator as a process of its own, and the service that trades against it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import PATIENCE, Failed, World, until


class VenueProcess:
    """``python -m exec_broker_….simulator`` with a book in a file, which survives it; started again on its old port."""

    def __init__(self, package: str, directory: Path, arguments: Sequence[str] = ()) -> None:
        self._module = f"{package}.simulator"
        self._directory = directory
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self.book_file = directory / "venue.sqlite3"
        #: Where it listens, and where it takes commands.
        self.port, self.desk = 0, 0

    async def __aenter__(self) -> VenueProcess:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        output = self._directory / f"venue-{time.time_ns()}.txt"
        process = self._process = self._spawn(output)

        async def ports() -> list[int] | None:
            text = output.read_text(errors="replace")
            if process.poll() is not None:
                raise Failed(f"the simulator ended with {process.returncode}:\n{text}")
            found = [int(port) for port in re.findall(r"(?:127\.0\.0\.1:|port )(\d+)", text)]
            return found if len(found) >= 2 else None

        self.port, self.desk = (await until(ports, seconds=PATIENCE, what="the simulator listens"))[:2]

    def _spawn(self, output: Path) -> subprocess.Popen[bytes]:
        self._directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", self._module, "--book", str(self.book_file), "--port", str(self.port)]
        with output.open("wb") as file:
            return subprocess.Popen([*command, *self._arguments], stdout=file, stderr=subprocess.STDOUT)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=PATIENCE)

    def book(self) -> Any:
        """The venue's truth, in its own words."""
        return json.loads(self._run("book", str(self.book_file), "--json"))

    async def tell(self, *words: str) -> str:
        """Give the desk a command."""
        return await asyncio.to_thread(self._run, "tell", str(self.desk), *words)

    def _run(self, *arguments: str) -> str:
        command = [sys.executable, "-m", self._module, *arguments]
        done = subprocess.run(command, check=False, text=True, capture_output=True, timeout=PATIENCE)
        if done.returncode != 0:
            raise Failed(f"{' '.join(command[1:])} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout


@dataclass
class SimulatedWorld(World):
    """The service's settings, with accounts at a simulated broker in place of the mock."""

    venue: VenueProcess | None = None
    reading: Callable[[Any], dict[str, list[dict[str, Any]]]] = dict

    @property
    def options(self) -> tuple[str, ...]:
        return ()

    async def restart_venue(self) -> None:
        """Kill the venue with -9 and start it again, with its book and on its port."""
        if self.venue is None:
            raise RuntimeError("there is no venue")
        await asyncio.to_thread(self.venue.kill)
        await self.venue.start()

    def book(self) -> dict[str, list[dict[str, Any]]]:
        if self.venue is None:
            raise RuntimeError("there is no venue")
        return self.reading(self.venue.book())
