"""TWS's framing, seen from the server: the greeting, then messages of NUL-ended fields, each behind its length.

The layout is that of IB's own clients (``ibapi``, ``comm.py`` and ``client.py``): the client begins with the four
bytes ``API\\0`` and one length-prefixed text, ``v157..176`` and perhaps options; the server answers with a frame of two
fields, the protocol version it chose and its time. After that both sides send frames: four bytes of length, big-endian,
and that many bytes of UTF-8 in which every field ends with NUL.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

#: The longest greeting that is read; real ones have a dozen bytes.
GREETING_LIMIT: Final = 1_000
#: The longest message that is read. IB's own limit is 16 MB (``MAX_MSG_LEN``); no client's message comes near this.
MESSAGE_LIMIT: Final = 1_048_576

_MAGIC: Final = b"API\0"
_LENGTH: Final = struct.Struct(">I")
_GREETING: Final = re.compile(r"v(\d{1,6})(?:\.\.(\d{1,6}))?(?: (.*))?", re.DOTALL)


class WireError(Exception):
    """What came is not this protocol, or it broke off in the middle of a message. The connection is of no more use."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a client opens with: the protocol versions it can speak."""

    lowest: int
    highest: int
    options: str = ""

    def version(self, highest: int) -> int:
        """The version that both sides speak, where the server speaks everything up to `highest`.

        :raises WireError: there is none.
        """
        if highest < self.lowest:
            raise WireError(
                f"the client speaks versions {self.lowest} to {self.highest}, the server none above {highest}"
            )
        return min(self.highest, highest)


async def read_greeting(reader: asyncio.StreamReader) -> Greeting | None:
    """The client's greeting; None where the connection ended before a byte of it.

    :raises WireError: that is no client of TWS.
    """
    start = await _exactly(reader, len(_MAGIC))
    if start is None:
        return None
    if start != _MAGIC:
        raise WireError(f"a client of TWS begins with {_MAGIC!r}, this one with {start!r}")
    payload = await _payload(reader, GREETING_LIMIT)
    if payload is None:
        raise WireError("the connection ended in the middle of the greeting")
    found = _GREETING.fullmatch(_text(payload))
    if found is None:
        raise WireError(f"the greeting names no versions: {payload[:80]!r}")
    lowest = int(found[1])
    return Greeting(lowest, int(found[2] or lowest), found[3] or "")


def greeting_answer(version: int, now: datetime) -> bytes:
    """The server's answer to the greeting."""
    return frame((str(version), now.astimezone(UTC).strftime("%Y%m%d %H:%M:%S UTC")))


async def read_message(reader: asyncio.StreamReader, limit: int = MESSAGE_LIMIT) -> list[str] | None:
    """The fields of the next message; None where the connection ended before it.

    :raises WireError: it is too long, no text, without its last NUL, or broken off.
    """
    payload = await _payload(reader, limit)
    if payload is None:
        return None
    text = _text(payload)
    if not text.endswith("\0"):
        raise WireError(f"a message does not end with NUL: it ends with {payload[-20:]!r}")
    return text[:-1].split("\0")


def frame(fields: Iterable[str]) -> bytes:
    """A message as bytes.

    :raises ValueError: a field contains NUL, which would shift all that follow, or there is no field.
    """
    taken = list(fields)
    for number, field in enumerate(taken):
        if "\0" in field:
            raise ValueError(f"field {number} of message {taken[0]!r} contains NUL")
    if not taken:
        raise ValueError("a message has at least one field")
    payload = "".join(f"{field}\0" for field in taken).encode()
    return _LENGTH.pack(len(payload)) + payload


async def _payload(reader: asyncio.StreamReader, limit: int) -> bytes | None:
    prefix = await _exactly(reader, _LENGTH.size)
    if prefix is None:
        return None
    (length,) = _LENGTH.unpack(prefix)
    if not 0 < length <= limit:
        raise WireError(f"a message of {length} bytes is announced, {limit} are the most; the framing is lost")
    payload = await _exactly(reader, length)
    if payload is None:
        raise WireError(f"the connection ended before a message of {length} bytes")
    return payload


async def _exactly(reader: asyncio.StreamReader, count: int) -> bytes | None:
    try:
        return await reader.readexactly(count)
    except asyncio.IncompleteReadError as broken:
        if broken.partial:
            raise WireError(f"the connection ended after {len(broken.partial)} of {count} bytes") from None
        return None


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise WireError(f"a message is not UTF-8: {payload[:80]!r}") from None
