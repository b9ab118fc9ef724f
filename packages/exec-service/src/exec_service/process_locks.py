"""Locks that prove that a process lives.

The operating system drops such a lock when the process ends, kill -9 included, and keeps it for one that is merely
stopped.
"""

from __future__ import annotations

import fcntl
import functools
import os
import re
import time
from pathlib import Path
from typing import Any, Final

from exec_core.identifiers import digest


def lock_path(data_dir: Path, name: str) -> Path:
    """Where `name`'s lock lies: readable, safe as a file name, and different for different names."""
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80]
    return data_dir / "locks" / f"{readable}-{digest(name, length=12)}.lock"


@functools.cache
def boot() -> str:
    """What tells this start of the machine, and its clocks, from others; empty where the system does not say."""
    try:
        found = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{found}/{Path('/proc/self/ns/time').readlink()}"
    except OSError:
        return ""


class ProcessLock:
    """A file that this process holds locked until `release` or its end. Children do not inherit it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, patience_seconds: float = 0.5) -> bool:
        """Lock it; False when somebody else has it. The patience outlasts those who only look whether it is held."""
        if self._descriptor is not None:
            return True
        _forget_locks_in_children()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + patience_seconds
        while (descriptor := _lock(self.path, fcntl.LOCK_EX, os.O_RDWR | os.O_CREAT)) is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        self._descriptor = descriptor
        _held.add(descriptor)
        return True

    def release(self) -> None:
        """Unlock it, and take the file away."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            _held.discard(descriptor)
            # Removed while still held: whoever locks the removed file notices, see `_lock`.
            self.path.unlink(missing_ok=True)
            os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a live process holds the lock."""
    try:
        descriptor = _lock(path, fcntl.LOCK_SH, os.O_RDONLY)
    except FileNotFoundError:
        return False
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def _lock(path: Path, kind: int, flags: int) -> int | None:
    """A descriptor of the file, locked; None when somebody has it. A file that was replaced meanwhile is not it."""
    while True:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            if _is_current(descriptor, path):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_current(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


_held: Final[set[int]] = set()


@functools.cache
def _forget_locks_in_children() -> None:
    """A forked child shares the open file, and with it the lock: it would outlive us there."""

    def forget(*_: Any) -> None:
        while _held:
            os.close(_held.pop())

    os.register_at_fork(after_in_child=forget)
