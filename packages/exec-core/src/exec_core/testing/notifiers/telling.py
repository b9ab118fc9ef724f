"""What the cards on notifiers share: notifiers made as the service makes them, calls within bounds, what arrived."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

import pytest
from pydantic import SecretBytes, SecretStr

from exec_core.notifier import Notification, Notifier, NotifierPlugin
from exec_core.settings import PluginSettings
from exec_core.testing.notifiers.far_side import FarSide

T = TypeVar("T")

#: How often the far side is looked at: what it takes makes no noise.
LOOK_SECONDS: Final = 0.01
#: How much of a text a failure shows.
LONGEST_SHOWN: Final = 400


class Telling:
    """A far side, a plugin, and how long a card waits for each call and for what must come true."""

    def __init__(self, plugin: NotifierPlugin, far: FarSide, patience_seconds: float) -> None:
        self.plugin = plugin
        self.far = far
        self.patience_seconds = patience_seconds

    @property
    def settings(self) -> PluginSettings:
        """The plugin's settings that reach the far side."""
        return self.plugin.settings(**self.far.settings)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What nobody may ever read: what the far side names, and every secret field of the settings."""
        hidden = [value.get_secret_value() for _, value in self.settings if isinstance(value, SecretStr | SecretBytes)]
        texts = [value.decode() if isinstance(value, bytes) else value for value in hidden]
        return tuple(text for text in (*self.far.secrets, *texts) if text)

    def new_notifier(self) -> Notifier:
        """A notifier, not entered."""
        made = self.plugin.create(self.settings)
        if made is None:
            pytest.fail("the plugin's create returned None for the settings that reach the far side")
        return made

    @asynccontextmanager
    async def notifier(self) -> AsyncIterator[Notifier]:
        """A notifier, entered, and left afterwards. How well that goes is the business of the cards on leaving."""
        made = self.new_notifier()
        entered = await self.bounded(made.__aenter__(), "entering")
        try:
            yield entered
        finally:
            with suppress(Exception):
                await self.leave(made)

    async def leave(self, notifier: Notifier) -> None:
        """Leave it. The card fails where it does not let go."""
        await self.bounded(notifier.__aexit__(None, None, None), "leaving")

    async def send(self, notifier: Notifier, notification: Notification) -> None:
        """Send it. :raises Exception: as the contract says."""
        await self.bounded(notifier.send(notification), "send")

    async def failure(self, notifier: Notifier, notification: Notification) -> Exception:
        """Send what must not get through; what was raised. The card fails where nothing was."""
        error = await self.outcome(notifier, notification)
        if error is None:
            pytest.fail("send returned although the far side did not take the notification: it is lost")
        return error

    async def outcome(self, notifier: Notifier, notification: Notification) -> Exception | None:
        """What sending it raised, if anything, in a card that is about something else."""
        try:
            await self.send(notifier, notification)
        except Exception as error:  # noqa: BLE001  # the card judges it
            return error
        return None

    async def bounded(self, call: Awaitable[T], what: str) -> T:
        """What the call returns or raises; the card fails where it takes longer than patience lasts."""
        bound = asyncio.timeout(self.patience_seconds)
        try:
            async with bound:
                return await call
        except TimeoutError:
            if bound.expired():
                pytest.fail(f"{what} did not end within {self.patience_seconds:g} s")
            raise

    async def until(self, condition: Callable[[], Awaitable[T]], what: str) -> T:
        """Wait until the condition is true; the card fails when patience is over."""
        deadline = time.monotonic() + self.patience_seconds
        while not (value := await condition()):
            if time.monotonic() > deadline:
                received = [text[:LONGEST_SHOWN] for text in await self.far.received()]
                pytest.fail(f"within {self.patience_seconds:g} s it did not come true that {what}; there: {received}")
            await asyncio.sleep(LOOK_SECONDS)
        return value

    async def arrived(self, notification: Notification) -> str:
        """Wait for the notification; the text in which the last word of its title stands, which no other has."""
        name = notification.title.split()[-1]

        async def found() -> str:
            return next((text for text in await self.far.received() if name in text), "")

        return await self.until(found, f"the notification {notification.title!r} arrived")


def new_notification(*fields: tuple[str, str], title: str = "Order Filled", prefix: str = "") -> Notification:
    """A notification like no other: its title ends with a word of its own. Without fields it has those of a fill."""
    name = uuid.uuid4().hex[:12]
    usual = (("Signal", f"sig_{name}"), ("Order", "BUY 100 SPY @ $235.15"), ("Time", "2 seconds"))
    return Notification(f"kit-{name}", f"{title} {name}", fields or usual, prefix)


def missing(notification: Notification, text: str) -> list[str]:
    """The pieces of a notification, by lines, that do not stand in a text in their order."""
    pieces = [notification.prefix, notification.title]
    for name, value in notification.fields:
        pieces += [name, *value.splitlines()]
    found, lost = 0, []
    for piece in filter(None, (piece.strip() for piece in pieces)):
        where = text.find(piece, found)
        if where < 0:
            lost.append(piece)
        else:
            found = where + len(piece)
    return lost


def in_another_loop(scenario: Callable[[], Coroutine[Any, Any, None]], seconds: float, what: str) -> None:
    """Run a scenario in a loop and thread of its own, so that one which blocks its loop fails instead of hanging."""
    outcome: Future[None] = Future()

    def run() -> None:
        try:
            asyncio.run(scenario())
        except BaseException as error:  # noqa: BLE001  # also a failed card: it belongs to the test
            outcome.set_exception(error)
        else:
            outcome.set_result(None)

    threading.Thread(target=run, name="conformance", daemon=True).start()
    try:
        outcome.result(seconds)
    except TimeoutError:
        if outcome.done():
            raise
        pytest.fail(what)
