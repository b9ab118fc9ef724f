"""Kite's times: Indian Standard Time without a zone, to the second; the book's: microseconds since 1970, UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

IST: Final = ZoneInfo("Asia/Kolkata")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware time."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """The aware time, in UTC, of microseconds since 1970."""
    return _EPOCH + value * _MICROSECOND


def ist_text(value: int | None) -> str | None:
    """``2025-08-07 11:56:33``, as Kite writes it; None stays None."""
    return None if value is None else moment(value).astimezone(IST).strftime("%Y-%m-%d %H:%M:%S")


def ist_clock_text(value: int) -> str:
    """``11:56:33``: how a trade's row writes the time of its order."""
    return moment(value).astimezone(IST).strftime("%H:%M:%S")


def ist_date(value: int) -> date:
    """The date in India."""
    return moment(value).astimezone(IST).date()


def whole_second(value: int) -> int:
    """The beginning of its second: more than that Kite does not tell."""
    return value - value % 1_000_000
