"""TWS's spellings of a time."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from exec_broker_ibkr.connection.times import epoch_seconds, utc_time
from exec_broker_ibkr.simulator.outbound import spell_time

AT = datetime(2026, 7, 1, 14, 30, 5, tzinfo=UTC)
CHICAGO = ZoneInfo("America/Chicago")


@pytest.fixture
def host_in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    os.environ.setdefault("TZ", "")
    if not os.environ["TZ"]:
        del os.environ["TZ"]
    time.tzset()


@pytest.mark.usefixtures("host_in_tokyo")
@pytest.mark.parametrize(
    "spelled",
    [
        "20260701-14:30:05",
        "20260701 10:30:05 America/New_York",
        "20260701 10:30:05 US/Eastern",
        "20260701  09:30:05 US/Central",
        "20260701 16:30:05 MET",
        "20260701 10:30:05 EST5EDT",
        "20260701 14:30:05 UTC",
        "20260701 14:30:05 GMT",
        "20260701-14:30:05 UTC",
        "1782916205",
        " 20260701-14:30:05 ",
        "20260701-14:30:05.123",
    ],
)
@pytest.mark.parametrize("zone", [None, CHICAGO])
def test_a_time_that_says_its_zone_depends_on_nothing_else(spelled: str, zone: ZoneInfo | None) -> None:
    assert utc_time(spelled, zone) == AT


@pytest.mark.usefixtures("host_in_tokyo")
@pytest.mark.parametrize("spelled", ["20260701 09:30:05", "20260701  09:30:05"])
def test_a_time_without_a_zone_is_in_the_one_that_is_set(spelled: str) -> None:
    assert utc_time(spelled, CHICAGO) == AT


@pytest.mark.usefixtures("host_in_tokyo")
def test_a_time_without_any_zone_is_that_of_the_host() -> None:
    assert utc_time("20260701  23:30:05") == AT


@pytest.mark.parametrize("name", ["Mars/Olympus", "XYZ", "../etc/passwd", "/etc/passwd", "a" * 300])
def test_an_unknown_zone_is_taken_as_utc_and_said_aloud(name: str, caplog: pytest.LogCaptureFixture) -> None:
    assert utc_time(f"20260701 14:30:05 {name}", CHICAGO) == AT
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize("spelled", ["", "yesterday", "20261301-14:30:05", "20260701-25:00:00", "20260701", "12"])
def test_a_time_that_cannot_be_read_becomes_now_and_is_said_aloud(
    spelled: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert utc_time(spelled, CHICAGO, now=lambda: AT) == AT
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_the_seconds_for_the_library_are_whole() -> None:
    assert epoch_seconds("20260701-14:30:05.987") == str(int(AT.timestamp()))


@pytest.mark.usefixtures("host_in_tokyo")
@pytest.mark.parametrize("zone", [None, UTC, ZoneInfo("US/Eastern"), CHICAGO])
def test_the_simulator_spells_what_is_read(zone: ZoneInfo | None) -> None:
    assert utc_time(spell_time(AT, zone)) == AT


def test_the_simulator_spells_without_a_zone_too() -> None:
    assert spell_time(AT, CHICAGO, named=False) == "20260701  09:30:05"
    assert utc_time(spell_time(AT, CHICAGO, named=False), CHICAGO) == AT
