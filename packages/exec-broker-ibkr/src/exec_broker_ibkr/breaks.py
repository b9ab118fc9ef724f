"""When IB has announced to be away: its nightly reset, the weekend's, the gateway's own restart. Pure.

A window is written ``daily 23:40-00:50 America/New_York``, ``fri 22:55-sat 03:10 America/New_York`` or, in the zone of
this machine, ``daily 23:44-23:52 local``. Both times are of the clock on the wall there, whatever daylight saving does
to it: a window that contains a change of the clock is an hour longer or shorter. One that ends before it begins ends on
the next day.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LOCAL: Final = "local"
#: IB's reset of its American servers, each night and (longer) at the weekend; and when a gateway restarts by default.
DEFAULT: Final = (
    "daily 23:40-00:50 America/New_York",
    "fri 22:55-sat 03:10 America/New_York",
    "daily 23:44-23:52 local",
)
_FORM: Final = re.compile(
    r"(?P<first>daily|mon|tue|wed|thu|fri|sat|sun) +(?P<start>\d\d:\d\d) *- *"
    r"(?:(?P<last>mon|tue|wed|thu|fri|sat|sun) +)?(?P<end>\d\d:\d\d) +(?P<zone>\S+)",
    re.IGNORECASE,
)


def zone_named(name: str) -> ZoneInfo:
    """The time zone of that name in the tz database.

    :raises ValueError: there is none; the name is not repeated.
    """
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ValueError("names no time zone; write it like America/New_York") from None


@dataclass(frozen=True, slots=True)
class Window:
    """One announced break that comes again and again. `day` None: every day; `zone` None: this machine's."""

    text: str
    day: int | None
    start: time
    days_long: int
    end: time
    zone: tzinfo | None

    @classmethod
    def parse(cls, text: str) -> Window:
        """:raises ValueError: it cannot be read; a sentence that says why, without the text."""
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise ValueError(
                "is not written like 'daily 23:40-00:50 America/New_York' or 'fri 22:55-sat 03:10 America/New_York'"
            )
        try:
            start, end = time.fromisoformat(found["start"]), time.fromisoformat(found["end"])
        except ValueError:
            raise ValueError("has a time that is none: they go from 00:00 to 23:59") from None
        first, last = found["first"].lower(), (found["last"] or "").lower()
        if first == "daily" and last:
            raise ValueError("is daily, and so cannot end on a day of the week")
        if last:
            days_long = (DAYS.index(last) - DAYS.index(first)) % 7
            if not days_long and end <= start:
                raise ValueError("ends before it begins")
        else:
            if start == end:
                raise ValueError("begins and ends at the same time")
            days_long = int(end < start)
        zone = None if found["zone"].lower() == LOCAL else zone_named(found["zone"])
        day = None if first == "daily" else DAYS.index(first)
        return cls(text.strip(), day, start, days_long, end, zone)

    def end_after(self, at: datetime) -> datetime | None:
        """When it ends, if `at` (aware) is in it: in UTC."""
        today = at.astimezone(self.zone).date()
        for ago in range(self.days_long + 1):
            begins = today - timedelta(days=ago)
            if self.day is not None and begins.weekday() != self.day:
                continue
            # Where the clock shows a time twice, or not at all, the longer window is meant.
            start = min(self._moments(begins, self.start))
            end = max(self._moments(begins + timedelta(days=self.days_long), self.end))
            if start <= at < end:
                return end
        return None

    def _moments(self, day: date, clock: time) -> tuple[datetime, ...]:
        """When the clock there shows that time, in UTC."""
        wall = datetime.combine(day, clock, self.zone)
        return tuple(wall.replace(fold=fold).astimezone(UTC) for fold in (0, 1))


class Breaks:
    """All announced breaks."""

    def __init__(self, texts: Iterable[str] = DEFAULT) -> None:
        """:raises ValueError: a text cannot be read; the sentence says which, and why, without showing it."""
        windows, problems = [], []
        for number, text in enumerate(texts, start=1):
            try:
                windows.append(Window.parse(text))
            except ValueError as error:
                problems.append(f"window {number} {error}")
        if problems:
            raise ValueError("; ".join(problems))
        self.windows = tuple(windows)

    def now(self, at: datetime) -> str | None:
        """The sentence about the break that `at` (aware) is in, the one that ends last; None if it is in none."""
        ends = [(end, window) for window in self.windows if (end := window.end_after(at)) is not None]
        if not ends:
            return None
        end, window = max(ends, key=lambda one: one[0])
        return f"IBKR's announced break ({window.text}), until {end:%Y-%m-%d %H:%M} UTC"
