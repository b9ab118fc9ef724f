"""The files of an archive: gzip, one document per line, with exact values; durable before anything is removed.

A number is as `exec_service.stores.codec` writes it (``{"$decimal": "1.50"}``, ``{"$time": "..."}``), so that
`codec.unpack` gives back each line's document as it was. What was written together is a gzip member of its own: after a
crash everything but perhaps the last member of a file can be read, and of that nothing was removed from the store.
"""

from __future__ import annotations

import gzip
import math
import os
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from exec_service.stores import Document
from exec_service.stores.codec import pack, to_text
from exec_service.stores.values import Carried

SUFFIX: Final = ".jsonl.gz"


class ArchiveFiles:
    """The files of one run: one per collection that something is archived of, in `directory`."""

    def __init__(self, directory: Path, started_at: datetime) -> None:
        self.directory = directory
        # The random part: two runs may begin in one second, and must never share a file.
        self._name = f"{started_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
        self._open: dict[str, int] = {}

    def path(self, collection: str) -> Path | None:
        """The collection's file, if there is one."""
        return self._path(collection) if collection in self._open else None

    def write(self, collection: str, documents: Sequence[Document]) -> None:
        """Add the documents; on the disk, and found there after a loss of power, when this returns.

        :raises OSError: they are not, and nothing of them must be removed.
        """
        if not documents:
            return
        member = gzip.compress(b"".join(line(document) for document in documents))
        descriptor = self._descriptor(collection)
        size = os.fstat(descriptor).st_size
        try:
            _write(descriptor, member)
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)  # what is in the file already stays whole
            raise

    def close(self) -> None:
        """Close the files; everything in them is on the disk already."""
        while self._open:
            _, descriptor = self._open.popitem()
            os.close(descriptor)

    def _path(self, collection: str) -> Path:
        return self.directory / f"{collection}-{self._name}{SUFFIX}"

    def _descriptor(self, collection: str) -> int:
        if collection not in self._open:
            _make_directory(self.directory)
            # Readable for its owner alone: what somebody trades is nobody else's business.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._open[collection] = os.open(self._path(collection), flags, 0o600)
            _sync_directory(self.directory)
        return self._open[collection]


def line(document: Mapping[str, Any]) -> bytes:
    """The document as a line of a file."""
    try:
        text = to_text(pack(document))
    except (TypeError, ValueError):  # rarely, hence not looked for each time
        text = to_text(pack(_shown(document)))
    return text.encode("ascii") + b"\n"


def _shown(value: Any) -> Any:
    """`value` with the text of what only another service can have written, and JSON has no number or name for."""
    if isinstance(value, Mapping):
        return {key: _shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    if isinstance(value, Carried) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    return value


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _make_directory(directory: Path) -> None:
    """Make the directory, and those above it; their names are durable, too."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in missing:
        _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
