"""The market that trades by itself: what trades, at what price, in how many parts, and after what time."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from exec_broker_ibkr.messages import ExecutionTold, TwsContract, TwsLeg
from exec_broker_ibkr.simulator.market import leg_prices
from ibkr_sim_hall import D, Hall, tws_order, words

APPLE = 265598


def trades(hall: Hall) -> list[tuple[Decimal, Decimal]]:
    return [(one.quantity, one.price) for one in hall.told if isinstance(one, ExecutionTold)]


def hall_at(price: str, parts: int = 1) -> Hall:
    hall = Hall(rests=False)
    hall.exchange.market.prices[APPLE] = D(price)
    hall.exchange.market.parts = parts
    return hall


def test_a_market_order_trades_at_once_at_the_price() -> None:
    hall = hall_at("201.5")
    told = hall.place(tws_order("BUY", "MKT"))
    assert words(told) == ["Order", "Submitted", "Execution", "Order", "Filled", "Commission"]
    assert trades(hall) == [(10, D("201.5"))]


def test_without_a_price_of_its_own_a_contract_has_its_reference() -> None:
    hall = Hall(rests=False)
    hall.place(tws_order("BUY", "MKT"))
    assert trades(hall) == [(10, D("235.15"))]


@pytest.mark.parametrize(
    ("action", "price", "is_filled"),
    [
        ("BUY", "200", True),
        ("BUY", "199", True),
        ("BUY", "200.01", False),
        ("SELL", "200", True),
        ("SELL", "199", False),
    ],
)
def test_a_limit_order_trades_where_its_limit_is_reached(action: str, price: str, is_filled: bool) -> None:
    hall = hall_at(price)
    hall.place(tws_order(action))
    assert trades(hall) == ([(10, D(price))] if is_filled else [])


def test_a_limit_order_waits_for_the_price() -> None:
    hall = hall_at("205")
    hall.place()
    hall.does(lambda: hall.exchange.set_price(APPLE, D(203)))
    assert trades(hall) == []
    hall.does(lambda: hall.exchange.set_price(APPLE, D("199.5")))
    assert trades(hall) == [(10, D("199.5"))]


def test_a_modified_order_is_looked_at_again() -> None:
    hall = hall_at("205")
    hall.place()
    hall.place(tws_order(limit_price=D(206)), order_id=1)
    assert trades(hall) == [(10, D(205))]


def test_a_stop_is_triggered_and_trades() -> None:
    hall = hall_at("205")
    hall.place(tws_order("BUY", "STP"))
    assert hall.order(1).status == "PreSubmitted"
    told = hall.does(lambda: hall.exchange.set_price(APPLE, D(211)))
    assert words(told)[:2] == ["Order", "Submitted"]
    assert trades(hall) == [(10, D(211))]


def test_a_stop_limit_is_triggered_and_waits_for_its_limit() -> None:
    hall = hall_at("205")
    hall.place(tws_order("BUY", "STP LMT", limit_price=D("210.5")))
    hall.does(lambda: hall.exchange.set_price(APPLE, D(211)))
    assert (hall.order(1).status, trades(hall)) == ("Submitted", [])
    hall.does(lambda: hall.exchange.set_price(APPLE, D("209")))
    assert trades(hall) == [(10, D(209))]


def test_what_is_immediate_or_cancelled_does_not_wait() -> None:
    hall = hall_at("205")
    assert words(hall.place(tws_order(tif="IOC")))[-2:] == ["Cancelled", "202"]


@pytest.mark.parametrize(("quantity", "parts"), [("10", [3, 3, 4]), ("3", [1, 1, 1]), ("2", [1, 1]), ("1.5", None)])
def test_an_order_can_trade_in_parts(quantity: str, parts: list[int] | None) -> None:
    hall = hall_at("200", parts=3)
    hall.place(tws_order("BUY", "MKT", quantity))
    traded = [one for one, _ in trades(hall)]
    assert sum(traded) == D(quantity)
    assert parts is None or traded == parts
    assert len(traded) == 3 or quantity == "2"
    assert hall.order(1).status == "Filled"


def test_an_order_by_cash_buys_what_it_is_worth() -> None:
    hall = Hall(rests=False)
    bitcoin = TwsContract("CRYPTO", "BTC", exchange="PAXOS", currency="USD")
    hall.place(tws_order("BUY", "MKT", None, cash_quantity=D(1000), tif="IOC"), bitcoin)
    assert trades(hall) == [(D("0.01666666"), D(60000))]
    assert hall.order(1).status == "Filled"


def test_each_part_comes_after_its_time_and_a_cancel_may_come_between() -> None:
    hall = hall_at("200", parts=2)
    hall.exchange.market.fill_after_seconds = 7
    due: list[tuple[float, Callable[[], None]]] = []
    hall.exchange.later = lambda seconds, act: due.append((seconds, act))
    hall.place(tws_order("BUY", "MKT"))
    assert ([seconds for seconds, _ in due], trades(hall)) == ([7], [])
    due.pop()[1]()
    assert ([seconds for seconds, _ in due], len(trades(hall))) == ([7], 1)
    hall.cancel(1)
    due.pop()[1]()
    assert (len(trades(hall)), hall.order(1).status, due) == (1, "Cancelled", [])


def test_a_bracket_runs_by_itself() -> None:
    hall = hall_at("200")
    hall.place(tws_order("BUY", "MKT", transmit=False))
    hall.place(tws_order("SELL", "LMT", transmit=False, parent_id=1, limit_price=D(220)))
    hall.place(tws_order("SELL", "STP", parent_id=1, stop_price=D(190)))
    assert trades(hall) == [(10, D(200))]
    hall.does(lambda: hall.exchange.set_price(APPLE, D(189)))
    assert trades(hall) == [(10, D(200)), (10, D(189))]
    assert [hall.order(one).status for one in (1, 2, 3)] == ["Filled", "Cancelled", "Filled"]


def test_what_was_open_is_looked_at_again_by_the_next_venue(tmp_path: object) -> None:
    hall = hall_at("205")
    hall.place()
    hall.exchange.market.prices[APPLE] = D(199)
    hall.exchange.examine_all()
    assert trades(hall) == [(10, D(199))]


@pytest.mark.parametrize(
    ("actions", "net"),
    [
        (("BUY", "BUY"), "12.34"),
        (("BUY", "SELL"), "-3.5"),
        (("BUY", "SELL"), "2"),
        (("SELL", "SELL"), "-4"),
        (("SELL", "BUY"), "0"),
    ],
)
def test_the_prices_of_legs_come_to_the_net_price(actions: tuple[str, str], net: str) -> None:
    legs = tuple(TwsLeg(con_id, 1, action, "SMART") for con_id, action in enumerate(actions, 1))
    prices = leg_prices(TwsContract("BAG", legs=legs), D(net))
    assert sum(price * (1 if actions[place] == "BUY" else -1) for place, price in prices.items()) == D(net)
    assert all(price >= 0 for price in prices.values())
