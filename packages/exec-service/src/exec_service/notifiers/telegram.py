"""The notifier that tells a Telegram chat, through the Bot API.

A message may arrive twice: where no answer came in time, or the service was killed after sending, it is sent again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from exec_core import (
    ConfigurationError,
    Notification,
    NotificationDelayed,
    NotificationRefused,
    NotifierPlugin,
    hookimpl,
)

from exec_service.notifiers.telegram_answers import BotRefused, ChatMoved, TelegramUnavailable
from exec_service.notifiers.telegram_settings import TelegramSettings
from exec_service.notifiers.telegram_text import fitted
from exec_service.notifiers.telegram_thread import OneThread

if TYPE_CHECKING:
    from exec_service.notifiers.telegram_client import TelegramClient

logger = logging.getLogger(__name__)

SEND_TIMEOUT_SECONDS: Final = 10.0
#: A group may be sent 20 messages a minute; what waits beyond that is better told at once.
DIGEST_ABOVE: Final = 20
#: How long leaving waits for a call under way.
GOODBYE_SECONDS: Final = 1.0

CHAT_HINT: Final = (
    "it is a numeric id (that of a group begins with -) or @channelname; a person must have written to the bot first, "
    "and a group or channel must have it as a member"
)


class TelegramNotifier:
    """Sends notifications as plain text. Connects with the first of them, in a thread of its own."""

    def __init__(self, settings: TelegramSettings) -> None:
        if settings.bot_token is None or settings.chat_id is None:
            raise ConfigurationError("TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID are both needed")
        self._token = settings.bot_token
        self._chat_id = settings.chat_id
        self._api_root = settings.api_root
        self._readable_on_the_way = settings.is_readable_on_the_way
        self._thread = OneThread("telegram")
        self._client: TelegramClient | None = None

    async def __aenter__(self) -> Self:
        if self._readable_on_the_way:
            # Not refused: Telegram's own server for bots, run beside this service, speaks nothing but HTTP.
            logger.warning("TELEGRAM_API_ROOT is plain HTTP to another host: whoever listens in learns the bot's token")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close the connection; a call that hangs is left alone after a moment, and dies with the process."""
        if not await self._thread.close(self._close, GOODBYE_SECONDS):
            logger.warning("A call to Telegram is still under way and is not waited for")

    async def send(self, notification: Notification) -> None:
        """Send it; see `exec_core.notifier.Notifier.send`."""
        text = fitted(notification)
        try:
            await self._send(text)
            return
        except ChatMoved as moved:
            problem = "The Telegram group has become a supergroup: set TELEGRAM_CHAT_ID to %s, which is used until then"
            logger.warning(problem, moved.chat_id)
            self._chat_id = moved.chat_id
        await self._send(text)

    async def check(self) -> str:
        """Whether Telegram knows the bot, and the bot the chat; nobody sees anything of it."""
        bot = await self._asked("getMe", {}, "TELEGRAM_BOT_TOKEN")
        chat = await self._asked("getChat", {"chat_id": self._chat_id}, "TELEGRAM_CHAT_ID")
        told = f"the bot {_name_of(bot)} finds the chat {_name_of(chat)}"
        return f"{told}; TELEGRAM_API_ROOT is plain HTTP to another host" if self._readable_on_the_way else told

    async def _asked(self, method: str, payload: Mapping[str, Any], variable: str) -> Any:
        problem: str | None = None
        unavailable = ""
        try:
            return await self._call(method, payload)
        except ChatMoved as moved:
            problem = f"TELEGRAM_CHAT_ID: {moved}"
        except BotRefused as refused:
            problem = f"TELEGRAM_BOT_TOKEN: {refused}"
        except NotificationRefused as refused:
            hint = f"; {CHAT_HINT}" if variable == "TELEGRAM_CHAT_ID" else ""
            problem = f"{variable}: {refused}{hint}"
        except NotificationDelayed as delayed:
            unavailable = f"{delayed}; ask again after that"
        except TelegramUnavailable as error:
            unavailable = (
                f"{error}. See that this machine reaches {self._api_root} (the network, a proxy, a firewall), and that "
                "TELEGRAM_API_ROOT, which says where that is, is right"
            )
        if problem is not None:
            raise ConfigurationError(problem)
        # No setting is known to be wrong: who reads this should not be sent to correct one.
        raise TelegramUnavailable(unavailable)

    async def _send(self, text: str) -> None:
        # No parse_mode: what brokers and producers say must not become markup, or be refused as broken markup.
        payload = {"chat_id": self._chat_id, "text": text, "link_preview_options": {"is_disabled": True}}
        await self._call("sendMessage", payload)

    async def _call(self, method: str, payload: Mapping[str, Any]) -> Any:
        return await self._thread.run(lambda: self._connected().call(method, payload))

    def _connected(self) -> TelegramClient:
        """In the thread: `requests` takes a while to import."""
        if self._client is None:
            from exec_service.notifiers.telegram_client import TelegramClient

            self._client = TelegramClient(self._api_root, self._token.get_secret_value())
        return self._client

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def _name_of(found: Any) -> str:
    """What people call a bot or a chat."""
    if not isinstance(found, dict):
        return "without a name"
    if isinstance(found.get("username"), str):
        return f"@{found['username']}"
    return str(found.get("title") or found.get("first_name") or found.get("id"))


def create(settings: TelegramSettings) -> TelegramNotifier | None:
    """The notifier, or None where it is switched off."""
    return TelegramNotifier(settings) if settings.enabled else None


@hookimpl
def exec_register_notifier() -> NotifierPlugin:
    """Hand over the Telegram notifier."""
    return NotifierPlugin(
        name="telegram",
        settings=TelegramSettings,
        create=create,
        send_timeout_seconds=SEND_TIMEOUT_SECONDS,
        digest_above=DIGEST_ABOVE,
    )
