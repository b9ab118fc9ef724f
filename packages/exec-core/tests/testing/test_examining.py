"""Which figures and times are found in an answer, which figures are wrong, and the alarm for a frozen loop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from exec_core.broker import BrokerPosition, Found, Snapshot, View
from exec_core.fills import Commission, Fill
from exec_core.identifiers import BrokerOrderId, ExecutionId
from exec_core.instruments import Instrument
from exec_core.reports import FillReport
from exec_core.sides import Side
from exec_core.testing.examining import figures, freeze_alarm, wrong_figure

NOW = datetime(2026, 11, 23, 10, 30, tzinfo=UTC)
VIEW = View(NOW, True, None)
FILL = Fill(ExecutionId("e1"), Side.BUY, Decimal(10), Decimal("235.15"), NOW, Commission(Decimal("1.25"), "USD"), 2)


def test_figures_are_found_however_deep() -> None:
    found = Found(VIEW, fills=(FillReport(FILL, broker_order_id=BrokerOrderId("b1")),))
    assert dict(figures(found)) == {
        "fills[0].fill.quantity": Decimal(10),
        "fills[0].fill.price": Decimal("235.15"),
        "fills[0].fill.commission.amount": Decimal("1.25"),
    }


def test_times_are_found_however_deep() -> None:
    found = Found(VIEW, fills=(FillReport(FILL, broker_order_id=BrokerOrderId("b1")),))
    times = {name: value for name, value in figures(found, datetime) if value is not None}
    assert times == {"view.as_of": NOW, "fills[0].fill.time": NOW}


def test_what_stands_where_a_decimal_should_is_found() -> None:
    quantity: Any = 3
    position = BrokerPosition(Instrument("SPY"), quantity)
    assert ("items[0].quantity", 3) in list(figures(Snapshot((position,), VIEW)))


def test_a_float_is_found_wherever_it_is() -> None:
    @dataclass
    class Odd:
        known: MappingProxyType[str, object]

    assert list(figures(Odd(MappingProxyType({"cost": [1.5]})))) == [("known[cost][0]", 1.5)]


@pytest.mark.parametrize("value", [None, Decimal(0), Decimal("235.15"), Decimal("-1E+3"), Decimal(1) / Decimal(3)])
def test_exact_figures(value: object) -> None:
    assert wrong_figure(value) is None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (1.5, "is a float, no Decimal"),
        (3, "is a int, no Decimal"),
        ("1.5", "is a str, no Decimal"),
        (Decimal("NaN"), "is not finite"),
        (Decimal("Infinity"), "is not finite"),
        (Decimal.from_float(235.15), "was made from a binary float"),
    ],
)
def test_wrong_figures(value: object, why: str) -> None:
    assert str(wrong_figure(value)).endswith(why)


needs_alarms = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no alarms")


@pytest.fixture
def own_alarm() -> Iterator[list[int]]:
    """An alarm of somebody else, in an hour; the list holds how often it rang."""
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    timer = signal.setitimer(signal.ITIMER_REAL, 3600)
    yield rung
    signal.setitimer(signal.ITIMER_REAL, *timer)
    signal.signal(signal.SIGALRM, before)


@needs_alarms
def test_what_blocks_for_too_long_is_broken_off() -> None:
    with freeze_alarm(0.01), pytest.raises(TimeoutError, match="the event loop was blocked"):
        threading.Event().wait(60)


@needs_alarms
def test_the_alarm_of_somebody_else_goes_on(own_alarm: list[int]) -> None:
    handler = signal.getsignal(signal.SIGALRM)
    with freeze_alarm(60):
        assert signal.getsignal(signal.SIGALRM) is not handler
        assert signal.getitimer(signal.ITIMER_REAL)[0] <= 60
    assert signal.getsignal(signal.SIGALRM) is handler
    assert 60 < signal.getitimer(signal.ITIMER_REAL)[0] <= 3600
    assert own_alarm == []


@needs_alarms
def test_outside_the_main_thread_there_is_no_alarm() -> None:
    handlers: list[Any] = []

    def look() -> None:
        with freeze_alarm(60):
            handlers.append(signal.getsignal(signal.SIGALRM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGALRM)]
