"""What an answer of Telegram's Bot API means for a notification: told, told later, or never to be told.

Telegram refuses a *message* (400, 403: it is dropped), or it refuses *us* (401, 404: the token is wrong; the message is
kept until somebody has put that right), or it cannot answer now. No text here ever holds the URL: the token is in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from exec_core import ExecError, NotificationDelayed, NotificationRefused

#: How long to wait where Telegram asks for a pause and does not say how long.
PAUSE_SECONDS: Final = 5.0
LONGEST_DESCRIPTION: Final = 300


class TelegramUnavailable(ExecError):
    """Telegram gave no usable answer: the notification stays, and is tried again."""


class BotRefused(TelegramUnavailable):
    """Telegram does not know the bot. No message is at fault, so none is dropped."""


class ChatMoved(NotificationRefused):
    """The group has become a supergroup, which has the id `chat_id`."""

    def __init__(self, chat_id: str) -> None:
        super().__init__(f"the group has become a supergroup: set TELEGRAM_CHAT_ID to {chat_id}")
        self.chat_id = chat_id


def result_of(status: int, body: bytes, retry_after: str | None = None) -> Any:
    """The `result` of an answer, given its HTTP status, its body and its ``Retry-After``.

    :raises NotificationRefused: Telegram will never take this request; `ChatMoved` says where it would.
    :raises NotificationDelayed: it asks for a pause.
    :raises TelegramUnavailable: it cannot answer now; `BotRefused` if it does not know the token.
    """
    if 300 <= status < 400:
        raise TelegramUnavailable(f"a redirect (HTTP {status}) is not followed with the token: check TELEGRAM_API_ROOT")
    answer = _object(body)
    if answer is None or not isinstance(answer.get("ok"), bool):
        # Whoever this is - a proxy, a portal, a wrong address - it decides nothing about our messages.
        raise _paused(status, retry_after, {}) or TelegramUnavailable(
            f"the answer (HTTP {status}) is not one of the Bot API: check TELEGRAM_API_ROOT, and proxies on the way"
        )
    if answer["ok"] and 200 <= status < 300:
        return answer.get("result")
    code = _integer(answer.get("error_code")) or status
    description = _description(answer)
    parameters = answer.get("parameters")
    parameters = parameters if isinstance(parameters, Mapping) else {}
    moved_to = _integer(parameters.get("migrate_to_chat_id"))
    if moved_to is not None:
        raise ChatMoved(str(moved_to))
    paused = _paused(code, retry_after, parameters)
    if paused is not None:
        raise paused
    if code in (401, 404):
        raise BotRefused(
            f"Telegram does not know the bot ({code} {description}): check TELEGRAM_BOT_TOKEN and TELEGRAM_API_ROOT"
        )
    if 400 <= code < 500:
        raise NotificationRefused(f"Telegram refuses it ({code} {description})")
    raise TelegramUnavailable(f"Telegram cannot take it now ({code} {description})")


def _paused(code: int, header: str | None, parameters: Mapping[str, Any]) -> NotificationDelayed | None:
    if code != 429:
        return None
    seconds = parameters.get("retry_after")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        seconds = int(header) if header is not None and header.isascii() and header.isdigit() else PAUSE_SECONDS
    # Python's JSON also reads numbers that are none, and larger than a float.
    seconds = min(max(seconds, 0), 10**9) if seconds == seconds else PAUSE_SECONDS
    text = f"Telegram asks for a pause of {seconds:g} s (429 Too Many Requests)"
    return NotificationDelayed(text, retry_after_seconds=float(seconds))


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _description(answer: Mapping[str, Any]) -> str:
    """Telegram's own words, on one line, without the code's name that they often begin with twice."""
    words = answer.get("description")
    text = " ".join(words.split()) if isinstance(words, str) else ""
    return text[:LONGEST_DESCRIPTION] or "without a reason"
