"""From when on TWS's lists of the day are whole."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest
from exec_broker_ibkr.days import covered_since

NEW_YORK, KOLKATA = ZoneInfo("America/New_York"), ZoneInfo("Asia/Kolkata")


def utc(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "zone", "since"),
    [
        (utc(23, 15), NEW_YORK, utc(23, 5)),
        (utc(23, 4, 59), NEW_YORK, utc(22, 5)),
        (utc(23, 15), KOLKATA, utc(22, 18, 30)),
        (datetime(2026, 3, 8, 12, tzinfo=UTC), NEW_YORK, datetime(2026, 3, 8, 5, tzinfo=UTC)),  # clocks change at 7
    ],
)
def test_a_configured_zone_decides(at: datetime, zone: tzinfo, since: datetime) -> None:
    assert covered_since(at, zone) == since


@pytest.mark.parametrize(("at", "latest"), [(utc(23, 15), utc(23, 5)), (utc(23, 3), utc(23, 0))])
def test_without_one_no_more_is_claimed_than_every_likely_zone_allows(at: datetime, latest: datetime) -> None:
    assert latest <= covered_since(at, None) <= at
