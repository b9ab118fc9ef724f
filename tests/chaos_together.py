"""The workers of one `exec-service run --workers N`: children of a parent, which starts again what dies."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from dataclasses import dataclass

from chaos_door import Loss
from chaos_workers import Fleet, Worker
from harness import PATIENCE, Failed, Service, until
from keeper import ProcessId

STARTED = re.compile(r"Worker (\S+) is process (\d+)")


class ChildProcess:
    """What `subprocess.Popen` would be of a process that somebody else has started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._id = ProcessId.of(pid)

    def poll(self) -> int | None:
        """None while it runs."""
        return None if self._id.alive else -1

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        self._id.send(number)

    def wait(self, timeout: float) -> int:
        """Until it is gone."""
        self._id.wait_until_gone(timeout)
        return 0


class Child(Service):
    """One worker of a parent, as a `Service`."""

    def __init__(self, parent: Service, name: str, pid: int) -> None:
        self._parent = parent
        self.name = name
        self.process = ChildProcess(pid)  # type: ignore[assignment]

    @property
    def console(self) -> str:
        """What all of them have printed so far: they share it."""
        return self._parent.console

    async def ready(self, seconds: float = PATIENCE) -> Service:
        """Wait until the parent has heard that it is ready."""

        async def is_ready() -> bool:
            if self.process.poll() is not None:
                raise Failed(f"worker {self.name} ended:\n{self.console[-3000:]}")
            _, _, later = self.console.rpartition(f"Worker {self.name} is process {self.process.pid}")
            return f"Worker {self.name} is ready" in later

        await until(is_ready, seconds=seconds, what=lambda: f"{self.name} is ready:\n{self.console[-3000:]}")
        return self


@dataclass
class Together(Fleet):
    """A parent and its children."""

    parent: Service | None = None

    def start(self, worker: Worker) -> Service | None:  # type: ignore[override]
        """The parent starts it by itself."""
        return worker.service

    @property
    def down(self) -> list[Worker]:
        """None that could be started by hand."""
        return []

    async def running(self, seconds: float = PATIENCE) -> list[Worker]:
        """All workers, ready; the parent is started if it is down."""
        if self.parent is None:
            variables = {"WORKER_ID": "together", **self.door.variables, **self.clock_variables(self.workers[0])}
            self.parent = Service(self.world, variables, arguments=("--workers", str(self.count)))
            self.recovers_since = time.monotonic()
        parent = self.parent

        async def all_started() -> bool:
            if parent.process.poll() is not None:
                raise Failed(f"the parent ended with {parent.process.returncode}:\n{parent.console[-3000:]}")
            pids = {name: int(pid) for name, pid in STARTED.findall(parent.console)}
            for worker, name in zip(self.workers, sorted(pids), strict=False):
                is_new = worker.service is None or worker.service.process.pid != pids[name]
                if is_new and not self.door.has_ended(pids[name]):
                    worker.service = Child(parent, name, pids[name])
                    self.recovers_since = time.monotonic()
            return all(worker.service is not None for worker in self.workers)

        await until(all_started, seconds=seconds, what=lambda: f"all workers run:\n{parent.console[-3000:]}")
        await asyncio.gather(*(worker.up.ready(seconds) for worker in self.workers))
        return self.workers

    async def kill_parent(self) -> str:
        """kill -9 of the parent: its workers see that, and stop in good order."""
        if self.parent is None:
            raise RuntimeError("there is no parent")
        parent, self.parent = self.parent, None
        at = time.monotonic()
        parent.kill()
        for worker in self.workers:
            accounts = self.door.accounts_of(worker.pid)
            self.door.losses.append(Loss("orphaned", worker.pid, at, accounts))
            await asyncio.to_thread(worker.up.process.wait, PATIENCE)
            self._gone(worker, worker.pid)
        return f"its {len(self.workers)} workers ended {time.monotonic() - at:.1f} s after it"

    async def stop_all(self) -> None:
        """SIGTERM of the parent; it must end with 0, its workers before it."""
        if self.parent is None:
            raise RuntimeError("there is no parent")
        parent, self.parent = self.parent, None
        pids = self.live()
        code = await asyncio.to_thread(parent.stop)
        for worker in self.workers:
            if worker.service is not None:
                self._gone(worker, worker.pid)
        left = [pid for pid in pids if _exists(pid)]
        if code != 0 or left:
            raise AssertionError(f"the parent ended with {code}, left {left} behind:\n{parent.console[-3000:]}")

    def end(self) -> None:
        """Whatever still runs is killed."""
        if self.parent is not None:
            with self.parent:
                pass
        for worker in self.workers:
            if worker.service is not None:
                worker.service.process.send_signal(signal.SIGKILL)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
