"""Servers of a benchmark's own, the machine that they run on, and what one durable commit costs there."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emulator import Emulator
from emulator import binary as emulator_binary
from harness import Real
from keeper import ProcessId
from mongod import Mongod
from pymongo import AsyncMongoClient
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

MAJORITY = WriteConcern("majority", j=True)
COMMITS = 100


@dataclass(frozen=True)
class Servers:
    """Both, and a directory for everything."""

    mongod: Mongod
    emulator: Emulator
    directory: Path

    @property
    def real(self) -> Real:
        """A database and a project there."""
        return Real(self.mongod.uri, "bench", self.emulator.host, "bench")

    def pids(self) -> dict[str, list[int]]:
        """Their processes."""
        return {
            "mongod": [self.mongod.kept.server.pid] if self.mongod.kept else [],
            "emulator": [self.emulator.kept.server.pid] if self.emulator.kept else [],
        }


@asynccontextmanager
async def servers() -> AsyncIterator[Servers]:
    """Both, while entered; everything that they wrote is removed then."""
    owner = ProcessId.of(os.getpid())
    with tempfile.TemporaryDirectory(prefix="exec-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        mongod = Mongod(directory / "mongod", owner, removed_with_owner=directory)
        emulator = Emulator(directory / "emulator", owner)
        try:
            await asyncio.to_thread(mongod.start)
            await asyncio.to_thread(emulator.start)
            os.environ["PUBSUB_EMULATOR_HOST"] = emulator.host
            yield Servers(mongod, emulator, directory)
        finally:
            emulator.stop()
            mongod.stop()


async def machine(made: Servers) -> dict[str, str]:
    """Whose figures these are."""
    async with AsyncMongoClient[dict[str, Any]](made.mongod.uri) as client:
        version = (await client.server_info())["version"]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GB",
        "python": platform.python_version(),
        "mongod": str(version),
        "emulator": await asyncio.to_thread(_emulator_version),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return found[1].strip() if found else platform.machine()


def _emulator_version() -> str:
    """It does not say its own; its archive's name does, else the package's."""
    for jar in sorted(emulator_binary().resolve().parents[1].glob("lib/*emulator*.jar")):
        found = re.search(r"(\d+\.\d+\.\d+)", jar.name)
        if found:
            return found[1]
    asked = subprocess.run(
        ["gcloud", "version", "--format=value(pubsub-emulator)"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


async def commit_ms(uri: str) -> float:
    """The median of a bare transaction that updates three documents, one at a time, in milliseconds."""
    times = []
    async with AsyncMongoClient[dict[str, Any]](uri) as client:
        database = client["bench_commit"]
        for name in "abc":
            await database[name].insert_one({"_id": 1, "n": 0})
        for _ in range(COMMITS):
            begin = time.perf_counter()
            async with (
                client.start_session() as session,
                await session.start_transaction(ReadConcern("snapshot"), MAJORITY),
            ):
                for name in "abc":
                    await database[name].update_one({"_id": 1}, {"$inc": {"n": 1}}, session=session)
            times.append((time.perf_counter() - begin) * 1000)
        await client.drop_database("bench_commit")
    return round(statistics.median(times), 2)
