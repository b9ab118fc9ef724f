"""What processes have used: processor time and memory, as the kernel counts them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil


def cpu_seconds(pid: int) -> float:
    """Of a process and those that it has started and that live; 0 of one that is gone. Of our own without those."""
    total = 0.0
    try:
        process = psutil.Process(pid)
        children = [] if pid == os.getpid() else process.children(recursive=True)
        for one in (process, *children):
            try:
                times = one.cpu_times()
            except psutil.Error:
                continue
            total += times.user + times.system
    except psutil.Error:
        return 0.0
    return total


def memory_mb(pid: int, what: str = "VmRSS") -> float:
    """Of a process and its children: VmRSS now, VmHWM at most so far."""
    process = psutil.Process(pid)
    return round(sum(_status(one.pid, what) for one in (process, *process.children(recursive=True))) / 1024, 1)


def _status(pid: int, what: str) -> int:
    """In kB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1])
    return 0


@dataclass
class Usage:
    """Processor time by process since it was made; `others_per_second` is the rest of the machine's meanwhile."""

    pids: Mapping[str, Sequence[int]]
    _begun: float = field(default_factory=time.monotonic)
    _busy: float = field(default_factory=lambda: _busy_seconds())
    _before: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        return {name: sum(map(cpu_seconds, pids)) for name, pids in self.pids.items()}

    def seconds(self) -> dict[str, float]:
        """By process."""
        now = self._now()
        return {name: now[name] - self._before[name] for name in now}

    def per_thousand(self, orders: int) -> dict[str, float]:
        """Seconds per 1,000 orders."""
        return {name: round(used * 1000 / max(1, orders), 3) for name, used in self.seconds().items()}

    def others_per_second(self) -> float:
        """How many processors somebody else kept busy: above a few tenths, durations say little."""
        busy = _busy_seconds() - self._busy - sum(self.seconds().values())
        return round(max(0.0, busy / (time.monotonic() - self._begun)), 2)


def _busy_seconds() -> float:
    """Of all processors."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def own_pid() -> int:
    """This process: the load generator."""
    return os.getpid()
