"""Time: always aware, always UTC; injectable, so that tests need not wait."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The present, aware, in UTC."""
    return datetime.now(UTC)


def check_aware(name: str, value: datetime | None) -> None:
    """Raise `ValueError` when `value` has no time zone: a naive time is a guess about where it was taken."""
    if value is not None and value.tzinfo is None:
        raise ValueError(f"{name} must be an aware datetime, got the naive {value.isoformat()}")
