"""The real client library against a server that answers byte for byte what it is told: what comes of it."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import kiteconnect
import pytest
from exec_broker_zerodha import replies
from exec_broker_zerodha.client import Client, Lane, Reply
from exec_broker_zerodha.failures import Kind
from exec_broker_zerodha.replies import Verdict
from exec_broker_zerodha.settings import ZerodhaSettings
from exec_broker_zerodha.tokens import TokenSource, store
from exec_core.errors import ConfigurationError

KEY, TOKEN = "appkey77", "tokenof1morning"
ORDER = {
    "variety": "regular",
    "exchange": "NSE",
    "tradingsymbol": "INFY",
    "transaction_type": "BUY",
    "quantity": 1,
    "product": "CNC",
    "order_type": "LIMIT",
    "price": "1500.05",
    "validity": "DAY",
    "tag": "A" * 20,
}


def answered(body: Any, status: int = 200, kind: str | None = "application/json", length: int | None = None) -> bytes:
    """The bytes of an answer; `length`: what it claims to have."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(content) if length is None else length}\r\n"
    head += f"Content-Type: {kind}\r\n" if kind else ""
    return f"{head}Connection: close\r\n\r\n".encode() + content


def error(error_type: str | None, status: int, text: str = "No.") -> bytes:
    return answered({"status": "error", "message": text, "data": None, "error_type": error_type}, status)


HANG = object()
RESET = object()


@dataclass
class Far:
    """A server; `answers` says what it answers, `asked` what it was asked."""

    answers: Callable[[str], Any] = lambda _line: answered({"status": "success", "data": {"order_id": "1"}})
    asked: list[str] = field(default_factory=list)
    root: str = ""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    hanging: set[asyncio.Task[Any]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lengths = [line for line in head.split("\r\n") if line.lower().startswith("content-length:")]
            length = int(lengths[0].split(":")[1]) if lengths else 0
            self.asked.append(head + (await reader.readexactly(length)).decode())
            answer = self.answers(head.split("\r\n")[0])
            if answer is HANG:
                await self.over.wait()
            elif answer is RESET:
                writer.transport.abort()
            else:
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    far = Far()
    server = await asyncio.start_server(far.serve, "127.0.0.1", 0)
    far.root = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield far
    far.over.set()
    server.close()
    await server.wait_closed()


@pytest.fixture
async def connect(far: Far, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    opened: list[Client] = []

    async def make(**settings: Any) -> Client:
        values = {"api_key": KEY, "access_token": TOKEN, "api_root": far.root, "requests_per_second": 1000}
        known = ZerodhaSettings(**(values | {"data_dir": tmp_path, "_env_file": None} | settings))
        client = Client(known, TokenSource(known.access_token, known.token_file))
        await client.open()
        opened.append(client)
        return client

    yield make
    far.over.set()
    for client in opened:
        client.close()


async def placed(client: Client) -> Reply:
    return await client.place(dict(ORDER), lambda: None)


AWKWARD: list[tuple[str, Any, Verdict]] = [
    ("html", answered(b"<html>502</html>", 502, "text/html"), Verdict.UNKNOWN),
    ("html that says 403", answered(b"<html>Forbidden</html>", 403, "text/html"), Verdict.UNKNOWN),
    ("no content type", answered({"status": "success", "data": {"order_id": "1"}}, kind=None), Verdict.UNKNOWN),
    ("null data", answered({"status": "success", "data": None}), Verdict.UNKNOWN),
    ("no data", answered({"status": "success"}), Verdict.UNKNOWN),
    ("no id", answered({"status": "success", "data": {}}), Verdict.UNKNOWN),
    ("a list", answered([1]), Verdict.UNKNOWN),
    ("no JSON", answered(b"{"), Verdict.UNKNOWN),
    ("empty", answered(b""), Verdict.UNKNOWN),
    ("cut", answered(b'{"status"', length=500), Verdict.UNKNOWN),
    ("dropped", b"", Verdict.UNKNOWN),
    ("reset", RESET, Verdict.UNKNOWN),
    ("an error without its type", error(None, 400), Verdict.UNKNOWN),
    ("an unknown error", error("UserException", 400), Verdict.UNKNOWN),
    ("redirected", answered({"status": "success", "data": {"order_id": "1"}}, 302), Verdict.UNKNOWN),
    ("margin", error("MarginException", 400, "RMS:Margin Exceeds"), Verdict.REFUSED),
    ("input", error("InputException", 400), Verdict.REFUSED),
    ("token", error("TokenException", 403), Verdict.LOGIN_NEEDED),
    ("too many", error("NetworkException", 429, "Too many requests"), Verdict.NOT_SENT),
    ("too many, with 200", error("NetworkException", 200, "Too many requests"), Verdict.NOT_SENT),
    ("order system away", error("NetworkException", 503), Verdict.UNKNOWN),
]


@pytest.mark.parametrize(("answer", "verdict"), [row[1:] for row in AWKWARD], ids=[row[0] for row in AWKWARD])
async def test_what_comes_back_of_an_order(far: Far, connect: Any, answer: Any, verdict: Verdict) -> None:
    if isinstance(answer, bytes) and b" 302 " in answer:
        answer = answer.replace(b"Connection:", f"Location: {far.root}/elsewhere\r\nConnection:".encode())
    far.answers = lambda _line: answer
    client = await connect()
    reply = await placed(client)
    assert reply.failure is not None
    judged = replies.of_placing(reply.failure)
    assert judged.verdict is verdict, judged
    assert len(far.asked) == 1, "an order is sent once, whatever comes back"
    for secret in (KEY, TOKEN):
        assert secret not in repr(reply)


async def test_an_order_goes_out_as_a_form(far: Far, connect: Any) -> None:
    far.answers = lambda _line: answered({"status": "success", "data": {"order_id": "1953341975595868160"}})
    reply = await placed(await connect())
    assert (reply.failure, reply.value) == (None, "1953341975595868160")
    head, body = far.asked[0].split("\r\n\r\n")
    assert head.startswith("POST /orders/regular ")
    assert f"Authorization: token {KEY}:{TOKEN}" in head
    assert "X-Kite-Version: 3" in head
    assert "price=1500.05&" in body
    assert f"tag={'A' * 20}" in body


async def test_nobody_listens(far: Far, connect: Any) -> None:
    client = await connect(api_root="http://127.0.0.1:9")
    reply = await placed(client)
    assert reply.failure is not None
    assert reply.failure.kind is Kind.NOT_SENT


async def test_figures_are_read_from_the_text(far: Far, connect: Any) -> None:
    body = b'{"status": "success", "data": [{"order_id": "1", "price": 0.1, "average_price": 159.8200001, "q": NaN}]}'
    far.answers = lambda _line: answered(body)
    (row,) = (await (await connect()).orders()).value
    assert (row["price"], row["average_price"], row["q"]) == (Decimal("0.1"), Decimal("159.8200001"), None)


async def test_the_venues_time_is_told(far: Far, connect: Any) -> None:
    body = answered({"status": "success", "data": []})
    far.answers = lambda _line: body.replace(b"Connection:", b"Date: Tue, 24 Nov 2026 03:30:00 GMT\r\nConnection:")
    reply = await (await connect()).orders()
    assert reply.venue_time.isoformat() == "2026-11-24T03:30:00+00:00"


async def test_the_environment_is_not_trusted(
    far: Far, connect: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    reply = await placed(await connect())
    assert reply.failure is None
    assert f"Authorization: token {KEY}:{TOKEN}" in far.asked[0]


async def test_cookies_are_not_kept(far: Far, connect: Any) -> None:
    body = answered({"status": "success", "data": []})
    far.answers = lambda _line: body.replace(b"Connection:", b"Set-Cookie: session=1\r\nConnection:")
    client = await connect()
    await client.orders()
    await client.orders()
    assert len(far.asked) == 2
    assert not any("cookie" in asked.lower() for asked in far.asked)


async def test_nothing_secret_is_logged(far: Far, connect: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await placed(await connect())
    assert far.asked
    assert TOKEN not in caplog.text
    assert KEY not in caplog.text


async def test_orders_that_hang_delay_no_cancel_and_no_question(far: Far, connect: Any) -> None:
    far.answers = lambda line: (
        HANG if line.startswith("POST") else answered({"status": "success", "data": {"order_id": "1"}})
    )
    client = await connect()
    hanging = [asyncio.create_task(placed(client)) for _ in range(Lane.ORDERS.value + 3)]
    async with asyncio.timeout(60):
        while len(far.asked) < Lane.ORDERS.value:  # noqa: ASYNC110  # the far side makes no noise
            await asyncio.sleep(0.01)
        assert (await client.cancel("amo", "22")).failure is None
        assert (await client.profile()).failure is None
    assert "DELETE /orders/amo/22 " in "".join(far.asked)
    assert not any(task.done() for task in hanging)
    # Leaving withdraws those that were not begun, for certain; the others may be live.
    client.close()
    ended = [await task for task in hanging[Lane.ORDERS.value :]]
    assert [reply.failure.kind for reply in ended if reply.failure] == [Kind.NOT_SENT] * 3
    far.over.set()
    begun = [await task for task in hanging[: Lane.ORDERS.value]]
    assert all(reply.failure and reply.failure.kind is Kind.NO_ANSWER for reply in begun)
    assert sum(asked.startswith("POST") for asked in far.asked) == Lane.ORDERS.value


async def test_an_answer_that_trickles_in_is_not_waited_for(far: Far, connect: Any) -> None:
    trickle = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n")
        while not trickle.is_set():
            writer.write(b" ")
            await asyncio.sleep(0.02)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    late = asyncio.Event()
    try:
        client = await connect(api_root=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", request_seconds=0.15)
        reply = await client.place(dict(ORDER), late.set)
        assert reply.failure is not None
        assert reply.failure.kind is Kind.NO_ANSWER
        assert reply.is_under_way
        assert not late.is_set()
        trickle.set()
        async with asyncio.timeout(60):
            await late.wait()
    finally:
        trickle.set()
        server.close()
        await server.wait_closed()


async def test_an_order_that_is_given_up_before_its_turn_is_not_under_way(far: Far, connect: Any) -> None:
    client, late = await connect(requests_per_second=1, api_key="slowkey"), asyncio.Event()
    await placed(client)
    waiting = asyncio.create_task(client.place(dict(ORDER), late.set))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert late.is_set()
    assert len(far.asked) == 1


async def test_a_library_that_cannot_say_the_protection_is_refused(
    far: Far, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kiteconnect.KiteConnect, "place_order", lambda self, variety, tag=None: None)
    with pytest.raises(ConfigurationError, match=r"kiteconnect>=5\.1"):
        await connect()


async def test_a_session_that_was_left_sends_nothing(far: Far, connect: Any) -> None:
    client = await connect()
    client.close()
    reply = await placed(client)
    assert reply.failure is not None
    assert reply.failure.kind is Kind.NOT_SENT
    assert far.asked == []


async def test_a_new_token_is_used_at_once_if_it_is_the_same_users(far: Far, connect: Any, tmp_path: Path) -> None:
    users = {"first1": "AB1234", "second2": "AB1234", "third3": "XY9999"}

    def answer(line: str) -> bytes:
        token = far.asked[-1].split(f"token {KEY}:")[1].split("\r\n")[0]
        if line.startswith("GET /user/profile"):
            return answered({"status": "success", "data": {"user_id": users[token]}})
        return answered({"status": "success", "data": {"order_id": token}})

    far.answers = answer
    path = tmp_path / "token.json"
    store(path, "first1", None, None)
    client = await connect(token_file=path, access_token=None)
    assert (await client.profile()).failure is None
    assert (await placed(client)).value == "first1"
    store(path, "second2", None, None)
    assert (await placed(client)).value == "second2"
    store(path, "third3", None, None)
    reply = await placed(client)
    assert reply.failure is not None
    assert replies.of_placing(reply.failure).verdict is Verdict.LOGIN_NEEDED
    assert "XY9999" in reply.failure.text
    sent = [asked for asked in far.asked if asked.startswith("POST")]
    assert len(sent) == 2, "an order went to another user's account"


def test_the_library_is_imported_when_a_session_opens() -> None:
    script = """
import sys
from exec_core.broker import BrokerConfig
from exec_core.plugins import load_broker_plugin, plugin_settings
plugin = load_broker_plugin("zerodha")
config = BrokerConfig("zerodha", "a", settings={"api_key": "k", "access_token": "t"})
plugin.create(config, plugin_settings(plugin, config))
loaded = [name for name in ("kiteconnect", "requests", "twisted", "aiohttp", "autobahn") if name in sys.modules]
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd="/")
