"""This machine: whether the log files can be written, and whether the disks have room."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from exec_service.checks import Check, Outcome
from exec_service.logs import SERVICE_FILE, SIGNALS_FILE
from exec_service.settings import Settings

COMPONENT: Final = "machine"
#: Ten rotated files of both logs take as much.
LEAST_FREE_BYTES: Final = 10**9
FREE_SPACE: Final = "Free some space: a service that cannot write takes no orders in"


def examine(settings: Settings) -> list[Check]:
    """The checks of the log directory and of each disk that the service writes to. Nothing is made."""
    written = {"log directory": settings.log_dir}
    if settings.embedded:
        written["data directory"] = settings.exec_data_dir
    return [_logs(settings.log_dir), *(_space(name, directory) for name, directory in written.items())]


def _logs(directory: Path) -> Check:
    name = "log directory"
    fix = f"Make {directory.resolve()} writable for this user, or set LOG_DIR to a directory that is"
    there = _nearest(directory)
    if not there.is_dir():
        return Check(COMPONENT, name, Outcome.FAILED, f"{there} is not a directory", fix)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Check(COMPONENT, name, Outcome.FAILED, f"{there} cannot be written: {error.strerror}", fix)
    if there != directory.resolve():
        return Check(COMPONENT, name, Outcome.OK, f"{directory.resolve()} will be made by the first start")
    for stem in (SERVICE_FILE, SIGNALS_FILE):
        file = there / f"{stem}.log"
        if file.exists() and not os.access(file, os.W_OK):
            fix = f"Give {file} to this user, or remove it: another user has made it"
            return Check(COMPONENT, name, Outcome.FAILED, f"{file} cannot be written", fix)
    return Check(COMPONENT, name, Outcome.OK, f"{there} can be written")


def _space(name: str, directory: Path) -> Check:
    there = _nearest(directory)
    title = f"disk of the {name}"
    try:
        free = shutil.disk_usage(there).free
    except OSError as error:
        text = f"{there}: its free space cannot be told: {error.strerror}"
        return Check(COMPONENT, title, Outcome.WARNING, text, f"See whether {there} is mounted and readable")
    text = f"{there}: {free / 10**9:,.1f} GB free"
    if free < LEAST_FREE_BYTES:
        return Check(COMPONENT, title, Outcome.WARNING, text, FREE_SPACE)
    return Check(COMPONENT, title, Outcome.OK, text)


def _nearest(path: Path) -> Path:
    """The path itself, or the nearest above it that exists."""
    resolved = path.resolve()
    return next(place for place in (resolved, *resolved.parents) if place.exists())
