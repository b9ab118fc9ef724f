"""The Telegram notifier against a loopback Bot API: what it sends, and what it makes of each answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from exec_core import (
    CheckableNotifier,
    ConfigurationError,
    Notification,
    NotificationDelayed,
    NotificationRefused,
    Notifier,
)
from exec_service.notifiers import telegram, telegram_client
from exec_service.notifiers.telegram_answers import BotRefused, TelegramUnavailable
from exec_service.notifiers.telegram_settings import TelegramSettings
from pydantic import SecretStr
from telegram_server import CHAT_ID, TOKEN, Answer, TelegramServer

HELLO = Notification("id-1", "🚨 Needs Attention", (("Signal", "sig_1"), ("Reason", "look")))
SPECIFIED = [
    "✅ Order Filled\n\nSignal: sig_1732450800_5678\nStrategy: SPX 1-Day Options\nOrder: BUY 100 SPY @ $235.15\n"
    "Total: $23,515.00\nCommission: $1.00\nTime: 2 seconds",
    "❌ Order Rejected\n\nSignal: sig_1732450800_5678\nStrategy: SPX 1-Day Options\nOrder: BUY 100 SPY\n"
    "Reason: Insufficient margin\nAccount: IBKR Main Account",
    "⚠️ Partial Fill\n\nSignal: sig_1732450800_5678\nOrder: BUY 100 SPY\nFilled: 50/100 @ $235.20\nRemaining: 50",
]


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[TelegramServer]:
    with TelegramServer() as running:
        yield running


@asynccontextmanager
async def notifier_at(
    root: str, token: str = TOKEN, chat_id: str = CHAT_ID
) -> AsyncIterator[telegram.TelegramNotifier]:
    settings = TelegramSettings(enabled=True, bot_token=SecretStr(token), chat_id=chat_id, api_root=root)
    made = telegram.create(settings)
    assert made is not None
    async with made as notifier:
        yield notifier


def parsed(text: str) -> Notification:
    title, _, rest = text.partition("\n\n")
    return Notification("id", title, tuple(tuple(line.split(": ", 1)) for line in rest.split("\n")))  # type: ignore[misc]


async def test_the_request_is_exactly_this(server: TelegramServer) -> None:
    async with notifier_at(server.root) as notifier:
        assert isinstance(notifier, Notifier)
        assert isinstance(notifier, CheckableNotifier)
        await notifier.send(HELLO)
    (request,) = server.requests
    assert (request.verb, request.path) == ("POST", f"/bot{TOKEN}/sendMessage")
    assert request.headers["Content-Type"] == "application/json"
    assert "Authorization" not in request.headers
    assert request.payload == {
        "chat_id": CHAT_ID,
        "text": "🚨 Needs Attention\n\nSignal: sig_1\nReason: look",
        "link_preview_options": {"is_disabled": True},
    }


@pytest.mark.parametrize("text", SPECIFIED, ids=["filled", "rejected", "partial"])
async def test_the_specifications_texts_arrive_to_the_byte(server: TelegramServer, text: str) -> None:
    async with notifier_at(server.root) as notifier:
        await notifier.send(parsed(text))
    assert server.texts == [text]


@pytest.mark.parametrize("chat_id", ["42", "@desk_channel"])
async def test_a_person_and_a_channel_can_be_told_too(chat_id: str) -> None:
    with TelegramServer(chats={chat_id: {"id": 42}}) as server:
        async with notifier_at(server.root, chat_id=chat_id) as notifier:
            await notifier.send(HELLO)
    assert server.messages[0]["chat_id"] == chat_id


async def test_what_is_written_in_netrc_is_not_sent_along(
    server: TelegramServer, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login me password hidden\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with notifier_at(server.root) as notifier:
        await notifier.send(HELLO)
    assert "Authorization" not in server.requests[0].headers


async def test_one_connection_serves_many_messages(server: TelegramServer) -> None:
    async with notifier_at(server.root) as notifier:
        for _ in range(3):
            await notifier.send(HELLO)
        assert sum(thread.name == "telegram" for thread in threading.enumerate()) == 1
    assert len(server.texts) == 3


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (TelegramServer.too_many(7), 7.0),
        (TelegramServer.too_many(header="11"), 11.0),
        (TelegramServer.too_many(7, header="11"), 7.0),
        (TelegramServer.too_many(), 5.0),
        (TelegramServer.too_many(header="Wed, 21 Oct 2026 07:28:00 GMT"), 5.0),
        (TelegramServer.refuses("Too Many Requests", 429, retry_after="soon"), 5.0),
        (TelegramServer.refuses("Too Many Requests", 429, retry_after=-3), 0.0),
        (TelegramServer.refuses("Too Many Requests", 429, retry_after=float("nan")), 5.0),
        (TelegramServer.refuses("Too Many Requests", 429, retry_after=10**400), 1e9),
        (Answer(429, b"slow down", {"Retry-After": "9"}), 9.0),
    ],
)
async def test_429_asks_for_a_pause_and_then_it_is_taken(
    server: TelegramServer, answer: Answer, seconds: float
) -> None:
    server.misbehave(answer)
    async with notifier_at(server.root) as notifier:
        with pytest.raises(NotificationDelayed) as caught:
            await notifier.send(HELLO)
        assert caught.value.retry_after_seconds == seconds
        await notifier.send(HELLO)
    assert len(server.texts) == 1


@pytest.mark.parametrize(
    ("code", "description"),
    [
        (400, "Bad Request: chat not found"),
        (400, "Bad Request: message text is empty"),
        (400, "Bad Request: message is too long"),
        (403, "Forbidden: bot was blocked by the user"),
        (403, "Forbidden: bot was kicked from the supergroup chat"),
    ],
)
async def test_what_telegram_will_never_take_is_refused_in_its_words(
    server: TelegramServer, code: int, description: str
) -> None:
    server.misbehave(TelegramServer.refuses(description, code))
    async with notifier_at(server.root) as notifier:
        with pytest.raises(NotificationRefused, match=description):
            await notifier.send(HELLO)


async def test_an_empty_notification_and_an_unknown_chat_are_refused_for_real(server: TelegramServer) -> None:
    async with notifier_at(server.root) as notifier:
        with pytest.raises(NotificationRefused, match="message text is empty"):
            await notifier.send(Notification("id", " "))
    async with notifier_at(server.root, chat_id="-1") as notifier:
        with pytest.raises(NotificationRefused, match="chat not found"):
            await notifier.send(HELLO)


@pytest.mark.parametrize("token", ["987654321:wrong", "without-a-colon"])
async def test_a_wrong_token_drops_nothing_and_names_its_variable(server: TelegramServer, token: str) -> None:
    async with notifier_at(server.root, token) as notifier:
        with pytest.raises(BotRefused, match="TELEGRAM_BOT_TOKEN") as caught:
            await notifier.send(HELLO)
    assert not isinstance(caught.value, NotificationRefused | NotificationDelayed)


@pytest.mark.parametrize(
    "answer",
    [
        TelegramServer.fails(500),
        TelegramServer.fails(502),
        TelegramServer.refuses("Internal Server Error", 500),
        TelegramServer.hangs_up(),
        Answer(200, b"<html>Please log in to the network</html>"),
        Answer(200, b""),
        Answer(200, b"[" * 100_000),
        Answer(200, {"ok": "yes"}),
        Answer(400, b"proxy says no"),
        Answer(403, b"<html>forbidden by the firewall</html>"),
        Answer(407, b""),
    ],
)
async def test_what_is_no_answer_of_telegrams_is_tried_again_and_works_then(
    server: TelegramServer, answer: Answer
) -> None:
    server.misbehave(answer)
    async with notifier_at(server.root) as notifier:
        with pytest.raises(TelegramUnavailable):
            await notifier.send(HELLO)
        await notifier.send(HELLO)
    assert len(server.texts) == 1


async def test_a_redirect_is_not_followed(server: TelegramServer) -> None:
    with TelegramServer() as elsewhere:
        server.misbehave(TelegramServer.redirects(f"{elsewhere.root}/bot{TOKEN}/sendMessage"))
        async with notifier_at(server.root) as notifier:
            with pytest.raises(TelegramUnavailable, match="redirect"):
                await notifier.send(HELLO)
        assert elsewhere.requests == []


async def test_nobody_at_the_address_is_an_ordinary_error_with_the_systems_words() -> None:
    with TelegramServer() as gone:
        root = gone.root
    async with notifier_at(root) as notifier:
        with pytest.raises(TelegramUnavailable, match="cannot be reached: Connection refused"):
            await notifier.send(HELLO)


async def test_a_slow_server_is_given_up(server: TelegramServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telegram_client, "READ_SECONDS", 0.1)
    server.misbehave(TelegramServer.hangs())
    async with notifier_at(server.root) as notifier:
        with pytest.raises(TelegramUnavailable, match="does not answer in time"):
            await notifier.send(HELLO)


def test_the_waits_of_a_request_are_together_shorter_than_those_of_a_send() -> None:
    plugin = telegram.exec_register_notifier()
    assert plugin.send_timeout_seconds > telegram_client.CONNECT_SECONDS + telegram_client.READ_SECONDS
    assert plugin.digest_above == 20


async def test_a_proxy_of_the_environment_is_used(server: TelegramServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.root)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with notifier_at("http://telegram.invalid") as notifier:
        with contextlib.suppress(TelegramUnavailable):
            await notifier.send(HELLO)
    assert server.requests[0].path.startswith("http://telegram.invalid/bot")


async def test_a_group_that_has_moved_is_followed_and_people_are_told(
    server: TelegramServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.chats["-100777"] = {"id": -100777}
    moved = TelegramServer.refuses(
        "Bad Request: group chat was upgraded to a supergroup chat", 400, migrate_to_chat_id=-100777
    )
    server.misbehave(moved)
    async with notifier_at(server.root) as notifier:
        await notifier.send(HELLO)
        await notifier.send(HELLO)
    assert [message["chat_id"] for message in server.messages] == ["-100777", "-100777"]
    assert [request.payload["chat_id"] for request in server.requests] == [CHAT_ID, "-100777", "-100777"]
    assert "set TELEGRAM_CHAT_ID to -100777" in caplog.text


async def test_a_group_that_moves_on_and_on_is_refused(server: TelegramServer) -> None:
    moved = TelegramServer.refuses("Bad Request: upgraded", 400, migrate_to_chat_id=-100777)
    server.misbehave(moved, moved)
    async with notifier_at(server.root) as notifier:
        with pytest.raises(NotificationRefused, match="supergroup"):
            await notifier.send(HELLO)
    assert len(server.requests) == 2


async def test_leaving_does_not_wait_for_a_server_that_hangs(
    server: TelegramServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The server hangs for as long as the test likes; only a leave that does not wait for it can come to an end."""
    monkeypatch.setattr(telegram_client, "READ_SECONDS", 3600)
    monkeypatch.setattr(telegram, "GOODBYE_SECONDS", 0.1)
    server.misbehave(TelegramServer.hangs())
    async with notifier_at(server.root) as notifier:
        sending = asyncio.create_task(notifier.send(HELLO))
        await asyncio.to_thread(server.until, lambda: len(server.requests) == 1)
        sending.cancel()
        await asyncio.wait([sending])
    assert sending.cancelled()
    assert "is not waited for" in caplog.text
    server.behave()
    await asyncio.to_thread(_ended, "telegram")


def _ended(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(15)
            assert not thread.is_alive()


@pytest.mark.parametrize(("root", "warned"), [("http://bots.example:8081", True), ("http://127.0.0.1:1", False)])
async def test_a_token_that_can_be_read_on_the_way_is_warned_of(
    root: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with notifier_at(root):
            pass
    assert ("TELEGRAM_API_ROOT is plain HTTP" in caplog.text) is warned


class TestCheck:
    async def test_it_finds_the_bot_and_the_chat_and_tells_nobody(self, server: TelegramServer) -> None:
        async with notifier_at(server.root) as notifier:
            assert await notifier.check() == "the bot @desk_bot finds the chat Trading desk"
        assert [request.method for request in server.requests] == ["getMe", "getChat"]
        assert server.messages == []

    async def test_a_wrong_token_is_named(self, server: TelegramServer) -> None:
        async with notifier_at(server.root, "987654321:wrong") as notifier:
            with pytest.raises(ConfigurationError, match=r"^TELEGRAM_BOT_TOKEN: .*401 Unauthorized"):
                await notifier.check()

    async def test_a_wrong_chat_is_named(self, server: TelegramServer) -> None:
        async with notifier_at(server.root, chat_id="desk") as notifier:
            with pytest.raises(ConfigurationError, match=r"^TELEGRAM_CHAT_ID: .*chat not found.*@channelname"):
                await notifier.check()

    async def test_a_chat_that_has_moved_is_named_with_its_new_id(self, server: TelegramServer) -> None:
        good = Answer(200, {"ok": True, "result": {"username": "desk_bot"}})
        server.misbehave(good, TelegramServer.refuses("Bad Request: upgraded", 400, migrate_to_chat_id=-100777))
        async with notifier_at(server.root) as notifier:
            with pytest.raises(ConfigurationError, match=r"^TELEGRAM_CHAT_ID: .*-100777"):
                await notifier.check()

    @pytest.mark.parametrize(
        "answer", [TelegramServer.fails(), TelegramServer.hangs_up(), TelegramServer.redirects("/x")]
    )
    async def test_an_address_that_does_not_answer_as_telegram_is_named(
        self, server: TelegramServer, answer: Answer
    ) -> None:
        server.misbehave(answer)
        async with notifier_at(server.root) as notifier:
            with pytest.raises(TelegramUnavailable, match=f"the network.*{server.root}|{server.root}.*the network"):
                await notifier.check()

    async def test_a_pause_blames_no_variable(self, server: TelegramServer) -> None:
        server.misbehave(TelegramServer.too_many(3))
        async with notifier_at(server.root) as notifier:
            with pytest.raises(TelegramUnavailable, match="pause of 3 s") as caught:
                await notifier.check()
        assert "TELEGRAM_" not in str(caught.value)
