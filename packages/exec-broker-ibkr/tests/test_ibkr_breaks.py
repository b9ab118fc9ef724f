"""Announced breaks, over midnight, weekends and changes of the clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from exec_broker_ibkr.breaks import DEFAULT, Breaks

NEW_YORK = ZoneInfo("America/New_York")
NIGHTLY = "daily 23:40-00:50 America/New_York"
WEEKEND = "fri 22:55-sat 03:10 America/New_York"


def there(text, zone=NEW_YORK, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def is_in(text, at):
    return Breaks([text]).now(at) is not None


@pytest.mark.parametrize(
    ("window", "at", "expected"),
    [
        (NIGHTLY, "2026-11-23T23:39:59", False),
        (NIGHTLY, "2026-11-23T23:40:00", True),
        (NIGHTLY, "2026-11-23T23:59:59", True),
        (NIGHTLY, "2026-11-24T00:00:00", True),
        (NIGHTLY, "2026-11-24T00:49:59", True),
        (NIGHTLY, "2026-11-24T00:50:00", False),
        (NIGHTLY, "2026-11-24T12:00:00", False),
        (WEEKEND, "2026-11-27T22:54:59", False),
        (WEEKEND, "2026-11-27T22:55:00", True),
        (WEEKEND, "2026-11-28T03:09:59", True),
        (WEEKEND, "2026-11-28T03:10:00", False),
        (WEEKEND, "2026-11-26T23:00:00", False),
        (WEEKEND, "2026-11-28T23:00:00", False),
        ("fri 22:55-23:10 America/New_York", "2026-11-27T23:00:00", True),
        ("fri 22:55-23:10 America/New_York", "2026-11-28T23:00:00", False),
        ("fri 23:55-00:10 America/New_York", "2026-11-28T00:05:00", True),
        ("fri 23:55-00:10 America/New_York", "2026-11-27T00:05:00", False),
        ("sat 23:00-mon 01:00 America/New_York", "2026-11-29T12:00:00", True),
        ("sat 23:00-mon 01:00 America/New_York", "2026-11-30T00:59:59", True),
        ("sat 23:00-mon 01:00 America/New_York", "2026-11-30T01:00:00", False),
        ("mon 01:00-mon 02:00 America/New_York", "2026-11-23T01:30:00", True),
        ("FRI 22:55 - SAT 03:10 America/New_York", "2026-11-28T01:00:00", True),
    ],
)
def test_when_it_is(window, at, expected):
    assert is_in(window, there(at)) is expected
    assert is_in(window, there(at).astimezone(UTC)) is expected
    assert is_in(window, there(at).astimezone(ZoneInfo("Asia/Tokyo"))) is expected


@pytest.mark.parametrize(
    ("utc", "expected"),
    [
        # Summer: New York is 4 hours behind, winter: 5.
        ("2026-07-01T03:39", False),
        ("2026-07-01T03:40", True),
        ("2026-07-01T04:50", False),
        ("2026-12-01T04:39", False),
        ("2026-12-01T04:40", True),
        ("2026-12-01T05:50", False),
    ],
)
def test_the_times_are_of_the_clock_on_the_wall(utc, expected):
    assert is_in(NIGHTLY, there(utc, UTC)) is expected


@pytest.mark.parametrize(
    ("window", "utc", "expected"),
    [
        # 2026-11-01 in New York: 01:59 EDT (05:59 UTC) is followed by 01:00 EST (06:00 UTC).
        ("daily 00:30-01:50 America/New_York", "2026-11-01T05:55", True),
        ("daily 00:30-01:50 America/New_York", "2026-11-01T06:49", True),
        ("daily 00:30-01:50 America/New_York", "2026-11-01T06:50", False),
        ("daily 01:30-03:00 America/New_York", "2026-11-01T05:29", False),
        ("daily 01:30-03:00 America/New_York", "2026-11-01T05:30", True),
        ("daily 01:30-03:00 America/New_York", "2026-11-01T06:10", True),
        # 2026-03-08: 01:59 EST (06:59 UTC) is followed by 03:00 EDT (07:00 UTC).
        ("daily 01:00-02:30 America/New_York", "2026-03-08T06:59", True),
        ("daily 01:00-03:30 America/New_York", "2026-03-08T07:29", True),
        ("daily 01:00-03:30 America/New_York", "2026-03-08T07:30", False),
    ],
)
def test_a_change_of_the_clock_in_the_middle(window, utc, expected):
    assert is_in(window, there(utc, UTC)) is expected


def test_the_sentence_names_the_window_and_its_end():
    text = Breaks([NIGHTLY, WEEKEND]).now(there("2026-11-28T00:10:00"))
    assert text == f"IBKR's announced break ({WEEKEND}), until 2026-11-28 08:10 UTC"
    assert Breaks([]).now(there("2026-11-28T00:10:00")) is None


def test_the_default_has_the_night_the_weekend_and_the_gateways_restart(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        breaks = Breaks(DEFAULT)
        assert "daily 23:40-00:50" in breaks.now(there("2026-11-24T00:10"))
        assert "fri 22:55" in breaks.now(there("2026-11-27T23:00"))
        assert "local" in breaks.now(there("2026-11-23T23:45", ZoneInfo("Asia/Kolkata")))
        assert breaks.now(there("2026-11-24T01:00", ZoneInfo("Asia/Kolkata"))) is None
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not written like"),
        ("23:40-00:50 America/New_York", "is not written like"),
        ("daily 23:40-00:50", "is not written like"),
        ("daily 2340-0050 America/New_York", "is not written like"),
        ("weekly 23:40-00:50 America/New_York", "is not written like"),
        ("daily 23:40-sat 00:50 America/New_York", "cannot end on a day of the week"),
        ("daily 24:00-00:50 America/New_York", "from 00:00 to 23:59"),
        ("daily 23:40-23:60 America/New_York", "from 00:00 to 23:59"),
        ("daily 23:40-23:40 America/New_York", "begins and ends at the same time"),
        ("fri 23:40-fri 22:00 America/New_York", "ends before it begins"),
        ("daily 23:40-00:50 America/Nowhere", "names no time zone"),
        ("daily 23:40-00:50 America", "names no time zone"),
        ("daily 23:40-00:50 ../etc/passwd", "names no time zone"),
    ],
)
def test_what_cannot_be_read_is_said_without_showing_it(text, why):
    with pytest.raises(ValueError, match=why) as caught:
        Breaks([NIGHTLY, text])
    assert str(caught.value).startswith("window 2 ")
    assert "Nowhere" not in str(caught.value)


def test_all_that_cannot_be_read_is_said_at_once():
    with pytest.raises(ValueError, match=r"window 1 .*; window 3 "):
        Breaks(["x", NIGHTLY, "y"])
