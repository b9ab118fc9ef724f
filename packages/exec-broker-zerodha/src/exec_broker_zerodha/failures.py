"""What went wrong with a request, reduced to plain data at once: what the library raises holds the access token.

Its exceptions carry the request with its headers, quote whole answers, and many are not the library's own: a server
that drops the line, a body that is cut, ``{"data": null}``, an error without its type all end in something else.
Nothing of them leaves the thread that made the request but this.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

_LONGEST: Final = 300


class Kind(StrEnum):
    """How far a request got."""

    NOT_SENT = "NOT_SENT"
    """Proven: not one byte of it left."""
    ANSWERED = "ANSWERED"
    """Kite answered, in its own form, that something is wrong."""
    NO_ANSWER = "NO_ANSWER"
    """No answer that can be used, after bytes may have left: it proves nothing."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request brought no result: Kite's word for it and the HTTP status, None where they are not known."""

    kind: Kind
    text: str
    status: int | None = None
    error_type: str | None = None


@dataclass(slots=True)
class Seen:
    """What was seen of an answer while the library read it."""

    status: int | None = None
    date: str | None = None
    error_type: str | None = None


def failure_of(error: BaseException, seen: Seen | None = None, secrets: Iterable[str] = ()) -> Failure:
    """What an exception of the library, or of what it is built on, proves.

    `seen` is what its answer looked like: Kite's own word for the error goes before the class that the library has
    chosen, which lacks some (`pykiteconnect#226`).
    """
    seen = seen or Seen()
    text = safe_text(error, secrets)
    if _is_unsent(error):
        return Failure(Kind.NOT_SENT, text)
    code = getattr(error, "code", None)
    own = _name_in(error, "kiteconnect.exceptions")
    # The library raises DataException also by itself, for what is no answer of Kite's.
    if seen.error_type is not None or (own is not None and own != "DataException" and isinstance(code, int)):
        status = seen.status if seen.status is not None else code
        return Failure(Kind.ANSWERED, text, status, seen.error_type or own)
    return Failure(Kind.NO_ANSWER, f"{type(error).__name__}: {text}" if text else type(error).__name__, seen.status)


def safe_text(error: object, secrets: Iterable[str]) -> str:
    """What it says, on one line, cut to a length for people, and without the secrets."""
    text = " ".join(str(error).split())
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _is_unsent(error: BaseException) -> bool:
    """Whether it is certain that nothing was sent: no connection came about, or its far end could not be trusted.

    `requests` wraps what `urllib3` raised: looked for is the innermost reason, by the name of its class, so that
    neither library needs to be imported here.
    """
    if _name_in(error, "requests.exceptions") in ("InvalidURL", "MissingSchema", "InvalidSchema", "InvalidHeader"):
        return True
    if _name_in(error, "requests.exceptions") == "ConnectTimeout":
        return True
    reason = _reason(error)
    if reason is None:
        return False
    if any(_is_a(reason, "urllib3", name) for name in ("NewConnectionError", "ConnectTimeoutError")):
        return True
    # A certificate is judged before anything is sent; another error of TLS may come at any time.
    return any(_is_a(one, "ssl", "SSLCertVerificationError") for one in (reason, *reason.args))


def _reason(error: BaseException) -> BaseException | None:
    wrapped = error.args[0] if error.args else None
    reason: Any = getattr(wrapped, "reason", None)
    if reason is None and isinstance(wrapped, BaseException):
        reason = wrapped
    return reason if isinstance(reason, BaseException) else None


def _is_a(error: Any, module: str, name: str) -> bool:
    return any(kind.__name__ == name and kind.__module__.split(".")[0] == module for kind in type(error).__mro__)


def _name_in(error: BaseException, module: str) -> str | None:
    """The name of the error's class, or of the nearest one above it, that stands in that module."""
    return next((kind.__name__ for kind in type(error).__mro__ if kind.__module__ == module), None)
