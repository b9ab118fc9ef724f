"""Rows of Kite's books into reports, and whose they are. The rows are those of zerodha/kiteconnect-mocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from exec_broker_zerodha import charges, rows, views
from exec_broker_zerodha.book import Book, Sent
from exec_broker_zerodha.figures import figure
from exec_broker_zerodha.instruments import Listed, guess
from exec_broker_zerodha.rows import BadRow
from exec_broker_zerodha.times import covered_since, day_of_lists, http_time, utc_time, was_ended_by_close
from exec_core.identifiers import BrokerOrderId, ClientOrderId
from exec_core.instruments import AssetClass, Instrument
from exec_core.orders import Order, OrderRequest, OrderType
from exec_core.reports import OrderReport, ReportStatus
from exec_core.sides import Side

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
TAG = ClientOrderId("ABCDEFGHIJKLMNOP2345")
OTHER = ClientOrderId("ZBCDEFGHIJKLMNOP2345")
#: A MARKET order with a protection, as it is shown.
PROTECTED: dict[str, Any] = {
    "order_id": "1953341975595868160",
    "status": "COMPLETE",
    "status_message": None,
    "status_message_raw": None,
    "order_timestamp": datetime(2025, 8, 7, 11, 56, 33),  # noqa: DTZ001  # as the library gives it
    "exchange_update_timestamp": "2025-08-07 11:56:34",
    "exchange_timestamp": datetime(2025, 8, 7, 11, 56, 33),  # noqa: DTZ001
    "variety": "regular",
    "modified": False,
    "exchange": "NSE",
    "tradingsymbol": "TATASTEEL",
    "order_type": "LIMIT",
    "transaction_type": "BUY",
    "validity": "DAY",
    "product": "CNC",
    "quantity": 1,
    "price": Decimal("159.82"),
    "trigger_price": 0,
    "average_price": Decimal("156.7"),
    "filled_quantity": 1,
    "pending_quantity": 0,
    "cancelled_quantity": 0,
    "tag": None,
    "tags": ["mktp", "mktp:2.00", TAG],
}
REJECTED = PROTECTED | {
    "order_id": "220524001859672",
    "status": "REJECTED",
    "status_message": "Insufficient funds. Required margin is 95417.84 but available margin is 74251.80.",
    "status_message_raw": "RMS:Margin Exceeds",
    "exchange_timestamp": None,
    "exchange_update_timestamp": None,
    "filled_quantity": 0,
    "tag": "icebergord",
    "tags": ["icebergord"],
}
TRADE: dict[str, Any] = {
    "trade_id": "10000000",
    "order_id": "1953341975595868160",
    "exchange": "NSE",
    "tradingsymbol": "TATASTEEL",
    "product": "CNC",
    "average_price": Decimal("156.7"),
    "quantity": 1,
    "transaction_type": "BUY",
    "fill_timestamp": datetime(2025, 8, 7, 11, 56, 33),  # noqa: DTZ001
    "order_timestamp": "11:56:33",
}


def report(row: dict[str, Any]) -> OrderReport:
    return rows.order_report(row, rows.our_tag(row), guess)


def test_a_protected_market_order() -> None:
    found = report(PROTECTED)
    assert (found.status, found.client_order_id, found.broker_order_id) == (
        ReportStatus.FILLED,
        TAG,
        "1953341975595868160",
    )
    assert found.venue_time == datetime(2025, 8, 7, 6, 26, 34, tzinfo=UTC)
    assert found.filled_quantity == 1
    assert found.terms is not None
    assert (found.terms.quantity, found.terms.limit_price, found.terms.stop_price) == (1, Decimal("159.82"), None)


def test_a_rejected_row_has_its_reason_and_is_nobodys() -> None:
    found = report(REJECTED)
    assert (found.status, found.client_order_id, found.terms) == (ReportStatus.REJECTED, None, None)
    assert found.reason is not None
    assert found.reason.startswith("Insufficient funds.")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"status": "OPEN", "filled_quantity": 0}, ReportStatus.WORKING),
        ({"status": "UPDATE"}, ReportStatus.WORKING),
        ({"status": "CANCELLED", "pending_quantity": 1, "filled_quantity": 0}, ReportStatus.CANCELLED),
        (
            {"status": "CANCELLED", "validity": "IOC", "exchange_update_timestamp": "2025-08-07 15:31:00"},
            ReportStatus.CANCELLED,
        ),
        ({"status": "CANCELLED", "exchange_update_timestamp": "2025-08-07 15:30:01"}, ReportStatus.EXPIRED),
        ({"status": "CANCELLED", "exchange_update_timestamp": "2025-08-07 15:29:59"}, ReportStatus.CANCELLED),
        ({"status": "REJECTED", "pending_quantity": 0}, ReportStatus.REJECTED),
    ],
)
def test_status_and_quantities(changes: dict[str, Any], status: ReportStatus) -> None:
    found = report(PROTECTED | changes)
    assert found.status is status
    if "filled_quantity" in changes:
        assert found.filled_quantity == changes["filled_quantity"]


def test_an_execution() -> None:
    found = rows.fill_report(TRADE, TAG, NOW)
    assert found.fill.execution_id == "NSE:10000000:1953341975595868160"
    assert (found.fill.quantity, found.fill.price, found.fill.side) == (1, Decimal("156.7"), Side.BUY)
    assert found.fill.time == datetime(2025, 8, 7, 6, 26, 33, tzinfo=UTC)
    assert found.fill.commission is None
    documented = {key: value for key, value in TRADE.items() if key != "quantity"} | {"filled": 3}
    assert rows.fill_report(documented, None, NOW).fill.quantity == 3


def test_an_execution_without_a_readable_time_is_not_lost() -> None:
    assert rows.fill_report(TRADE | {"fill_timestamp": "soon"}, None, NOW).fill.time == NOW


@pytest.mark.parametrize("lack", ["trade_id", "order_id", "exchange", "quantity", "average_price", "transaction_type"])
def test_an_execution_that_cannot_be_booked(lack: str) -> None:
    with pytest.raises(BadRow):
        rows.fill_report(TRADE | {lack: None}, None, NOW)


@pytest.mark.parametrize("order_id", [None, "", True, 1.5, ["1"]])
def test_an_order_without_an_id(order_id: Any) -> None:
    with pytest.raises(BadRow):
        rows.order_id_of({"order_id": order_id})


def test_long_ids_keep_their_digits() -> None:
    assert rows.order_id_of({"order_id": 1953341975595868161}) == "1953341975595868161"


def test_tags() -> None:
    assert rows.our_tag(PROTECTED) == TAG
    assert rows.our_tag(PROTECTED | {"tag": TAG, "tags": None}) == TAG
    assert rows.our_tag(PROTECTED | {"tag": "mine", "tags": ["mine", "autoslice"]}) is None
    assert rows.our_tag(PROTECTED | {"tag": OTHER, "tags": [TAG]}) is None


# The book


@pytest.fixture
def book() -> Book:
    return Book(guess, lambda _exchange, _symbol: None)


def order_of(client_order_id: ClientOrderId = TAG, *ids: str) -> Order:
    request = OrderRequest("s", "a", "x", Instrument("TATASTEEL"), Side.BUY, OrderType.MARKET, Decimal(1))  # type: ignore[arg-type]
    return Order(client_order_id, request, Decimal(1), broker_order_ids=tuple(BrokerOrderId(one) for one in ids))


SENT = Sent("NSE", "TATASTEEL", "BUY", "CNC", Decimal(1))


def test_an_order_is_found_by_its_tag_although_it_looks_different(book: Book) -> None:
    book.take_orders([REJECTED, PROTECTED])
    assert book.lacks_trades
    book.take_trades([TRADE], NOW)
    assert not book.lacks_trades
    found = book.trace(order_of(), SENT)
    assert [one.broker_order_id for one in found.orders] == ["1953341975595868160"]
    assert [one.client_order_id for one in found.fills] == [TAG]
    assert not found.is_doubtful


def test_all_orders_under_a_tag_are_told(book: Book) -> None:
    book.take_orders([PROTECTED, PROTECTED | {"order_id": "2", "status": "OPEN"}])
    assert len(book.trace(order_of(), SENT).orders) == 2


@pytest.mark.parametrize(
    "changes",
    [{"transaction_type": "SELL"}, {"tradingsymbol": "SBIN"}, {"exchange": "BSE"}, {"product": "MIS"}, {"quantity": 2}],
)
def test_what_bears_the_tag_and_does_not_fit_is_not_taken_and_not_ignored(book: Book, changes: dict[str, Any]) -> None:
    book.take_orders([PROTECTED | changes])
    found = book.trace(order_of(), SENT)
    assert (found.orders, found.is_doubtful) == ((), True)
    book.sending(TAG, SENT)
    orders, _ = book.reports()
    assert [one.client_order_id for one in orders] == [None]


def test_an_order_that_somebody_modified_still_fits(book: Book) -> None:
    book.take_orders([PROTECTED | {"quantity": 2, "modified": True}])
    assert len(book.trace(order_of(), SENT).orders) == 1


def test_an_order_is_found_by_its_id_without_any_tag(book: Book) -> None:
    book.take_orders([PROTECTED | {"tags": []}])
    book.take_trades([TRADE], NOW)
    found = book.trace(order_of(TAG, "1953341975595868160"), None)
    assert [one.client_order_id for one in (*found.orders, *found.fills)] == [TAG, TAG]
    assert book.trace(order_of(), None).orders == ()
    book.placed(TAG, BrokerOrderId("1953341975595868160"))
    orders, fills = book.reports()
    assert [one.client_order_id for one in (*orders, *fills)] == [TAG, TAG]


def test_an_execution_that_was_seen_before_its_order_is_told_with_it(book: Book) -> None:
    book.take_trades([TRADE], NOW)
    _, fills = book.reports()
    assert [one.client_order_id for one in fills] == [None]
    book.take_orders([PROTECTED])
    _, fills = book.reports()
    assert [one.client_order_id for one in fills] == [TAG]


def test_one_bad_row_costs_only_itself(book: Book) -> None:
    assert not book.take_orders([{}, "?", PROTECTED])
    assert not book.take_trades([TRADE | {"average_price": None}, TRADE | {"trade_id": "2"}], NOW)
    orders, fills = book.reports()
    assert (len(orders), len(fills)) == (1, 1)


def test_a_modified_row_is_told_again(book: Book) -> None:
    book.take_orders([PROTECTED | {"status": "OPEN", "filled_quantity": 0}])
    (before,), _ = book.reports()
    book.take_orders([PROTECTED | {"status": "OPEN", "filled_quantity": 0, "price": Decimal("160.00")}])
    (after,), _ = book.reports()
    assert before.terms != after.terms


# Charges


def test_charges_are_divided_by_quantity_and_add_up() -> None:
    fills = [
        rows.fill_report(TRADE | {"trade_id": str(number), "quantity": quantity}, TAG, NOW)
        for number, quantity in enumerate((1, 1, 1))
    ]
    parts = charges.divided(Decimal("20.01"), fills)
    assert [part for _, part in parts] == [Decimal("6.6700")] * 2 + [Decimal("6.6700")]
    assert sum(part for _, part in charges.divided(Decimal("10"), fills)) == 10
    assert charges.divided(Decimal("10"), fills) == charges.divided(Decimal("10"), fills[::-1])


def test_an_answer_about_another_order_is_none() -> None:
    note = {"exchange": "NSE", "tradingsymbol": "TATASTEEL", "charges": {"total": Decimal("1.23")}}
    assert charges.charged(note, PROTECTED) == Decimal("1.23")
    assert charges.charged(note | {"tradingsymbol": "SBIN"}, PROTECTED) is None
    assert charges.charged(note | {"charges": {"total": None}}, PROTECTED) is None
    assert charges.charged(note | {"charges": {"total": -1}}, PROTECTED) is None
    assert charges.charged(None, PROTECTED) is None


# What is held


def test_positions_by_product_and_holdings() -> None:
    net = [
        {"exchange": "NSE", "tradingsymbol": "INFY", "product": "MIS", "quantity": -5, "average_price": Decimal("1.5")},
        {"exchange": "NSE", "tradingsymbol": "INFY", "product": "CNC", "quantity": 3, "average_price": 1},
        {"exchange": "NSE", "tradingsymbol": "SBIN", "product": "MIS", "quantity": 0},
    ]
    short, today = views.positions({"net": net, "day": []}, lambda _exchange, _symbol: None)
    assert (short.quantity, short.product, short.instrument.exchange) == (-5, "MIS", "NSE")
    # Shares for delivery are the same on both exchanges, and may be exchange-traded funds.
    assert (today.quantity, today.product, today.instrument.exchange) == (3, "CNC", None)
    assert [name.asset_class for name in today.also_known_as] == [AssetClass.ETF]


def test_a_sale_of_held_shares_counts_once() -> None:
    carried = {"exchange": "BSE", "tradingsymbol": "SBIN", "quantity": 8, "used_quantity": 3, "t1_quantity": 7}
    (held,) = views.holdings([carried | {"opening_quantity": 18}], lambda *_: None)
    assert held.quantity == 18
    (held,) = views.holdings([carried], lambda *_: None)
    assert held.quantity == 18


def test_financed_shares_stand_apart() -> None:
    row = {
        "exchange": "NSE",
        "tradingsymbol": "SBIN",
        "opening_quantity": 0,
        "mtf": {"quantity": 10, "average_price": 2},
    }
    (held,) = views.holdings([row], lambda *_: None)
    assert (held.product, held.quantity, held.average_price) == ("MTF", 10, 2)


def test_a_derivative_is_named_by_what_is_under_it() -> None:
    listed = Listed(
        "NFO", "NIFTY26DECFUT", "FUT", "NIFTY", datetime(2026, 12, 29, tzinfo=UTC).date(), None, Decimal("0.1"), 75
    )
    net = [{"exchange": "NFO", "tradingsymbol": "NIFTY26DECFUT", "product": "NRML", "quantity": 75}]
    (held,) = views.positions({"net": net}, lambda *_: listed)
    assert held.instrument.key == "FUTURE|NIFTY|NFO|INR|20261229||"
    assert {name.symbol for name in held.also_known_as} == {"NIFTY", "NIFTY26DECFUT"}


@pytest.mark.parametrize("told", [None, [], {}, {"net": None}, {"net": [{"quantity": None}]}, {"net": ["?"]}])
def test_what_is_no_list_of_positions_is_not_an_empty_one(told: Any) -> None:
    with pytest.raises(views.NoAnswer):
        views.positions(told, lambda *_: None)


def test_the_money() -> None:
    told = {
        "equity": {
            "net": Decimal("99725.05"),
            "available": {"cash": Decimal("245431.6"), "live_balance": Decimal("99725.05")},
            "utilised": {"span": Decimal("1.5"), "exposure": 2},
        }
    }
    money = views.account(told, NOW)
    assert (money.currency, money.cash, money.buying_power, money.initial_margin) == (
        "INR",
        Decimal("99725.05"),
        Decimal("99725.05"),
        Decimal("3.5"),
    )
    with pytest.raises(views.NoAnswer):
        views.account({"equity": None}, NOW)


# Figures and times


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, "1"),
        ("65.0", "65.0"),
        (0.1, "0.1"),
        (None, None),
        (True, None),
        ("", None),
        (float("nan"), None),
        ("Infinity", None),
        ([], None),
    ],
)
def test_figures(value: Any, number: str | None) -> None:
    found = figure(value)
    assert (None if found is None else str(found)) == number


def test_times_are_indias() -> None:
    assert utc_time("2026-11-23 09:15:00") == datetime(2026, 11, 23, 3, 45, tzinfo=UTC)
    assert utc_time("09:16:39") is None
    assert utc_time(None) is None
    assert http_time("Tue, 24 Nov 2026 03:30:00 GMT") == datetime(2026, 11, 24, 3, 30, tzinfo=UTC)
    assert http_time("yesterday") is None


@pytest.mark.parametrize(
    ("now", "since"),
    [
        ("2026-11-23T05:00:00+00:00", "2026-11-23T00:30:00+00:00"),  # half past ten: since six
        ("2026-11-23T00:29:59+00:00", "2026-11-22T18:30:00+00:00"),  # one second to six: since midnight
        ("2026-11-23T00:30:00+00:00", "2026-11-23T00:30:00+00:00"),
        ("2026-11-22T19:00:00+00:00", "2026-11-22T18:30:00+00:00"),  # half past midnight there
    ],
)
def test_a_view_covers_the_indian_day(now: str, since: str) -> None:
    assert covered_since(datetime.fromisoformat(now)) == datetime.fromisoformat(since)


def test_the_venues_day_counts_where_it_is_ahead() -> None:
    assert covered_since(NOW, NOW + timedelta(days=1)) > NOW


def test_lists_are_of_the_day_before_until_they_are_made() -> None:
    assert day_of_lists(datetime(2026, 11, 23, 2, 59, tzinfo=UTC)).day == 22
    assert day_of_lists(datetime(2026, 11, 23, 3, 0, tzinfo=UTC)).day == 23


def test_only_what_stood_before_the_close_is_ended_by_it() -> None:
    at = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)  # the close of the shares' exchanges
    assert was_ended_by_close("NSE", at - timedelta(hours=1), at)
    assert not was_ended_by_close("NSE", at, at + timedelta(minutes=1))
    assert not was_ended_by_close("MCX", at - timedelta(hours=1), at)
    assert not was_ended_by_close("NSE", None, at)
