"""The notifier that needs nobody: it writes each notification to the log, on one line."""

from __future__ import annotations

import logging
import re
from types import TracebackType
from typing import Self

from exec_core import Notification, NotifierPlugin, PluginSettings, hookimpl
from pydantic_settings import SettingsConfigDict

_logger = logging.getLogger("exec_service.notifications")


class ConsoleSettings(PluginSettings):
    """``CONSOLE_NOTIFIER_ENABLED``."""

    model_config = SettingsConfigDict(env_prefix="CONSOLE_NOTIFIER_")

    enabled: bool = True


class ConsoleNotifier:
    """Writes notifications to the log, line breaks shown as `` | ``."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Nothing is held."""

    async def send(self, notification: Notification) -> None:
        """Write it; this cannot fail."""
        _logger.info("%s", re.sub(r"\s*[\r\n]\s*", " | ", notification.text.strip()))


def create(settings: ConsoleSettings) -> ConsoleNotifier | None:
    """The notifier, or None where it is switched off."""
    return ConsoleNotifier() if settings.enabled else None


@hookimpl
def exec_register_notifier() -> NotifierPlugin:
    """Hand over the console notifier."""
    return NotifierPlugin(name="console", settings=ConsoleSettings, create=create)
