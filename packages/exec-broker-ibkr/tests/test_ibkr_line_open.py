"""Opening a line: ready, or one sentence that says what is wrong; and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from exec_broker_ibkr.connection import sdk
from exec_broker_ibkr.connection.line import Line
from exec_broker_ibkr.messages import ErrorTold, Told
from exec_broker_ibkr.simulator import outbound, requests, wire
from exec_core.errors import ConnectionFailed
from ibkr_scripted import Client, Raw, ScriptedTws, scripted_tws


@pytest.fixture
async def tws() -> AsyncIterator[ScriptedTws]:
    async with scripted_tws() as scripted:
        yield scripted


class Heard:
    def __init__(self) -> None:
        self.told: list[Told] = []
        self.lost: list[str] = []


def sockets() -> set[str]:
    """The sockets of this process, by the numbers that the system gives them."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # it may have been closed meanwhile
            found.add(str(descriptor.readlink()))
    return {target for target in found if target.startswith("socket:")}


async def no_more_than(before: set[str]) -> None:
    """Wait until there are no other sockets; the server's ends of the connections need a moment, too."""
    async with asyncio.timeout(60):
        while not sockets() <= before:  # noqa: ASYNC110 - the system tells nobody that a socket was closed
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def _nothing_is_left(recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    gc.collect()
    assert [str(warning.message) for warning in recwarn if issubclass(warning.category, ResourceWarning)] == []
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def fails(port: int, **settings: Any) -> tuple[str, Heard]:
    """The sentence with which it fails; no task and no callback is left."""
    heard = Heard()
    line = Line("127.0.0.1", port, 7, **settings)
    with pytest.raises(ConnectionFailed) as failed:
        await line.open(heard.told.append, heard.lost.append)
    assert not line.is_open
    assert heard.lost == []
    assert line._link._transport is None  # its socket is closed already, and not only going to be
    with pytest.raises(ConnectionFailed):
        line.next_order_id()
    with pytest.raises(ConnectionFailed):
        await line.current_time()
    await line.close()
    assert failed.value.broker == "ibkr"
    return str(failed.value), heard


async def test_it_is_open_when_ids_and_accounts_are_told(tws: ScriptedTws) -> None:
    def welcome(client: Client, _: requests.Request) -> None:
        client.say(outbound.encode(ErrorTold(-1, 2104, "Market data farm connection is OK:usfarm")))
        client.say(outbound.next_valid_id(41))
        client.say(outbound.managed_accounts(["DU1", "DU2", ""]))

    tws.on[requests.StartApi] = welcome
    heard = Heard()
    line = Line("127.0.0.1", tws.port, 7)
    await line.open(heard.told.append, heard.lost.append)
    assert line.is_open
    assert line.accounts == ("DU1", "DU2")
    assert [line.next_order_id(), line.next_order_id()] == [41, 42]
    assert tws.got(requests.StartApi) == [requests.StartApi(7)]
    assert heard.told == [ErrorTold(-1, 2104, "Market data farm connection is OK:usfarm")]
    await line.close()
    await line.close()
    assert not line.is_open
    assert heard.lost == []
    await tws.until(lambda: tws.open_sockets == 0)


async def test_a_line_is_opened_once(tws: ScriptedTws) -> None:
    line = Line("127.0.0.1", tws.port, 7)
    await line.open(lambda _: None, lambda _: None)
    with pytest.raises(RuntimeError):
        await line.open(lambda _: None, lambda _: None)
    await line.close()


async def test_closing_what_was_never_opened_is_fine() -> None:
    await Line("127.0.0.1", 1, 7).close()


async def test_nothing_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        sentence, _ = await fails(port)
    assert sentence.startswith(f"Nothing listens at 127.0.0.1:{port}")
    for usual in ("4001", "4002", "7496", "7497"):
        assert usual in sentence


async def test_a_host_that_does_not_exist() -> None:
    line = Line("no-such-host.invalid", 4002, 7)
    with pytest.raises(ConnectionFailed, match=r"no-such-host\.invalid:4002"):
        await line.open(lambda _: None, lambda _: None)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\0\0\0\0",
        b"\0\0\0\x06banana",
        b"\0\0\0\x04\xc2\xb2\0\0",
        b"\0\0\0\x07one\0two",
        b"\0\0\0\x08one\0two\0",
        b"\0\0\0\x08999\x00now\x00",
        b"\0\0\x03\xe9" + b"x" * 1001,
    ],
)
async def test_a_stranger_is_known_at_once(answer: bytes, tws: ScriptedTws) -> None:
    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4)
        writer.write(answer)
        await reader.read()  # and waits for ever

    tws.raw = stranger
    sentence, _ = await fails(tws.port, connect_seconds=300)
    assert sentence.startswith(f"What listens at 127.0.0.1:{tws.port} is not TWS")
    await tws.until(lambda: tws.open_sockets == 0)


async def test_a_greeting_in_pieces_is_one(tws: ScriptedTws) -> None:
    tws.on[requests.StartApi] = lambda client, _: None
    line = Line("127.0.0.1", tws.port, 7)
    opening = asyncio.create_task(line.open(lambda _: None, lambda _: None))
    await tws.until(lambda: tws.got(requests.StartApi))
    for byte in wire.frame(outbound.next_valid_id(41)) + wire.frame(outbound.managed_accounts(["DU1"])):
        tws.client.say_bytes(bytes([byte]))
        await tws.client.writer.drain()
        await asyncio.sleep(0)
    await opening
    assert (line.accounts, line.next_order_id()) == (("DU1",), 41)
    await line.close()


async def test_one_that_hangs_up_without_a_word(tws: ScriptedTws) -> None:
    async def rude(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read(4)

    tws.raw = rude
    sentence, _ = await fails(tws.port, connect_seconds=300)
    assert "trusted" in sentence


async def test_the_client_id_in_use_is_known_at_once(tws: ScriptedTws) -> None:
    def in_use(client: Client, _: requests.Request) -> None:
        client.say(outbound.encode(ErrorTold(-1, 326, "Unable to connect as the client id is already in use.")))
        # and TWS may take its time to close

    tws.on[requests.StartApi] = in_use
    sentence, _ = await fails(tws.port, connect_seconds=300)
    assert sentence.startswith(f"Client id 7 is in use at 127.0.0.1:{tws.port}")
    await tws.until(lambda: tws.open_sockets == 0)


async def test_the_client_id_in_use_and_closed_in_one_go(tws: ScriptedTws) -> None:
    def in_use(client: Client, _: requests.Request) -> None:
        client.say(outbound.encode(ErrorTold(-1, 326, "Unable to connect as the client id is already in use.")))
        client.hang_up()

    tws.on[requests.StartApi] = in_use
    sentence, _ = await fails(tws.port, connect_seconds=300)
    assert sentence.startswith("Client id 7 is in use")


async def test_one_that_hangs_up_says_why(tws: ScriptedTws) -> None:
    def refuse(client: Client, _: requests.Request) -> None:
        client.say(outbound.encode(ErrorTold(-1, 507, "Bad Message Length")))
        client.say(outbound.encode(ErrorTold(-1, 2104, "Market data farm connection is OK")))
        client.hang_up()

    tws.on[requests.StartApi] = refuse
    sentence, heard = await fails(tws.port, connect_seconds=300)
    assert "hung up before it was ready: Bad Message Length (507)" in sentence
    assert len(heard.told) == 2


async def test_ready_and_gone_in_one_go_is_never_an_open_line(tws: ScriptedTws) -> None:
    def welcome(client: Client, request: requests.Request) -> None:
        tws.welcome(client, request)
        client.hang_up()

    tws.on[requests.StartApi] = welcome
    for _ in range(5):
        heard = Heard()
        line = Line("127.0.0.1", tws.port, 7)
        try:
            await line.open(heard.told.append, heard.lost.append)
        except ConnectionFailed:
            assert heard.lost == []
        else:
            await tws.until(lambda: tws.open_sockets == 0)
            with pytest.raises(ConnectionFailed):
                await line.current_time()
            assert len(heard.lost) == 1
        assert not line.is_open
        await line.close()


async def test_those_that_take_too_long_are_told_apart() -> None:
    """All at once, for each of them takes the whole time."""

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read(4)
        await reader.read()

    async def slow(*said: list[str], raw: Raw | None = None) -> str:
        async with scripted_tws() as tws:
            tws.raw = raw
            tws.on[requests.StartApi] = lambda client, _: client.say(*said)
            sentence, _ = await fails(tws.port, connect_seconds=1.5)
            await tws.until(lambda: tws.open_sockets == 0)
            return sentence

    stranger, *others = await asyncio.gather(
        slow(raw=silent),
        slow(),
        slow(outbound.next_valid_id(1)),
        slow(outbound.managed_accounts(["DU1"])),
        slow(outbound.next_valid_id(1), outbound.managed_accounts([])),
    )
    assert "did not answer as TWS does in 1.5 s" in stranger
    assert all("was not ready in 1.5 s" in other for other in others)


async def test_a_version_that_is_too_old(tws: ScriptedTws) -> None:
    tws.version = 156
    sentence, _ = await fails(tws.port, connect_seconds=300)
    assert "too old (version 156" in sentence


async def test_order_ids_that_are_used_up(tws: ScriptedTws) -> None:
    tws.next_id = 999_500_000
    sentence, _ = await fails(tws.port)
    assert "nearly used up" in sentence


async def test_an_opening_cancelled_at_any_moment_leaves_nothing(tws: ScriptedTws) -> None:
    """After each number of steps of the loop, until one is open before it is cancelled."""
    await sdk.load()
    before = sockets()
    for steps in range(10_000):
        line = Line("127.0.0.1", tws.port, 7)
        opening = asyncio.create_task(line.open(lambda _: None, lambda _: None))
        for _ in range(steps):
            await asyncio.sleep(0)
        if opening.done():
            break
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert not line.is_open
        await line.close()
        await no_more_than(before)
    await opening
    await line.close()
    assert steps > 5


@pytest.mark.parametrize("after", ["greeting", "starting"])
async def test_a_cancelled_opening_leaves_nothing(after: str, tws: ScriptedTws) -> None:
    reached = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read(4)
        reached.set()
        await reader.read()

    if after == "greeting":
        tws.raw = silent
    tws.on[requests.StartApi] = lambda _client, _request: reached.set()
    before = sockets()
    line = Line("127.0.0.1", tws.port, 7)
    opening = asyncio.create_task(line.open(lambda _: None, lambda _: None))
    await asyncio.wait_for(reached.wait(), 60)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await no_more_than(before)
    assert [task for task in asyncio.all_tasks() if "Line" in repr(task) or "open" in task.get_name()] == []
    assert not line.is_open
    await line.close()


async def test_a_failed_opening_leaves_no_task_and_no_socket(tws: ScriptedTws) -> None:
    tws.on[requests.StartApi] = lambda client, _: client.cut()
    before = sockets()
    await fails(tws.port)
    await no_more_than(before)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()


async def test_a_hearer_that_fails_does_not_keep_the_line_from_opening(
    tws: ScriptedTws, caplog: pytest.LogCaptureFixture
) -> None:
    def welcome(client: Client, request: requests.Request) -> None:
        client.say(outbound.encode(ErrorTold(-1, 2104, "fine")))
        tws.welcome(client, request)

    def hear(_: Told) -> None:
        raise RuntimeError("the hearer is broken")

    tws.on[requests.StartApi] = welcome
    line = Line("127.0.0.1", tws.port, 7)
    await line.open(hear, lambda _: None)
    assert "the hearer is broken" in caplog.text
    await line.close()
