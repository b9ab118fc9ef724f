"""How notifications leave a channel: one by one or as a digest, after a pause or again, or never."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from exec_core import Notification, NotificationDelayed, NotificationRefused
from exec_service import delivery, outbox
from exec_service.notifiers.telegram import TelegramNotifier
from exec_service.notifiers.telegram_settings import TelegramSettings
from exec_service.outbox import Channel, Row
from messages import order
from pydantic import SecretStr
from rig import Rig
from telegram_server import CHAT_ID, TOKEN, TelegramServer

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def row(number: int, title: str = "✅ Order Filled") -> Row:
    return {
        "_id": f"id-{number}-test",
        "notification_id": f"id-{number}",
        "title": title,
        "fields": [["Signal", f"sig_{number}"]],
        "prefix": "[MOCK]",
        "channel": "notifier:test",
        "created_at": NOW,
    }


class Listener:
    """A notifier that does what it is told, then remembers."""

    def __init__(self, *plan: Exception) -> None:
        self.plan = list(plan)
        self.tried: list[Notification] = []
        self.heard: list[Notification] = []

    async def __aenter__(self) -> Listener:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is held."""

    async def send(self, notification: Notification) -> None:
        self.tried.append(notification)
        if self.plan:
            raise self.plan.pop(0)
        self.heard.append(notification)


class Waits:
    """The waits of the channel: each is remembered and ends when it is told to."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.over = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self.over.wait()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """Waits that end at once, unless the test says otherwise."""
    made = Waits()
    made.over.set()

    class Asyncio:
        """The module as the outbox sees it."""

        def __getattr__(self, name: str) -> Any:
            return made.sleep if name == "sleep" else getattr(asyncio, name)

    monkeypatch.setattr(outbox, "asyncio", Asyncio())
    return made


@asynccontextmanager
async def running(channel: Channel, marked: list[str] | None = None) -> AsyncIterator[asyncio.Task[None]]:
    async def mark(rows: Sequence[Row]) -> None:
        if marked is not None:
            marked.extend(row["_id"] for row in rows)

    task = asyncio.create_task(channel.run(mark))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def drained(channel: Channel) -> None:
    await until(lambda: not channel.waiting)
    async with asyncio.timeout(60):
        await channel.drained()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # nothing tells when what others do has come about
            await asyncio.sleep(0.005)


def channel_of(listener: Any, waiting: int, digest_above: int | None = 20) -> Channel:
    channel = delivery.notifications("test", listener, 5.0, digest_above)
    for number in range(waiting):
        channel.add(row(number))
    return channel


async def test_what_arrives_soon_after_a_delivery_is_delivered_together_a_moment_later(waits: Waits) -> None:
    waits.over.clear()
    called: list[list[str]] = []

    async def deliver(rows: Sequence[Row]) -> int:
        called.append([one["notification_id"] for one in rows])
        return len(rows)

    channel = Channel("test", deliver, every_seconds=600.0)
    async with running(channel):
        channel.add(row(0))
        await until(lambda: bool(called))
        for number in range(1, 5):
            channel.add(row(number))
            await asyncio.sleep(0)
        await until(lambda: bool(waits.asked))
        assert called == [["id-0"]]
        waits.over.set()
        await drained(channel)
    assert called == [["id-0"], ["id-1", "id-2", "id-3", "id-4"]]
    assert 0 < waits.asked[0] <= 600


class TestDigests:
    @pytest.mark.parametrize(
        ("waiting", "digest_above", "heard"),
        [(20, 20, ["id"] * 20), (21, 20, ["digest"]), (25, 20, ["digest"]), (25, None, ["id"] * 25)],
    )
    async def test_only_where_more_wait_than_the_plugin_says(
        self, waiting: int, digest_above: int | None, heard: list[str]
    ) -> None:
        listener, marked = Listener(), list[str]()
        channel = channel_of(listener, waiting, digest_above)
        async with running(channel, marked):
            await drained(channel)
        assert [one.id.partition("-")[0] for one in listener.heard] == heard
        assert marked == [f"id-{number}-test" for number in range(waiting)]

    async def test_of_more_than_a_load_each_load_is_one(self) -> None:
        listener, marked = Listener(), list[str]()
        channel = channel_of(listener, 2_021)
        async with running(channel, marked):
            await drained(channel)
        titles = [one.text.split("\n")[0] for one in listener.heard]
        assert titles == ["[MOCK] 📋 1,000 Notifications"] * 2 + ["[MOCK] 📋 21 Notifications"]
        assert len(marked) == len(set(marked)) == 2_021

    async def test_what_is_waiting_is_told_at_once_when_the_far_side_comes_back(self, waits: Waits) -> None:
        listener = Listener(OSError("away"))
        waits.over.clear()
        channel = channel_of(listener, 1)
        async with running(channel):
            await until(lambda: len(waits.asked) == 1)
            for number in range(1, 30):
                channel.add(row(number))
            waits.over.set()
            await drained(channel)
        assert [one.id[:6] for one in listener.tried] == ["id-0", "digest"]

    async def test_one_that_is_refused_is_dropped_and_all_that_it_stood_for_are_named(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        listener, marked = Listener(NotificationRefused("too much")), list[str]()
        channel = channel_of(listener, 25)
        async with running(channel, marked):
            await drained(channel)
        (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert "too much" in line
        assert ", ".join(f"id-{number}" for number in range(25)) in line
        assert len(marked) == 25


class TestPauses:
    @pytest.mark.parametrize(
        ("asked", "waited"), [(3, 3), (0, 0.2), (-5, 0.2), (10_000, 900), (float("inf"), 900), (float("nan"), 0.2)]
    )
    async def test_as_long_as_the_far_side_asks_within_reason(self, waits: Waits, asked: float, waited: float) -> None:
        listener = Listener(NotificationDelayed("429", retry_after_seconds=asked))
        channel = channel_of(listener, 1)
        async with running(channel):
            await drained(channel)
        assert waits.asked == [waited]
        assert [one.id for one in listener.tried] == ["id-0", "id-0"]

    async def test_what_arrives_meanwhile_does_not_shorten_it(self, waits: Waits) -> None:
        waits.over.clear()
        listener = Listener(NotificationDelayed("429", retry_after_seconds=60))
        channel = channel_of(listener, 1)
        async with running(channel):
            await until(lambda: waits.asked == [60])
            channel.add(row(1))
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(listener.tried) == 1
            waits.over.set()
            await drained(channel)
        assert [one.id for one in listener.heard] == ["id-0", "id-1"]

    async def test_it_is_said_once_and_is_no_failure(self, waits: Waits, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        listener = Listener(*[NotificationDelayed("429 Too Many Requests", retry_after_seconds=3) for _ in range(5)])
        channel = channel_of(listener, 1)
        async with running(channel):
            await drained(channel)
        lines = [(record.levelname, record.getMessage()) for record in caplog.records]
        assert lines == [("INFO", "Delivery to notifier:test pauses for 3 s (1 waiting): 429 Too Many Requests")]

    async def test_after_a_success_the_next_is_said_again(self, waits: Waits, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        listener = Listener(NotificationDelayed("first"))
        channel = channel_of(listener, 1)
        async with running(channel):
            await drained(channel)
            listener.plan.append(NotificationDelayed("second"))
            channel.add(row(1))
            await drained(channel)
        assert ["first" in caplog.text, "second" in caplog.text] == [True, True]

    async def test_a_channel_that_pauses_can_be_stopped_at_any_time(self) -> None:
        listener = Listener(NotificationDelayed("429", retry_after_seconds=900))
        channel = channel_of(listener, 1)
        async with running(channel) as task:
            await until(lambda: len(listener.tried) == 1)
        assert task.cancelled()
        assert channel.waiting == 1


@pytest.fixture
def telegram_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TelegramServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with TelegramServer() as server:
        yield server


def notifier_at(server: TelegramServer) -> TelegramNotifier:
    settings = TelegramSettings(enabled=True, bot_token=SecretStr(TOKEN), chat_id=CHAT_ID, api_root=server.root)
    return TelegramNotifier(settings)


class TestTelegram:
    @pytest.mark.parametrize("waiting", [25, 1_000])
    async def test_a_digest_is_one_message_that_telegram_takes(
        self, telegram_server: TelegramServer, waiting: int
    ) -> None:
        async with notifier_at(telegram_server) as notifier:
            channel = delivery.notifications("test", notifier, 10.0, 20)
            for number in range(waiting):
                channel.add(row(number, "❌ Order Rejected"))
            async with running(channel):
                await drained(channel)
        (text,) = telegram_server.texts
        assert text.startswith(f"[MOCK] 📋 {waiting:,} Notifications\n\n❌ Order Rejected: {waiting:,}\n")
        assert "sig_0" in text

    async def test_429_an_outage_and_a_wrong_answer_lose_nothing_and_double_nothing(
        self, telegram_server: TelegramServer, waits: Waits
    ) -> None:
        telegram_server.misbehave(
            TelegramServer.too_many(30), TelegramServer.fails(502), TelegramServer.hangs_up(), TelegramServer.too_many()
        )
        async with notifier_at(telegram_server) as notifier:
            channel = delivery.notifications("test", notifier, 10.0, 20)
            for number in range(3):
                channel.add(row(number))
            async with running(channel):
                await drained(channel)
        assert [text.rpartition("sig_")[2] for text in telegram_server.texts] == ["0", "1", "2"]
        assert waits.asked == [30, 0.2, 0.4, 5]

    async def test_a_bot_that_is_unknown_is_warned_of_and_nothing_is_dropped(
        self, telegram_server: TelegramServer, waits: Waits, caplog: pytest.LogCaptureFixture
    ) -> None:
        wrong = TelegramServer.refuses("Unauthorized", 401)
        telegram_server.misbehave(*[wrong] * 4)
        async with notifier_at(telegram_server) as notifier:
            channel = delivery.notifications("test", notifier, 10.0, 20)
            channel.add(row(0))
            async with running(channel):
                await drained(channel)
        assert len(telegram_server.texts) == 1
        assert [record for record in caplog.records if "TELEGRAM_BOT_TOKEN" in record.getMessage()]

    async def test_a_telegram_that_hangs_delays_neither_orders_nor_confirmations_nor_the_stop(
        self, telegram_server: TelegramServer, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """P8. It hangs until the test is over: whatever waited for it would never come to an end."""
        from exec_service.notifiers import telegram, telegram_client

        monkeypatch.setattr(telegram_client, "READ_SECONDS", 3600)
        monkeypatch.setattr(telegram, "GOODBYE_SECONDS", 0.1)
        rig.options["shutdown_timeout_seconds"] = 0.5
        telegram_server.misbehave(TelegramServer.hangs())
        async with notifier_at(telegram_server) as notifier:
            with_console = rig.channels

            def channels(store: Any, bus: Any) -> list[Channel]:
                confirmations, signals, _ = with_console(store, bus)
                return [confirmations, signals, delivery.notifications("listener", notifier, 3600, 20)]

            monkeypatch.setattr(rig, "channels", channels)
            async with rig.service() as service:
                await rig.publish(order("sig_1"), order("sig_2"))
                await rig.reaches("sig_1", "FILLED")
                await rig.reaches("sig_2", "FILLED")

                async def told() -> bool:
                    left = await rig.load("outbox", {"delivered_at": None})
                    return {row["channel"] for row in left} == {"notifier:listener"}

                await rig.until(told, "all but the notifications are delivered")
                assert len(telegram_server.requests) == 1
                assert service.ready
        assert len(await rig.load("outbox", {"delivered_at": None})) == 2
        telegram_server.behave()
        # The next start takes them up: at least once, so the one whose answer nobody heard may come twice.
        async with notifier_at(telegram_server) as notifier, rig.service():
            await rig.delivered()
        assert {text.split("\n")[2] for text in telegram_server.texts} == {"Signal: sig_1", "Signal: sig_2"}
