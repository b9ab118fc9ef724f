"""Orders, instruments and executions as data: what they refuse, and what they compute."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

import pytest
from exec_core.broker import Found, View
from exec_core.clock import check_aware, utc_now
from exec_core.fills import Commission, Fill
from exec_core.identifiers import AccountId, BrokerOrderId, ClientOrderId, ExecutionId, SignalId
from exec_core.instruments import AssetClass, Instrument, InstrumentDetails, Right
from exec_core.notifier import Notification
from exec_core.orders import Evidence, Order, OrderEnd, OrderRequest, OrderStatus, OrderType, ReasonCode
from exec_core.reports import CommissionReport, FillReport, OrderReport, ReportStatus
from exec_core.sides import Side

NOW = datetime(2024, 11, 24, 10, 30, tzinfo=UTC)
SPY = Instrument("SPY")


def request(order_type: OrderType = OrderType.MARKET, **fields: object) -> OrderRequest:
    asked: dict[str, object] = {"quantity": Decimal(100)} | fields
    return OrderRequest(SignalId("sig_1"), AccountId("acc_1"), "Strategy", SPY, Side.BUY, order_type, **asked)


def execution(name: str, quantity: str, price: str, **fields: object) -> Fill:
    return Fill(ExecutionId(name), Side.BUY, Decimal(quantity), Decimal(price), NOW, **fields)


def with_fills(*fills: Fill) -> Order:
    return replace(Order.new(request()), fills=MappingProxyType({fill.execution_id: fill for fill in fills}))


# --- what is asked ---


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"quantity": None}, "either a quantity or a cash_quantity"),
        ({"cash_quantity": Decimal(5)}, "either a quantity or a cash_quantity"),
        ({"quantity": Decimal(0)}, "quantity must be above zero"),
        ({"quantity": Decimal(-1)}, "quantity must be above zero"),
        ({"quantity": Decimal("NaN")}, "quantity must be above zero"),
        ({"quantity": Decimal("Infinity")}, "quantity must be above zero"),
        ({"quantity": None, "cash_quantity": Decimal(0)}, "cash_quantity must be above zero"),
        ({"limit_price": Decimal(1)}, "MARKET order must not have a limit_price"),
        ({"stop_price": Decimal(1)}, "MARKET order must not have a stop_price"),
        ({"order_type": OrderType.LIMIT}, "LIMIT order needs a limit_price"),
        ({"order_type": OrderType.STOP}, "STOP order needs a stop_price"),
        ({"order_type": OrderType.STOP_LIMIT, "stop_price": Decimal(1)}, "STOP_LIMIT order needs a limit_price"),
    ],
)
def test_a_request_that_makes_no_sense_cannot_be_made(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        request(**fields)  # type: ignore[arg-type]


def test_each_order_type_has_the_prices_it_needs() -> None:
    limit, stop = Decimal(-1), Decimal(2)
    assert request(OrderType.LIMIT, limit_price=limit).limit_price == limit
    assert request(OrderType.STOP, stop_price=stop).stop_price == stop
    both = request(OrderType.STOP_LIMIT, limit_price=limit, stop_price=stop)
    assert (both.limit_price, both.stop_price) == (limit, stop)


def test_a_new_order_is_pending_under_its_derived_id() -> None:
    made = Order.new(request(leg_index=1, total_legs=2))
    assert (made.status, made.revision, made.quantity) == (OrderStatus.PENDING, 1, 100)
    assert made.client_order_id == request(leg_index=1, total_legs=2).key.client_order_id()
    assert Order.new(request(quantity=None, cash_quantity=Decimal(5))).quantity is None


# --- what became of it ---


def test_nothing_is_known_before_anything_happened_and_nothing_is_zero_by_default() -> None:
    made = Order.new(request())
    assert (made.filled_quantity, made.remaining_quantity) == (0, 100)
    for name in ("average_price", "last_fill_time", "commission", "broker_order_id", "reason", "reason_code"):
        assert getattr(made, name) is None, name


def test_figures_come_from_executions() -> None:
    later = replace(execution("b", "1", "11"), time=NOW + timedelta(seconds=5))
    made = with_fills(execution("a", "2", "10"), later)
    assert (made.filled_quantity, made.remaining_quantity) == (3, 97)
    assert made.average_price == Decimal("10.33333333333333333333333333333333")
    assert made.last_fill_time == later.time


def test_what_is_filled_beyond_the_order_leaves_nothing_to_fill() -> None:
    assert with_fills(execution("a", "120", "10")).remaining_quantity == 0


def test_executions_of_legs_do_not_count_towards_the_combination() -> None:
    made = with_fills(execution("a", "2", "10", leg=0, commission=Commission(Decimal(1), "USD")))
    assert (made.filled_quantity, made.average_price, made.last_fill_time) == (0, None, None)
    assert made.commission == Commission(Decimal(1), "USD")


def test_a_busted_execution_is_no_last_fill() -> None:
    assert with_fills(execution("a", "0", "10", correction=1)).last_fill_time is None


def test_commissions_of_one_currency_add_up_and_those_of_two_are_not_guessed() -> None:
    one = execution("a", "1", "10", commission=Commission(Decimal("1.1"), "USD"))
    two = execution("b", "1", "10", commission=Commission(Decimal("0.4"), "USD", estimated=True))
    assert with_fills(one, two).commission == Commission(Decimal("1.5"), "USD", estimated=True)
    other = replace(two, commission=Commission(Decimal(40), "INR"))
    assert with_fills(one, other).commission is None
    assert with_fills(one, replace(two, commission=None)).commission == one.commission


def test_a_commission_told_apart_counts_only_once_its_execution_is_known() -> None:
    late = MappingProxyType({ExecutionId("a"): Commission(Decimal(2), "USD")})
    assert replace(Order.new(request()), late_commissions=late).commission is None
    assert replace(with_fills(execution("a", "1", "1")), late_commissions=late).commission == late[ExecutionId("a")]


def test_the_reason_is_that_of_the_end_that_stands() -> None:
    end = OrderEnd(OrderStatus.CANCELLED, ReasonCode.TIMEOUT, "Not filled", Evidence.DEFINITIVE, NOW)
    ended = replace(Order.new(request()), status=OrderStatus.CANCELLED, end=end)
    assert (ended.reason_code, ended.reason, ended.rejected_by) == (ReasonCode.TIMEOUT, "Not filled", None)
    filled = replace(ended, status=OrderStatus.FILLED)
    assert (filled.reason_code, filled.reason) == (None, None)


@pytest.mark.parametrize(("evidence", "who"), [(Evidence.DEFINITIVE, "broker"), (Evidence.SERVICE, "service")])
def test_who_rejected_follows_from_the_evidence(evidence: Evidence, who: str) -> None:
    end = OrderEnd(OrderStatus.REJECTED, ReasonCode.STALE, "too old", evidence, NOW)
    assert replace(Order.new(request()), status=OrderStatus.REJECTED, end=end).rejected_by == who


def test_final_is_what_we_take_no_further_action_on() -> None:
    final = {status for status in OrderStatus if status.is_final}
    assert final == {OrderStatus.FILLED, OrderStatus.REJECTED, OrderStatus.CANCELLED, OrderStatus.EXPIRED}


# --- instruments ---


@pytest.mark.parametrize(
    "fields",
    [
        {"symbol": ""},
        {"multiplier": Decimal(0)},
        {"multiplier": Decimal("NaN")},
        {"strike": Decimal("Infinity")},
    ],
)
def test_an_instrument_that_makes_no_sense_cannot_be_made(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"symbol|multiplier|strike"):
        Instrument(**({"symbol": "SPY"} | fields))  # type: ignore[arg-type]


def test_two_spellings_of_a_strike_are_one_instrument_and_two_currencies_are_not() -> None:
    call = Instrument("SPX", AssetClass.OPTION, strike=Decimal("5000"), right=Right.CALL, expiry="20241220")
    assert call.key == replace(call, strike=Decimal("5000.00")).key
    assert call.key == replace(call, multiplier=Decimal(100)).key
    assert call.key != replace(call, right=Right.PUT).key
    assert SPY.key != replace(SPY, currency="EUR").key
    assert SPY.key != replace(SPY, asset_class=AssetClass.ETF).key


def test_the_multiplier_is_the_messages_else_the_venues_else_the_usual() -> None:
    details = InstrumentDetails(multiplier=Decimal(50))
    option = replace(SPY, asset_class=AssetClass.OPTION)
    assert replace(SPY, multiplier=Decimal(5)).multiplier_or_default(details) == 5
    assert SPY.multiplier_or_default(details) == 50
    assert option.multiplier_or_default(InstrumentDetails()) == 100
    assert SPY.multiplier_or_default() == 1


# --- executions and reports ---


@pytest.mark.parametrize(
    "fields",
    [
        {"execution_id": ""},
        {"quantity": Decimal(0)},
        {"quantity": Decimal(-1)},
        {"quantity": Decimal("NaN")},
        {"price": Decimal("Infinity")},
        {"correction": -1},
        {"time": datetime(2024, 11, 24)},  # noqa: DTZ001  # that is the mistake
    ],
)
def test_an_execution_that_makes_no_sense_cannot_be_made(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"fill|Fill|correction"):
        replace(execution("a", "1", "1"), **fields)


def test_a_commission_is_finite_and_may_be_a_rebate() -> None:
    assert Commission(Decimal("-0.2"), "USD").amount < 0
    with pytest.raises(ValueError, match="finite"):
        Commission(Decimal("NaN"), "USD")


def test_a_report_names_its_order() -> None:
    with pytest.raises(ValueError, match="must name the order"):
        OrderReport(ReportStatus.WORKING)
    with pytest.raises(ValueError, match="must name the order"):
        FillReport(execution("a", "1", "1"))
    with pytest.raises(ValueError, match="must name the order"):
        CommissionReport(ExecutionId("a"), Commission(Decimal(1), "USD"))
    assert OrderReport(ReportStatus.WORKING, client_order_id=ClientOrderId("A")).broker_order_id is None


def test_a_naive_time_is_refused_everywhere() -> None:
    naive = datetime(2024, 11, 24)  # noqa: DTZ001  # that is the mistake
    with pytest.raises(ValueError, match=r"venue_time must be an aware datetime"):
        OrderReport(ReportStatus.WORKING, broker_order_id=BrokerOrderId("1"), venue_time=naive)
    with pytest.raises(ValueError, match="as_of"):
        View(naive, True, None)
    with pytest.raises(ValueError, match="covers_from"):
        View(NOW, True, naive)
    check_aware("x", None)
    assert utc_now().utcoffset() == timedelta(0)


# --- what a look at the book proves ---


def test_absence_proves_something_only_in_a_complete_view_that_covers_the_send() -> None:
    start, end = NOW, NOW + timedelta(hours=1)
    view = View(end, True, start)
    assert view.proves_absence_since(start)
    assert view.proves_absence_since(end)
    assert not view.proves_absence_since(start - timedelta(microseconds=1))
    assert not view.proves_absence_since(end + timedelta(microseconds=1))
    assert not replace(view, complete=False).proves_absence_since(start)
    assert not replace(view, covers_from=None).proves_absence_since(start)


def test_a_trace_is_an_order_or_an_execution() -> None:
    view = View(NOW, True, NOW)
    report = OrderReport(ReportStatus.WORKING, broker_order_id=BrokerOrderId("1"))
    fill = FillReport(execution("a", "1", "1"), broker_order_id=BrokerOrderId("1"))
    assert not Found(view).has_trace
    assert Found(view, orders=(report,)).has_trace
    assert Found(view, fills=(fill,)).has_trace


# --- small words ---


def test_sides_have_signs_and_opposites() -> None:
    assert (Side.BUY.sign, Side.SELL.sign) == (1, -1)
    assert (Side.BUY.opposite, Side.SELL.opposite) == (Side.SELL, Side.BUY)


def test_a_notification_is_a_title_a_blank_line_and_fields() -> None:
    told = Notification("1", "✅ Order Filled", (("Signal", "sig_1"), ("Time", "2 seconds")))
    assert told.text == "✅ Order Filled\n\nSignal: sig_1\nTime: 2 seconds"
    assert replace(told, prefix="[MOCK]", fields=()).text == "[MOCK] ✅ Order Filled"
