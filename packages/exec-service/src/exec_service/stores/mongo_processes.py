"""Whether a worker's process still lives, where that can be known: on the machine, and among the processes, it ran in.

A process is known by the kernel's boot, the namespaces its id and its start are counted in, its id, and its start in
ticks since the boot. Where the kernel does not tell all of them, nothing is ever proven. Clocks play no part: they are
set, and differ.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
#: Ended, though somebody has not noticed yet: such a process sends nothing more.
_ENDED = frozenset("ZXx")


@dataclass(frozen=True, slots=True)
class Process:
    """A process. `machine`: where its id means something, None if that is not known; `started`: its start, in ticks."""

    machine: str | None
    process_id: int
    started: int | None


def this_process() -> Process:
    """Ourselves."""
    process_id = os.getpid()
    found = _stat(process_id)
    return Process(_machine(), process_id, None if found is None else found[1])


def is_here(process: Process) -> bool:
    """Whether we can tell if it lives."""
    return process.machine is not None and process.machine == _machine() and process.started is not None


def has_ended(process: Process) -> bool:
    """Whether it is known to have ended. A process that is merely stopped has not; of others nothing is known."""
    if not is_here(process):
        return False
    try:
        os.kill(process.process_id, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it exists, and is somebody else's
    found = _stat(process.process_id)
    if found is None:
        return False  # it is hidden from us, or ends just now
    state, started = found
    return state in _ENDED or started != process.started


def _stat(process_id: int) -> tuple[str, int] | None:
    """A process's state, and its start in ticks since the boot."""
    try:
        text = (_PROC / str(process_id) / "stat").read_text()
        # The name before it may hold anything, brackets and blanks included.
        fields = text.rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


@functools.cache
def _machine() -> str | None:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespaces = [str((_PROC / "self/ns/pid").readlink())]
    except OSError:
        return None
    try:
        namespaces.append(str((_PROC / "self/ns/time").readlink()))
    except OSError:
        namespaces.append("time")  # older kernels have only one
    return "/".join([boot, *namespaces])
