"""The simulator's market and its book, without a wire: what trades by itself, when, and at which price."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from exec_broker_zerodha.simulator.book import Book
from exec_broker_zerodha.simulator.desk import Desk, ImpossibleAction
from exec_broker_zerodha.simulator.options import Options
from exec_broker_zerodha.simulator.printing import contents, text
from exec_broker_zerodha.simulator.rows import OrderRow
from exec_broker_zerodha.simulator.schema import NotABook
from exec_broker_zerodha.simulator.server import Simulator
from exec_broker_zerodha.simulator.showing import order_row
from exec_broker_zerodha.simulator.times import IST, moment


class Floor:
    """A simulator that nobody is connected to, under a clock moved by hand: ten in the morning in India."""

    def __init__(self, path: Path | None = None, **changes: Any) -> None:
        self.now = datetime(2026, 11, 23, 4, 30, tzinfo=UTC)
        self.simulator = Simulator(Options(**changes), path=path, clock=lambda: self.now)
        self.book = self.simulator.book

    def place(self, symbol: str = "SBIN", **changes: object) -> str:
        form = {
            "exchange": "NSE",
            "tradingsymbol": symbol,
            "transaction_type": "BUY",
            "quantity": 10,
            "product": "MIS",
            "order_type": "LIMIT",
            "price": "860.05",
        } | changes
        variety = str(form.pop("variety", "regular"))
        given = {name: str(value) for name, value in form.items() if value is not None}
        return self.simulator.counter.place(variety, given).order_id

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.simulator.advance()

    def order(self, order_id: str) -> OrderRow:
        found = self.book.order_of(order_id)
        assert found is not None
        return found

    def trades(self, order_id: str) -> list[tuple[int, Decimal]]:
        return [(one.quantity, one.price) for one in self.book.trades_of(self.order(order_id).number)]

    def desk(self) -> Desk:
        """The desk, whose plans nobody keeps: there is no event loop here."""
        self.simulator.plan = lambda: None  # type: ignore[method-assign]
        return Desk(self.simulator)


@pytest.fixture
def floor() -> Iterator[Callable[..., Floor]]:
    floors: list[Floor] = []

    def made(path: Path | None = None, **changes: Any) -> Floor:
        floors.append(Floor(path, **changes))
        return floors[-1]

    yield made
    for one in floors:
        one.book.close()


def test_without_a_price_a_limit_order_is_filled_at_its_limit_and_a_market_order_at_that_of_the_dump(floor) -> None:
    at = floor()
    limit = at.place(price="850.00")
    market = at.place(order_type="MARKET", price=None, market_protection="-1")
    assert at.trades(limit) == [(10, Decimal("850.00"))]
    assert at.trades(market) == [(10, Decimal("860.00"))]
    assert at.order(market).status == "COMPLETE"


def test_with_a_price_a_limit_order_waits_until_that_is_at_or_through_its_limit(floor) -> None:
    at = floor(prices={"SBIN": Decimal("861.00"), "BSE:SBIN": Decimal("860.00")})
    waiting, elsewhere = at.place(price="860.05"), at.place(price="860.05", exchange="BSE")
    selling = at.place(price="861.00", transaction_type="SELL")
    dear = at.place(price="861.05", transaction_type="SELL")
    assert at.trades(waiting) == at.trades(dear) == []
    assert at.trades(elsewhere) == [(10, Decimal("860.00"))]
    assert at.trades(selling) == [(10, Decimal("861.00"))]
    at.desk().set_price("SBIN", Decimal("860.05"))
    assert at.trades(waiting) == [(10, Decimal("860.05"))]


def test_parts_are_whole_lots_and_add_up(floor) -> None:
    at = floor(partial_fills=3)
    catalogue = at.simulator.counter.catalogue
    future = max((one for one in catalogue.all if one.name == "NIFTY" and one.kind == "FUT"), key=lambda one: one.token)
    order_id = at.place(future.symbol, exchange="NFO", product="NRML", quantity=75 * 4, price="26000.05")
    assert [quantity for quantity, _ in at.trades(order_id)] == [75, 75, 150]
    assert [quantity for quantity, _ in at.trades(at.place(quantity=2))] == [1, 1]


def test_fills_come_after_their_time_one_by_one(floor) -> None:
    at = floor(partial_fills=2, fill_after=5.0)
    order_id = at.place()
    assert at.trades(order_id) == []
    at.pass_seconds(4.9)
    assert at.trades(order_id) == []
    at.pass_seconds(0.1)
    assert (at.order(order_id).status, at.order(order_id).filled_quantity) == ("OPEN", 5)
    at.pass_seconds(5)
    assert at.order(order_id).status == "COMPLETE"


def test_an_immediate_order_that_cannot_trade_is_cancelled(floor) -> None:
    at = floor(prices={"SBIN": Decimal("861.00")})
    assert at.order(at.place(validity="IOC")).status == "CANCELLED"
    assert at.order(at.place(validity="IOC", price="861.00")).status == "COMPLETE"


def test_a_stop_order_waits_for_its_trigger(floor) -> None:
    at = floor(prices={"SBIN": Decimal("860.00")})
    stop = at.place(order_type="SL-M", price=None, trigger_price="865.00", market_protection="-1")
    limited = at.place(order_type="SL", price="863.00", trigger_price="862.00")
    falling = at.place(
        order_type="SL-M", price=None, trigger_price="855.00", market_protection="-1", transaction_type="SELL"
    )
    assert {at.order(one).status for one in (stop, limited, falling)} == {"TRIGGER PENDING"}
    at.desk().set_price("SBIN", Decimal("864.00"))
    assert (at.order(limited).status, at.trades(limited)) == ("OPEN", [])
    at.desk().set_price("SBIN", Decimal("866.00"))
    assert at.trades(stop) == [(10, Decimal("866.00"))]
    at.desk().set_price("SBIN", Decimal("855.00"))
    assert at.trades(falling) == [(10, Decimal("855.00"))]
    assert at.trades(limited) == [(10, Decimal("855.00"))]


def test_what_runs_past_the_protection_of_a_market_order_stays_open(floor) -> None:
    at = floor(partial_fills=2, fill_after=5.0, prices={"SBIN": Decimal("860.00")})
    order_id = at.place(order_type="MARKET", price=None, market_protection="2")
    at.pass_seconds(5)
    at.desk().set_price("SBIN", Decimal("877.25"))
    at.pass_seconds(5)
    at.pass_seconds(500)
    order = at.order(order_id)
    assert (order.status, order.filled_quantity, order.price) == ("OPEN", 5, Decimal("877.20"))
    at.desk().set_price("SBIN", Decimal("877.20"))
    at.pass_seconds(5)
    at.pass_seconds(5)
    assert at.order(order_id).status == "COMPLETE"


def test_while_the_market_rests_nothing_trades_by_itself(floor) -> None:
    at = floor(is_resting=True)
    order_id = at.place(order_type="MARKET", price=None, market_protection="-1", validity="IOC")
    at.desk().set_price("SBIN", Decimal("1.00"))
    at.pass_seconds(5000)
    assert (at.order(order_id).status, at.trades(order_id)) == ("OPEN", [])


def test_a_cancel_takes_its_time_and_may_lose_to_a_fill(floor) -> None:
    at = floor(is_resting=True, cancel_after=2.0)
    lost, won = at.place(), at.place()
    for order_id in (lost, won):
        assert at.simulator.counter.cancel("regular", order_id).status == "CANCEL PENDING"
    at.desk().fill(lost)
    at.pass_seconds(1.9)
    assert at.order(won).status == "CANCEL PENDING"
    at.pass_seconds(0.1)
    assert (at.order(won).status, at.order(lost).status) == ("CANCELLED", "COMPLETE")


def test_after_market_orders_wait_for_the_session(floor) -> None:
    at = floor()
    order_id = at.place(variety="amo")
    assert (at.order(order_id).status, at.order(order_id).exchange_order_id) == ("AMO REQ RECEIVED", None)
    at.desk().open_market()
    assert at.order(order_id).status == "COMPLETE"


def test_people_can_do_what_no_market_does(floor) -> None:
    at = floor(is_resting=True)
    desk = at.desk()
    cancelled, filled, held = at.place(), at.place(), at.place(order_type="SL", price="870.00", trigger_price="865.00")
    desk.cancel(cancelled)
    desk.fill(cancelled, 4, Decimal("860.00"))
    assert (at.order(cancelled).status, at.order(cancelled).filled_quantity) == ("CANCELLED", 4)
    desk.fill(cancelled, 6, Decimal("860.00"))
    assert at.order(cancelled).status == "COMPLETE"
    desk.fill(filled)
    desk.fill(filled, 5, Decimal("860.00"))
    assert at.order(filled).filled_quantity == 15
    desk.fill(held, 1)
    assert at.order(held).status == "OPEN"
    desk.say(held, "EXCHANGE QUEUE PENDING")
    assert order_row(at.order(held), "AB1234")["status"] == "EXCHANGE QUEUE PENDING"
    desk.fill(held)
    assert order_row(at.order(held), "AB1234")["status"] == "COMPLETE"
    for impossible in (lambda: desk.cancel(filled), lambda: desk.fill(filled), lambda: desk.fill("nobody's")):
        with pytest.raises(ImpossibleAction):
            impossible()


def test_an_order_entered_by_hand_has_no_tag(floor) -> None:
    at = floor(is_resting=True)
    order = at.desk().trade_by_hand("SELL", 5, "NSE:INFY")
    assert (order.tag, order.is_by_hand, order.side, order.price) == (None, True, "SELL", Decimal("1520.00"))
    assert "tags" not in order_row(order, "AB1234")


@pytest.mark.parametrize("hour", [1, 10, 20])
def test_the_end_of_the_session_can_be_told_by_its_times_alone(floor, hour: int) -> None:
    at = floor(is_resting=True)
    at.now = datetime(2026, 11, 23, hour, 7, tzinfo=IST).astimezone(UTC)
    row = order_row(at.desk().expire(at.place()), "AB1234")
    assert (row["status"], row["status_message"]) == ("CANCELLED", None)
    assert row["exchange_update_timestamp"] == "2026-11-23 15:30:00"
    assert row["exchange_timestamp"] < "2026-11-23 15:30:00"
    cancelled = order_row(at.desk().cancel(at.place()), "AB1234")
    assert cancelled["exchange_update_timestamp"] == f"2026-11-23 {hour:02d}:07:00"


def test_a_day_begins_by_itself_where_that_was_asked_for(floor) -> None:
    at = floor(is_resting=True, day_begins=time(7, 30))
    order_id = at.place()
    at.pass_seconds(3600 * 21)
    assert at.simulator.listed_orders() != []
    at.pass_seconds(3600 * 0.5)
    assert at.simulator.listed_orders() == []
    assert at.order(order_id).is_expired
    at.place()
    at.pass_seconds(3600)
    assert len(at.simulator.listed_orders()) == 1


def test_the_book_keeps_everything_for_the_next_process(floor, tmp_path: Path) -> None:
    path = tmp_path / "book.db"
    first = floor(path, fill_after=5.0, partial_fills=2)
    order_id = first.place(tag="MINE", price="860.05")
    first.pass_seconds(5)
    first.simulator.begin_day(0)
    carried = first.place(price="1E+2")
    first.book.close()
    second = floor(path, fill_after=5.0)
    assert second.order(order_id) == first_order(path, order_id)
    assert second.order(order_id).price == Decimal("860.05")
    assert [row["order_id"] for row in second.simulator.listed_orders()] == [carried]
    assert len(second.book.history(second.order(order_id).number)) == 6
    second.pass_seconds(60)
    second.pass_seconds(5)
    assert second.order(carried).status == "COMPLETE"
    data = contents(second.book)
    assert [(row["client_order_id"], row["status"], row["quantity"]) for row in data["orders"]] == [
        ("MINE", "EXPIRED", 10),
        (None, "FILLED", 10),
    ]
    assert data["fills"][0] | {"time": ""} == {
        "execution_id": "10000001",
        "correction": 0,
        "superseded": False,
        "broker_order_id": order_id,
        "client_order_id": "MINE",
        "symbol": "SBIN",
        "exchange": "NSE",
        "side": "BUY",
        "quantity": 5,
        "price": 860.05,
        "commission": None,
        "time": "",
    }
    assert "MINE" in text(data)


def first_order(path: Path, order_id: str) -> OrderRow | None:
    """What a reader of the file sees."""
    book = Book(path, is_read_only=True)
    try:
        return book.order_of(order_id)
    finally:
        book.close()


def test_what_is_no_book_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    path.write_text("not a database, but long enough to be taken for the beginning of one" * 20, encoding="utf-8")
    with pytest.raises(NotABook):
        Book(path)
    with pytest.raises(NotABook):
        Book(tmp_path / "missing.db", is_read_only=True)


def test_order_ids_hold_the_time_and_are_unique(floor) -> None:
    at = floor(is_resting=True)
    ids = [at.place() for _ in range(50)]
    assert len(set(ids)) == 50
    sent = moment(((int(ids[0]) >> 22) + 1_288_834_974_657) * 1000)
    assert sent == at.now
