"""How long an order must be in doubt before absence counts: by every clock, however they are set meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from exec_core.broker import Found, View
from exec_core.identifiers import AccountId, SignalId
from exec_core.instruments import AssetClass, Instrument
from exec_core.orders import Order, OrderRequest, OrderType
from exec_core.plugins import load_broker_plugin
from exec_core.sides import Side
from exec_service import recovery
from exec_service.recovery import Settler

SENT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
SETTLE = timedelta(seconds=120)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock that only ever goes on; the test moves it."""
    clock = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(recovery, "_running_time", lambda: clock.seconds)
    return clock


def sent() -> Order:
    request = OrderRequest(
        SignalId("sig_1"),
        AccountId("acc_1"),
        "s",
        Instrument("SPY", AssetClass.STOCK),
        Side.BUY,
        OrderType.MARKET,
        Decimal(1),
    )
    return replace(Order.new(request), sent_at=SENT)


def settler(session: Any, *, sender_done_after_seconds: float = 0.0) -> Settler:
    unused: Any = None
    return Settler(
        "acc_1",
        load_broker_plugin("mock"),
        unused,
        unused,
        session,
        unused,
        lambda: SENT,
        settle_seconds=SETTLE.total_seconds(),
        sender_done_after_seconds=sender_done_after_seconds,
    )


def absent(at: datetime) -> Found:
    return Found(View(at, complete=True, covers_from=SENT - timedelta(hours=6)))


def linked() -> SimpleNamespace:
    return SimpleNamespace(linked_since=SENT - timedelta(minutes=5))


def test_absence_counts_once_the_settle_time_is_over_by_every_clock(running: SimpleNamespace) -> None:
    found = settler(linked())
    assert not found._counts(sent(), absent(SENT + timedelta(seconds=1)))
    running.seconds += 119
    assert not found._counts(sent(), absent(SENT + SETTLE))
    running.seconds += 1
    assert not found._counts(sent(), absent(SENT + SETTLE - timedelta(seconds=1)))
    assert found._counts(sent(), absent(SENT + SETTLE))


@pytest.mark.parametrize("hours", [1, 24])
def test_a_clock_that_was_set_forward_does_not_shorten_it(running: SimpleNamespace, hours: int) -> None:
    found = settler(linked())
    jumped = SENT + timedelta(hours=hours)
    assert not found._counts(sent(), absent(jumped))
    running.seconds += 60
    assert not found._counts(sent(), absent(jumped + timedelta(seconds=60)))


def test_it_begins_anew_with_each_link(running: SimpleNamespace) -> None:
    session = linked()
    found = settler(session)
    assert not found._counts(sent(), absent(SENT + timedelta(seconds=1)))
    running.seconds += 200
    session.linked_since = SENT + timedelta(seconds=5)
    assert not found._counts(sent(), absent(SENT + timedelta(hours=1)))
    running.seconds += 120
    assert found._counts(sent(), absent(SENT + timedelta(hours=1)))


def test_a_sender_that_may_still_send_is_waited_for_by_the_running_clock(running: SimpleNamespace) -> None:
    found = settler(linked(), sender_done_after_seconds=600.0)
    for passed, counts in ((0, False), (300, False), (299, False), (1, True)):
        running.seconds += passed
        assert found._counts(sent(), absent(SENT + timedelta(hours=2))) is counts


def test_two_views_are_as_far_apart_as_the_clock_that_says_less(running: SimpleNamespace) -> None:
    found, first = settler(linked()), SENT + timedelta(hours=1)
    running.seconds += 3
    assert found._time_between(first, 1000.0, absent(first + timedelta(hours=1))) == timedelta(seconds=3)
    assert found._time_between(first, 1000.0, absent(first + timedelta(seconds=1))) == timedelta(seconds=1)
