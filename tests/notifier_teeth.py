"""Notifiers that are broken on purpose, one fault each, and the cards that must find it; one that is right."""

from __future__ import annotations

import asyncio
import html
import logging
import threading
import wave  # stands for an SDK
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from exec_core import Notification, NotificationDelayed, NotificationRefused, NotifierPlugin, PluginSettings
from exec_core.testing import FarSide
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

SDK: Final = wave.__name__
LONGEST: Final = 4_000
logger = logging.getLogger("teeth")


class Paper(FarSide):
    """A list in memory; notifiers find it by their key."""

    opened: Final[dict[str, Paper]] = {}

    def __init__(self) -> None:
        self.key = f"key-{id(self)}"
        self.opened[self.key] = self
        self.texts: list[str] = []
        self.trouble: Exception | None = None
        self.away = False
        self.hangs = False
        self.held = False
        self.released = asyncio.Event()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        del self.opened[self.key]

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"enabled": True, "key": self.key}

    async def received(self) -> tuple[str, ...]:
        return tuple(self.texts)

    async def refuse_next(self) -> None:
        self.trouble = NotificationRefused("no")

    async def delay_next(self, seconds: int) -> None:
        self.trouble = NotificationDelayed("later", retry_after_seconds=seconds)

    async def fail_next(self) -> None:
        self.trouble = RuntimeError("HTTP 500")

    async def go_away(self) -> None:
        self.away = True

    async def come_back(self) -> None:
        self.away = False

    async def hang_next(self) -> None:
        self.hangs = True

    async def is_hanging(self) -> bool:
        return self.held

    async def go_on(self) -> None:
        self.released.set()

    async def take(self, text: str) -> None:
        """The far side's end of a send."""
        if self.away:
            raise ConnectionError("nobody there")
        if self.hangs:
            self.hangs, self.held = False, True
            await self.released.wait()
        trouble, self.trouble = self.trouble, None
        if trouble is not None:
            raise trouble
        self.texts.append(text)


class TeethSettings(PluginSettings):
    """The settings of all of them."""

    model_config = SettingsConfigDict(env_prefix="TEETH_")

    enabled: bool = False
    key: SecretStr = SecretStr("")


class Right:
    """Keeps the contract."""

    def __init__(self, settings: TeethSettings) -> None:
        self.key = settings.key.get_secret_value()
        self.far = Paper.opened[self.key]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        pass

    async def send(self, notification: Notification) -> None:
        text = self.text(notification)
        await self.take(text if len(text) <= LONGEST else text[:LONGEST] + "…")

    def text(self, notification: Notification) -> str:
        return notification.text

    async def take(self, text: str) -> None:
        await self.far.take(text)

    async def check(self) -> str:
        if self.far.away:
            raise ConnectionError("the paper is away: fetch it")
        return "the paper is there"


@dataclass(frozen=True)
class Subject:
    """A plugin, and the numbers of the cards that it must fail."""

    plugin: NotifierPlugin
    cards: frozenset[int]


SUBJECTS: Final[dict[str, Subject]] = {}


def plugin(made: Callable[[TeethSettings], Any], settings: type[PluginSettings] = TeethSettings) -> NotifierPlugin:
    """A plugin around it."""
    return NotifierPlugin("teeth", settings, lambda given: made(given) if given.enabled else None)


def fails(*cards: int) -> Callable[[type[Right]], type[Right]]:
    """Note which cards a broken one must fail."""

    def note(broken: type[Right]) -> type[Right]:
        SUBJECTS[broken.__name__] = Subject(plugin(broken), frozenset(cards))
        return broken

    return note


class NoPrefix(PluginSettings):
    """Settings that would be read from variables of anybody's."""

    enabled: bool = False
    key: SecretStr = SecretStr("")


SUBJECTS["Right"] = Subject(plugin(Right), frozenset())
SUBJECTS["SettingsWithoutPrefix"] = Subject(plugin(Right, NoPrefix), frozenset({20}))
SUBJECTS["NeverOff"] = Subject(NotifierPlugin("teeth", TeethSettings, lambda given: Right(given)), frozenset({40}))


@fails(50)
class ConnectsOnEntering(Right):
    async def __aenter__(self) -> Self:
        await self.check()
        return self


@fails(100)
class DropsThePrefix(Right):
    def text(self, notification: Notification) -> str:
        return Notification(notification.id, notification.title, notification.fields).text


@fails(100)
class TellsEverythingTwice(Right):
    async def send(self, notification: Notification) -> None:
        await super().send(notification)
        self.far.texts.append("(and so on)") if not notification.fields else None


@fails(100, 110, 120)
class TellsTheTitleOnly(Right):
    def text(self, notification: Notification) -> str:
        return f"{notification.prefix} {notification.title}"


@fails(100)
class TellsTheFirstLineOfEachValue(Right):
    def text(self, notification: Notification) -> str:
        lines = [f"{name}: {value.splitlines()[0]}" for name, value in notification.fields]
        return "\n".join([notification.prefix, notification.title, *lines])


@fails(110)
class EscapesForMarkup(Right):
    def text(self, notification: Notification) -> str:
        return html.escape(notification.text)


@fails(110)
class WritesAscii(Right):
    def text(self, notification: Notification) -> str:
        return notification.text.encode("ascii", "replace").decode()


@fails(110)
class TakesTheTextForAFormat(Right):
    def text(self, notification: Notification) -> str:
        return notification.text.replace("%s", "")


@fails(120)
class CutsInSilence(Right):
    async def send(self, notification: Notification) -> None:
        await self.take(notification.text[:LONGEST])


@fails(120)
class RefusesLongTexts(Right):
    async def send(self, notification: Notification) -> None:
        if len(notification.text) > LONGEST:
            raise NotificationRefused("too long")
        await super().send(notification)


@fails(130)
class RefusesRepeats(Right):
    def __init__(self, settings: TeethSettings) -> None:
        super().__init__(settings)
        self.sent: set[str] = set()

    async def send(self, notification: Notification) -> None:
        if notification.id in self.sent:
            raise NotificationRefused("told already")
        await super().send(notification)
        self.sent.add(notification.id)


@fails(200, 210, 220, 230)
class SwallowsErrors(Right):
    async def take(self, text: str) -> None:
        try:
            await super().take(text)
        except Exception:
            logger.warning("not told")


@fails(200)
class TriesAgainForEver(Right):
    async def take(self, text: str) -> None:
        try:
            await super().take(text)
        except NotificationRefused as error:
            raise RuntimeError("later") from error


@fails(210)
class ForgetsThePause(Right):
    async def take(self, text: str) -> None:
        try:
            await super().take(text)
        except NotificationDelayed as error:
            raise NotificationDelayed("later") from error


@fails(210)
class SitsOutThePause(Right):
    async def take(self, text: str) -> None:
        try:
            await super().take(text)
        except NotificationDelayed as error:
            await asyncio.sleep(error.retry_after_seconds)
            await super().take(text)


@fails(220)
class DropsAtAnErrorOfTheFarSide(Right):
    async def take(self, text: str) -> None:
        try:
            await super().take(text)
        except RuntimeError as error:
            raise NotificationRefused("HTTP 500") from error


@fails(230)
class DropsWhileAway(Right):
    async def take(self, text: str) -> None:
        try:
            await super().take(text)
        except ConnectionError as error:
            raise NotificationRefused("nobody there") from error


@fails(230)
class NeverReconnects(Right):
    lost = False

    async def take(self, text: str) -> None:
        if self.lost:
            raise ConnectionError("not connected")
        try:
            await super().take(text)
        except ConnectionError:
            self.lost = True
            raise


@fails(240, 320)
class BlocksTheLoop(Right):
    async def take(self, text: str) -> None:
        if self.far.hangs:
            self.far.held = True
            threading.Event().wait(0.2)
            raise TimeoutError("no answer")
        await super().take(text)


@fails(240, 320)
class BlocksTheLoopForEver(Right):
    async def take(self, text: str) -> None:
        if self.far.hangs:
            self.far.held = True
            threading.Event().wait()
        await super().take(text)


@fails(240)
class SwallowsTheCancel(Right):
    async def take(self, text: str) -> None:
        try:
            await super().take(text)
        except asyncio.CancelledError:
            logger.warning("not told")


@fails(300)
class CannotBeLeftTwice(Right):
    left = False

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if self.left:
            raise RuntimeError("closed already")
        self.left = True


@fails(310)
class SaysGoodbye(Right):
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if not self.far.held:
            await self.check()


@fails(320)
class WaitsForTheLastAnswer(Right):
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if self.far.held:
            await self.far.released.wait()


@fails(400)
class LogsTheKey(Right):
    async def take(self, text: str) -> None:
        logger.debug("POST /%s", self.key)
        await super().take(text)


@fails(400)
class PrintsTheKey(Right):
    async def take(self, text: str) -> None:
        print("POST", self.key)
        await super().take(text)


@fails(400)
class ShowsTheKey(Right):
    def __repr__(self) -> str:
        return f"ShowsTheKey({self.key})"


@fails(400)
class RaisesTheKey(Right):
    async def take(self, text: str) -> None:
        try:
            await super().take(text)
        except ConnectionError as error:
            raise ConnectionError("nobody there") from ConnectionError(f"{self.key}: {error}")


@fails(410)
class ChecksByTelling(Right):
    async def check(self) -> str:
        self.far.texts.append("check")
        return await super().check()


@fails(410)
class ChecksNothing(Right):
    async def check(self) -> str:
        return "all is well"
