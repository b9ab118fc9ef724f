"""Kite's clock: times without a zone are of India, and a trading day of Kite begins at six in the morning there.

India has kept UTC+05:30 without daylight saving since 1945, so no table of time zones is needed. The library turns some
fields into naive datetimes and leaves others (`exchange_update_timestamp`) as text: both are read here.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, Final

IST: Final = timezone(timedelta(hours=5, minutes=30), "IST")

#: Access tokens end then, and what the books of the day before hold is gone by the opening.
DAY_BEGINS: Final = time(6)
#: Kite makes the lists of instruments of a day at about half past eight.
LISTS_ARE_MADE: Final = time(8, 30)
#: When an exchange's session ends. Commodities go on until 23:55 in winter: then some ends are told as cancels.
CLOSES: Final = MappingProxyType(
    {
        "NSE": time(15, 30),
        "BSE": time(15, 30),
        "NFO": time(15, 30),
        "BFO": time(15, 30),
        "CDS": time(17),
        "MCX": time(23, 30),
    }
)


def utc_time(value: Any) -> datetime | None:
    """The time that Kite means, in UTC; None where it says none, or nothing that can be read."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return (value.replace(tzinfo=IST) if value.tzinfo is None else value).astimezone(UTC)


def http_time(value: str | None) -> datetime | None:
    """The time of an HTTP ``Date`` header, in UTC; None where there is none that can be read."""
    if not value:
        return None
    try:
        told = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return None if told.tzinfo is None else told.astimezone(UTC)


def covered_since(*clocks: datetime) -> datetime:
    """Since when the book that Kite shows now holds every order, in UTC, by the latest of the clocks.

    The book is wiped before a new session (forum discussion 49314), nobody says exactly when. So what was sent before
    six in the morning is not judged by what is shown after it, nor what was sent before midnight by what is shown
    before six.
    """
    now = max(clocks).astimezone(IST)
    begins = DAY_BEGINS if now.time() >= DAY_BEGINS else time(0)
    return datetime.combine(now.date(), begins, IST).astimezone(UTC)


def day_of_lists(now: datetime) -> date:
    """The day whose lists of instruments Kite gives at that time."""
    local = now.astimezone(IST)
    return local.date() if local.time() >= LISTS_ARE_MADE else local.date() - timedelta(days=1)


def indian_day(now: datetime) -> date:
    """The day in India."""
    return now.astimezone(IST).date()


def was_ended_by_close(exchange: str, registered: datetime | None, ended: datetime | None) -> bool:
    """Whether an order that is off the market was ended by the end of the session: it stood at the exchange before
    that, and went after it, when nobody can cancel there. Kite has no word of its own for it."""
    closes = CLOSES.get(exchange)
    if closes is None or registered is None or ended is None:
        return False
    begun = registered.astimezone(IST)
    close = datetime.combine(begun.date(), closes, IST)
    return begun < close <= ended
