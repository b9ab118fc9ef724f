"""The notifiers that come with the service pass the conformance kit."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Any, ClassVar, Self

import pytest
from exec_core.testing import FarAbility, FarSide, NotifierConformance
from telegram_server import TelegramServer


class Log(FarSide, logging.Handler):
    """The log that the console notifier writes to; it takes everything."""

    cannot: ClassVar[Mapping[FarAbility, str]] = MappingProxyType(
        {
            FarAbility.REFUSE: "a log takes every line",
            FarAbility.DELAY: "a log takes every line at once",
            FarAbility.FAIL: "what fails in logging is not told to those who log",
            FarAbility.GO_AWAY: "it is part of the process",
            FarAbility.HANG: "nobody who logs waits for an answer",
        }
    )

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._texts: list[str] = []
        self._logger = logging.getLogger("exec_service.notifications")
        self._level = self._logger.level

    def emit(self, record: logging.LogRecord) -> None:
        self._texts.append(record.getMessage())

    async def __aenter__(self) -> Self:
        self._logger.addHandler(self)
        self._logger.setLevel(logging.INFO)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"enabled": True}

    async def received(self) -> tuple[str, ...]:
        return tuple(self._texts)


class BotApi(FarSide):
    """Telegram's Bot API on loopback."""

    def __init__(self) -> None:
        self._server = TelegramServer()

    async def __aenter__(self) -> Self:
        self._server.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._server.__exit__()

    @property
    def settings(self) -> Mapping[str, Any]:
        return {name.removeprefix("TELEGRAM_").lower(): value for name, value in self._server.variables.items()}

    async def received(self) -> tuple[str, ...]:
        return tuple(self._server.texts)

    async def refuse_next(self) -> None:
        self._server.misbehave(TelegramServer.refuses())

    async def delay_next(self, seconds: int) -> None:
        self._server.misbehave(TelegramServer.too_many(seconds))

    async def fail_next(self) -> None:
        self._server.misbehave(TelegramServer.fails(502))

    async def go_away(self) -> None:
        self._server.go_away()

    async def come_back(self) -> None:
        self._server.come_back()

    async def hang_next(self) -> None:
        self._server.misbehave(TelegramServer.hangs())

    async def is_hanging(self) -> bool:
        return self._server.is_hanging

    async def go_on(self) -> None:
        self._server.behave()


class TestConsole(NotifierConformance):
    """The console notifier."""

    plugin = "console"
    far_side = Log


@pytest.mark.usefixtures("_no_proxies")
class TestTelegram(NotifierConformance):
    """The Telegram notifier."""

    plugin = "telegram"
    far_side = BotApi
    sdk_modules = ("requests", "urllib3")

    @pytest.fixture
    def _no_proxies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
