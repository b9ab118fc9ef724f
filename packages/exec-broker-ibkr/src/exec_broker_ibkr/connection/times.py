"""TWS's spellings of a time, read into aware UTC.

Live gateways write ``YYYYMMDD-HH:MM:SS`` for UTC, which the client libraries take for the host's local time
(`ib_insync#671`, `ib_async#230`); ``YYYYMMDD HH:MM:SS Zone`` names the zone of TWS or of the instrument, and a zone
that the system does not know makes them lose the message (`ib_async#188`). Without a zone it is that of TWS's login.
An execution is never lost here: a time that cannot be read becomes now, a zone that is unknown UTC, both said aloud.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

logger = logging.getLogger(__name__)

_SPELLED: Final = re.compile(r"(\d{8})(-| +)(\d\d:\d\d:\d\d)(?:\.\d+)?(?: +(\S.*))?")
_EPOCH: Final = re.compile(r"\d{9,11}")
#: Names that TWS gives zones and the tz database does not know.
_OTHER_NAMES: Final = {"EST5EDT": "America/New_York", "MET": "Europe/Paris", "CST6CDT": "America/Chicago"}


def utc_time(spelled: str, zone: tzinfo | None = None, now: Callable[[], datetime] | None = None) -> datetime:
    """The time that TWS means by `spelled`; `zone` is TWS's own (None: this host's), for those that name none."""
    text = spelled.strip()
    if _EPOCH.fullmatch(text):
        return datetime.fromtimestamp(int(text), UTC)
    found = _SPELLED.fullmatch(text)
    naive = _naive(found[1], found[3]) if found else None
    if found is None or naive is None:
        logger.error("TWS gives the time %r, which cannot be read: the present time is taken instead", spelled)
        return (now or _now)()
    if found[2] == "-":
        named: tzinfo | None = UTC
        if found[4]:
            named = _zone(found[4], spelled)
    else:
        named = _zone(found[4], spelled) if found[4] else zone
    # A naive time is taken by astimezone() as one of this host.
    return (naive if named is None else naive.replace(tzinfo=named)).astimezone(UTC)


def epoch_seconds(spelled: str, zone: tzinfo | None = None) -> str:
    """The same, as the whole seconds since 1970 that both libraries read without a zone's help."""
    return str(int(utc_time(spelled, zone).timestamp()))


def _naive(day: str, time: str) -> datetime | None:
    try:
        return datetime.strptime(f"{day} {time}", "%Y%m%d %H:%M:%S")  # noqa: DTZ007 - the zone is put on by the caller
    except ValueError:
        return None


def _zone(name: str, spelled: str) -> tzinfo:
    if name in ("UTC", "GMT", "Z"):
        return UTC
    for known in (name, _OTHER_NAMES.get(name)):
        try:
            if known:
                return ZoneInfo(known)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
    logger.error("TWS gives the time %r in a zone that this system does not know: it is taken as UTC", spelled)
    return UTC


def _now() -> datetime:
    return datetime.now(UTC)
