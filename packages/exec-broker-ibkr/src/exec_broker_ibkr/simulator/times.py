"""How the simulated TWS spells the times of executions: as it is set up, or as one that clients cannot read."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from exec_broker_ibkr.simulator.outbound import spell_time

_NEW_YORK: Final = ZoneInfo("US/Eastern")
#: A zone that no time zone database has, as "MET" is missing on slim systems (`ib_async#188`).
_UNKNOWN: Final = "Middle/Earth"


class TimeStyle(StrEnum):
    """The spellings."""

    ZONE = "zone"
    """``20271201 09:30:00 US/Eastern``, the usual one."""
    UTC = "utc"
    """``20271201-14:30:00``, as gateways that are set to UTC write it (`ib_insync#671`)."""
    UNNAMED = "unnamed"
    """``20271201  09:30:00``, without saying which zone."""
    UNKNOWN_ZONE = "unknown-zone"
    """The usual one, with the name of a zone that nobody knows."""


def spelled(at: datetime, style: TimeStyle) -> str:
    """A time in that style."""
    match style:
        case TimeStyle.ZONE:
            return spell_time(at, _NEW_YORK)
        case TimeStyle.UTC:
            return spell_time(at)
        case TimeStyle.UNNAMED:
            return spell_time(at, _NEW_YORK, named=False)
        case TimeStyle.UNKNOWN_ZONE:
            return spell_time(at).replace("-", " ") + f" {_UNKNOWN}"
