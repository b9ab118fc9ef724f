"""From when on TWS's lists of executions and ended orders are whole: they hold the present day only.

Whose day is TWS's affair (the zone that it was set to at login), which it does not tell. So unless the zone is
configured, the latest midnight of the zones that it may be counts: that claims too little around midnight, never too
much, and an order that cannot be proven absent waits for a person.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

#: IB's own day, in which its servers reset.
EXCHANGE_ZONE: Final = ZoneInfo("America/New_York")


def covered_since(at: datetime, zone: tzinfo | None) -> datetime:
    """The start of TWS's day at `at` (aware, by TWS's clock), in UTC; `zone` None: it is not known which zone's."""
    local = at.astimezone().tzinfo
    zones = (zone,) if zone is not None else (EXCHANGE_ZONE, UTC, local)
    return max(_midnight(at, one) for one in zones)


def _midnight(at: datetime, zone: tzinfo | None) -> datetime:
    day = at.astimezone(zone).date()
    return datetime.combine(day, time(), zone).astimezone(UTC)
