"""The simulator's framing: what a client sends is read, and what is no client's is told apart."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from exec_broker_ibkr.simulator import wire


def reader_of(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


def greeting_of(text: str) -> bytes:
    return b"API\0" + len(text).to_bytes(4, "big") + text.encode()


@pytest.mark.parametrize(
    ("text", "greeting"),
    [
        ("v157..176", wire.Greeting(157, 176)),
        ("v157..178", wire.Greeting(157, 178)),
        ("v100", wire.Greeting(100, 100)),
        ("v157..176 +PACEAPI", wire.Greeting(157, 176, "+PACEAPI")),
    ],
)
async def test_a_greeting_says_its_versions(text: str, greeting: wire.Greeting) -> None:
    assert await wire.read_greeting(reader_of(greeting_of(text))) == greeting


async def test_a_connection_that_ends_before_the_greeting_is_no_error() -> None:
    assert await wire.read_greeting(reader_of(b"")) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"AP",
        b"API\0",
        b"API\0\0\0",
        b"API\0\0\0\0\x09v157..",
        b"API\0\xff\xff\xff\xff",
        greeting_of("hello"),
        greeting_of("v157..x"),
        greeting_of("v" + "1" * 2000),
    ],
)
async def test_a_greeting_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(wire.WireError):
        await wire.read_greeting(reader_of(data))


def test_the_version_is_the_highest_that_both_speak() -> None:
    assert wire.Greeting(157, 178).version(176) == 176
    assert wire.Greeting(157, 170).version(176) == 170
    with pytest.raises(wire.WireError, match="177"):
        wire.Greeting(177, 190).version(176)


async def test_the_answer_to_a_greeting_is_a_version_and_a_time() -> None:
    answer = wire.greeting_answer(176, datetime(2026, 11, 23, 14, 30, tzinfo=UTC))
    assert await wire.read_message(reader_of(answer)) == ["176", "20261123 14:30:00 UTC"]


@pytest.mark.parametrize("fields", [["5", "1"], ["4", "1", ""], [""], ["9", "Zürich", "", ""]])
async def test_fields_survive_the_way(fields: list[str]) -> None:
    reader = reader_of(wire.frame(fields) * 2)
    assert await wire.read_message(reader) == fields
    assert await wire.read_message(reader) == fields
    assert await wire.read_message(reader) is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\0\0\0\0", "0 bytes"),
        (b"\xff\xff\xff\xff", "4294967295 bytes"),
        ((101).to_bytes(4, "big") + b"x" * 101, "101 bytes"),
        (b"\0\0", "2 of 4"),
        (b"\0\0\0\x05ab", "2 of 5"),
        (b"\0\0\0\x05", "before a message"),
        (b"\0\0\0\x02ab", "NUL"),
        (b"\0\0\0\x02\xff\0", "UTF-8"),
    ],
)
async def test_broken_frames_are_refused_with_a_reason(data: bytes, why: str) -> None:
    with pytest.raises(wire.WireError, match=why):
        await wire.read_message(reader_of(data), limit=100)


@pytest.mark.parametrize("fields", [[], ["5", "a\0b"]])
def test_what_would_shift_the_fields_is_not_written(fields: list[str]) -> None:
    with pytest.raises(ValueError):
        wire.frame(fields)
