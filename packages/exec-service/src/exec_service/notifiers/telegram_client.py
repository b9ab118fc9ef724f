"""Talks HTTP to Telegram's Bot API. The token is part of every URL: this module lets neither out.

`requests` puts the URL into its exceptions, and urllib3 into its log. So errors are made anew here, outside the
``except`` that caught theirs (an exception remembers what was being handled when it was raised), and a filter masks the
token in urllib3's records. Proxies and certificates come from the environment, as `requests` reads it.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from typing import Any, Final

import requests

from exec_service.notifiers.telegram_answers import TelegramUnavailable, result_of
from exec_service.redaction import Redactor

#: For connecting, and for each wait for bytes; together less than the time that a send may take.
CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 5.0

#: The loggers that write down URLs.
TALKATIVE: Final = ("urllib3.connectionpool", "urllib3.util.retry", "urllib3.poolmanager")


class TelegramClient:
    """One HTTP session, used from one thread. Close it at the end."""

    def __init__(self, root: str, token: str) -> None:
        self._base = f"{root}/bot{token}"
        self._redactor = Redactor([token])
        self._masks = [_Mask(logging.getLogger(name), self._redactor) for name in TALKATIVE]
        self._session = requests.Session()
        # Without this, `requests` would send along what ~/.netrc holds for the host.
        self._session.auth = _nothing_more

    def call(self, method: str, payload: Mapping[str, Any]) -> Any:
        """The result of one call.

        :raises NotificationRefused: Telegram will never take it.
        :raises NotificationDelayed: it asks for a pause.
        :raises TelegramUnavailable: there is no usable answer; the call may have had its effect.
        """
        try:
            response = self._session.post(
                f"{self._base}/{method}",
                json=payload,
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                # The next address would be told the token, too.
                allow_redirects=False,
            )
        except Exception as error:  # noqa: BLE001  # whatever it is, its text may hold the token: none gets through
            problem = self._redactor.redact(_what_failed(error))
        else:
            return result_of(response.status_code, response.content, response.headers.get("Retry-After"))
        raise TelegramUnavailable(problem)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()
        for mask in self._masks:
            mask.remove()


class _Mask(logging.Filter):
    """Masks the token in one logger's records, whoever writes them down."""

    def __init__(self, logger: logging.Logger, redactor: Redactor) -> None:
        super().__init__()
        self._logger = logger
        self._redactor = redactor
        logger.addFilter(self)

    def remove(self) -> None:
        self._logger.removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        masked = self._redactor.redact(text)
        if masked != text:
            record.msg, record.args = masked, ()
        return True


def _nothing_more(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _what_failed(error: Exception) -> str:
    """What went wrong, without the URL."""
    match error:
        case requests.exceptions.ProxyError():
            text = "the proxy that the environment names does not let us through to Telegram"
        case requests.exceptions.SSLError():
            text = "there is no safe connection to Telegram"
        case requests.Timeout():
            text = "Telegram does not answer in time"
        case requests.ConnectionError():
            text = "Telegram cannot be reached"
        case _:
            text = f"the request to Telegram failed ({type(error).__name__})"
    detail = _detail(error)
    return f"{text}: {detail}" if detail else text


def _detail(error: BaseException) -> str | None:
    """The operating system's own words, from the bottom of what `requests` has wrapped."""
    found = None
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        if isinstance(following, ssl.SSLCertVerificationError):
            found = following.verify_message
        elif isinstance(following, OSError) and not isinstance(following, requests.RequestException):
            found = following.strerror or found
        following = following.__cause__ or following.__context__
    return found
