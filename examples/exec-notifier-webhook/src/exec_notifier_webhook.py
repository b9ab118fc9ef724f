"""Tells a webhook: each notification is one POST of its text as JSON. Needs ``WEBHOOK_URL``."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from exec_core import (
    Notification,
    NotificationDelayed,
    NotificationRefused,
    NotifierPlugin,
    PluginSettings,
    hookimpl,
)
from pydantic import SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

#: For connecting, and for each wait for bytes; together less than `NotifierPlugin.send_timeout_seconds`.
PATIENCE_SECONDS = 4.0
#: What a webhook answers that will never take this text: too long, or not what it understands.
REFUSALS = (400, 413, 422)


class WebhookSettings(PluginSettings):
    """``WEBHOOK_URL``; whoever knows it can write to the chat, so it is a secret."""

    model_config = SettingsConfigDict(env_prefix="WEBHOOK_")

    url: SecretStr | None = None

    @field_validator("url")
    @classmethod
    def _is_usable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("must be a URL that begins with https:// or http://")
        return value


class Webhook:
    """The notifier. Every send makes a connection of its own, so there is nothing to enter or leave."""

    def __init__(self, url: SecretStr) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Nothing is held."""

    async def send(self, notification: Notification) -> None:
        """Tell it, and sort the answers: never, not before a while, or again later."""
        # In a thread: a call that blocks would hold up every order.
        status, retry_after = await asyncio.to_thread(self._post, notification)
        if status == 429:
            seconds = float(retry_after) if retry_after.isdigit() else 5.0
            raise NotificationDelayed("the webhook asks for a pause", retry_after_seconds=seconds)
        if status in REFUSALS:
            raise NotificationRefused(f"the webhook will not take it (HTTP {status})")
        if not 200 <= status < 300:
            raise HTTPException(f"the webhook answers with HTTP {status}")

    def _post(self, notification: Notification) -> tuple[int, str]:
        url = urlsplit(self._url.get_secret_value())
        connect = HTTPSConnection if url.scheme == "https" else HTTPConnection
        with closing(connect(url.netloc, timeout=PATIENCE_SECONDS)) as connection:
            # The id is the same when it is sent again: a far side that looks at it can drop repeats.
            headers = {"Content-Type": "application/json", "Idempotency-Key": notification.id}
            where = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
            connection.request("POST", where, json.dumps({"text": notification.text}), headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers.get("Retry-After", "")


def create(settings: WebhookSettings) -> Webhook | None:
    """The notifier, or None where there is no URL."""
    return Webhook(settings.url) if settings.url is not None else None


@hookimpl
def exec_register_notifier() -> NotifierPlugin:
    """Hand over the notifier."""
    return NotifierPlugin(name="webhook", settings=WebhookSettings, create=create)
