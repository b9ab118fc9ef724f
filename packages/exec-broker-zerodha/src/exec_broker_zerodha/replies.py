"""What Kite's answer to a request proves of the order: the one table of it. Pure.

The question is always: *could the order be live?* Only what certainly came before the order was taken is a refusal;
whatever is not in the table is unknown, and an unknown order is looked for, never sent again (forum discussions 4827,
8124, 9602, 35732 and 41029 are people who sent again).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from exec_broker_zerodha.failures import Failure, Kind
from exec_broker_zerodha.tokens import HOW


class Verdict(StrEnum):
    """What is known after a request that brought no result."""

    REFUSED = "REFUSED"
    """Kite does not do it, for a reason that it names. Of an order: it was not placed, and will not be."""
    NOT_SENT = "NOT_SENT"
    """It did not reach Kite, or Kite turned it away unread: it may be sent again."""
    LOGIN_NEEDED = "LOGIN_NEEDED"
    """The access token is no good (any more): nothing was done, and a person must log in."""
    UNKNOWN = "UNKNOWN"
    """Nobody knows."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, and the sentence that goes with it."""

    verdict: Verdict
    text: str
    is_busy: bool = False
    """Kite is there, and wants fewer requests."""


@dataclass(frozen=True, slots=True)
class _Row:
    """If `holds` is true of what Kite answered, it means `verdict`; `advice` is for the person who reads it."""

    holds: Callable[[Failure], bool]
    verdict: Verdict
    advice: str = ""
    is_busy: bool = False


def _says(*texts: str) -> Callable[[Failure], bool]:
    return lambda failure: any(text in failure.text.lower() for text in texts)


def _is_refusing(failure: Failure) -> bool:
    """Whether the HTTP status is one of "your fault"; the other kinds do not say that nothing was done."""
    return failure.status is not None and 400 <= failure.status < 500


def _of(*error_types: str) -> Callable[[Failure], bool]:
    return lambda failure: failure.error_type in error_types


def _both(*conditions: Callable[[Failure], bool]) -> Callable[[Failure], bool]:
    return lambda failure: all(condition(failure) for condition in conditions)


_is_too_many: Final = _says("too many requests")
_is_about_address: Final = _says("no ips configured", "ip not allowed", "static ip")
_ADDRESS: Final = (
    "This machine's address is not registered for the app: add its static IP on Kite's developer console; orders are "
    "refused until then"
)
_DEPOSITORY: Final = "The holdings must be authorised for sale at the depository, on Kite, for today"

#: The first row that holds decides.
_PLACING: Final = (
    # "Order request timed out. Please check the order book ...", with status 400: it was placed 8 s later (35732).
    _Row(_says("timed out", "check the order book", "check the orderbook and confirm"), Verdict.UNKNOWN),
    _Row(_both(_of("TokenException"), _is_refusing), Verdict.LOGIN_NEEDED, HOW),
    # Turned away unread; some gateways say it with status 200 (openalgo#1710).
    _Row(lambda failure: failure.status == 429, Verdict.NOT_SENT, "Kite wants fewer requests", is_busy=True),
    _Row(_both(lambda failure: failure.status == 200, _is_too_many), Verdict.NOT_SENT, is_busy=True),
    _Row(_both(_is_refusing, _is_about_address), Verdict.REFUSED, _ADDRESS),
    _Row(_both(_is_refusing, _of("PermissionException")), Verdict.REFUSED, "The app lacks a permission"),
    _Row(lambda failure: failure.status == 428, Verdict.REFUSED, _DEPOSITORY),
    _Row(_both(lambda failure: failure.status == 400, _of("InputException")), Verdict.REFUSED),
    _Row(
        _both(lambda failure: failure.status == 400, _of("MarginException", "HoldingException")),
        Verdict.REFUSED,
    ),
    # The library knows neither class and calls them general (pykiteconnect#226): then only the text tells.
    _Row(
        _both(
            lambda failure: failure.status == 400,
            _of("GeneralException"),
            _says("insufficient funds", "insufficient stock holding"),
        ),
        Verdict.REFUSED,
    ),
)

#: A cancel that was refused is no word about the order, and one that nobody answered is asked again.
_CANCELLING: Final = (
    _Row(_both(_of("TokenException"), _is_refusing), Verdict.LOGIN_NEEDED, HOW),
    _Row(lambda failure: failure.status == 429, Verdict.UNKNOWN, "Kite wants fewer requests", is_busy=True),
    _Row(_is_too_many, Verdict.UNKNOWN, is_busy=True),
    _Row(_says("timed out", "check the order book"), Verdict.UNKNOWN),
    _Row(_both(_is_refusing, _is_about_address), Verdict.REFUSED, _ADDRESS),
    # "Couldn't find that `order_id`." has no documented status; "... being processed. Try later." is said of
    # orders that are busy and of those that have ended (forum discussion 8106).
    _Row(_says("couldn't find that", "cannot be cancelled", "being processed"), Verdict.REFUSED),
    _Row(_is_refusing, Verdict.REFUSED),
)

_ASKING: Final = (
    _Row(_both(_of("TokenException"), _is_refusing), Verdict.LOGIN_NEEDED, HOW),
    _Row(lambda failure: failure.status == 429, Verdict.UNKNOWN, "Kite wants fewer requests", is_busy=True),
    _Row(_is_too_many, Verdict.UNKNOWN, is_busy=True),
    _Row(_both(_is_refusing, _of("PermissionException")), Verdict.REFUSED, "The app lacks a permission"),
)


def of_placing(failure: Failure) -> Judged:
    """What is known of an order whose placing failed."""
    return _judged(failure, _PLACING)


def of_cancelling(failure: Failure) -> Judged:
    """What is known after a cancel that failed; UNKNOWN: ask again."""
    return _judged(failure, _CANCELLING)


def of_asking(failure: Failure) -> Judged:
    """What is known after a question that failed; UNKNOWN: nothing, ask again."""
    return _judged(failure, _ASKING)


def _judged(failure: Failure, rows: tuple[_Row, ...]) -> Judged:
    if failure.error_type == "TokenException" and failure.kind is Kind.NOT_SENT:
        return Judged(Verdict.LOGIN_NEEDED, failure.text)
    if failure.kind is Kind.NOT_SENT:
        return Judged(Verdict.NOT_SENT, failure.text)
    if failure.kind is Kind.ANSWERED:
        for row in rows:
            if row.holds(failure):
                text = f"{failure.text} ({row.advice})" if row.advice else failure.text
                return Judged(row.verdict, text, row.is_busy)
    told = f" (HTTP {failure.status})" if failure.status is not None else ""
    return Judged(Verdict.UNKNOWN, f"{failure.text}{told}")
