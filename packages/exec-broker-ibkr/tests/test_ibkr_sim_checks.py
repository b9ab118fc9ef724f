"""What the simulated TWS refuses, with which code; and that it lets the rest through."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from exec_broker_ibkr.messages import ErrorTold, OrderShown, TwsContract, TwsLeg, TwsOrder
from exec_broker_ibkr.simulator.checks import BAG_CON_ID
from ibkr_sim_hall import D, Hall, stock, tws_order, words

BITCOIN = TwsContract("CRYPTO", "BTC", exchange="PAXOS", currency="USD")
FUTURE = TwsContract("FUT", "ES", exchange="CME", expiry="202712")
OPTION = TwsContract("OPT", "SPY", exchange="SMART", currency="USD", expiry="20271217", strike=D(600), right="C")
COIN = {"tif": "IOC", "limit_price": D(60000)}


def coin(order_type: str = "LMT", action: str = "BUY", quantity: str | None = "0.5", **changes: Any) -> TwsOrder:
    return tws_order(action, order_type, quantity, **(COIN | changes))


@pytest.mark.parametrize(
    ("code", "contract", "order"),
    [
        (200, stock("NOSUCH"), tws_order()),
        (200, stock("TWIN"), tws_order()),
        (200, stock(con_id=1), tws_order()),
        (200, TwsContract("OPT", "SPX", exchange="SMART", expiry="20271217", strike=D(6000), right="C"), tws_order()),
        (321, TwsContract("OPT", "SPY", exchange="SMART", strike=D(600), right="C"), tws_order()),
        (321, stock(exchange=""), tws_order()),
        (321, stock(), tws_order(account="U999")),
        (321, stock(), tws_order(limit_price=None)),
        (321, stock(), tws_order("HOLD")),
        (321, stock(), tws_order(tif="FOREVER")),
        (403, stock(), tws_order("BUY", "STP", stop_price=None)),
        (110, stock(), tws_order(limit_price=D("200.001"))),
        (110, stock(), tws_order("SELL", "STP", stop_price=D("199.995"))),
        (110, FUTURE, tws_order(limit_price=D("6000.10"))),
        (110, TwsContract("OPT", "AAPL", 700000011, exchange="SMART"), tws_order(limit_price=D("8.12"))),
        (434, stock(), tws_order(quantity="0")),
        (434, stock(), tws_order(quantity=None)),
        (434, stock(), tws_order(quantity="-1")),
        (387, stock(), tws_order(order_type="TRAIL")),
        (387, BITCOIN, coin("STP", stop_price=D(60000))),
        (460, stock("NOPERM"), tws_order(limit_price=D(5))),
        (203, stock("NOTHERE"), tws_order(limit_price=D(5))),
        (10247, stock("WHOLE"), tws_order(quantity="1.5")),
        (10247, FUTURE, tws_order(quantity="1.5", limit_price=D(6000))),
        (10244, OPTION, tws_order(order_type="MKT", quantity=None, cash_quantity=D(1000))),
        (10289, BITCOIN, coin("MKT")),
        (10293, BITCOIN, coin("MKT", cash_quantity=D(100))),
        (10244, BITCOIN, coin("MKT", "SELL", None, cash_quantity=D(100))),
        (10206, BITCOIN, coin("MKT", quantity=None, cash_quantity=D("100.001"))),
        (201, BITCOIN, coin("MKT", quantity=None, cash_quantity=D(100), tif="DAY")),
        (201, BITCOIN, coin(tif="GTC")),
        (201, BITCOIN, coin(action="SELL")),
        (201, stock(), tws_order(quantity="100000")),
        (312, TwsContract("BAG", "SPY", exchange="SMART", currency="USD"), tws_order(limit_price=D(1))),
        (10006, stock(), tws_order(parent_id=77)),
    ],
)
def test_refused(code: int, contract: TwsContract, order: TwsOrder) -> None:
    hall = Hall()
    told = hall.place(order, contract)
    assert isinstance(told[0], ErrorTold)
    assert (told[0].request_id, told[0].code) == (1, code)
    # A 201 is kept as Inactive, with an id of the account; nothing is left of the others.
    assert words(told[1:]) == (["Order", "Inactive"] if code == 201 else [])
    assert hall.book.open_orders() == []
    assert len(hall.book.orders()) == (1 if code == 201 else 0)


@pytest.mark.parametrize(
    ("contract", "order"),
    [
        (stock(), tws_order(quantity="1.5")),
        (stock(), tws_order("BUY", "MKT", limit_price=D("0.001"))),
        (stock("TWIN", primary_exchange="AMEX"), tws_order(limit_price=D(20))),
        (FUTURE, tws_order(limit_price=D("6000.25"))),
        (OPTION, tws_order(limit_price=D("12.34"))),
        (TwsContract("CASH", "EUR", exchange="IDEALPRO", currency="USD"), tws_order(limit_price=D("1.08505"))),
        (TwsContract("CASH", "EUR", exchange="IDEALPRO"), tws_order("BUY", "MKT", None, cash_quantity=D(5000))),
        (BITCOIN, coin(quantity="0.12345678")),
        (BITCOIN, coin("MKT", quantity=None, cash_quantity=D("100.25"))),
        (BITCOIN, coin(tif="Minutes")),
    ],
)
def test_taken(contract: TwsContract, order: TwsOrder) -> None:
    hall = Hall()
    assert words(hall.place(order, contract)) == ["Order", "Submitted"]


def test_the_coins_that_are_held_can_be_sold_and_no_more() -> None:
    hall = Hall()
    hall.place(coin(quantity="0.5"), BITCOIN)
    hall.execute(1, "0.5", "60000")
    assert words(hall.place(coin(action="SELL", quantity="0.50000001"), BITCOIN))[0] == "201"
    assert words(hall.place(coin(action="SELL", quantity="0.5"), BITCOIN)) == ["Order", "Submitted"]


def test_with_several_accounts_one_must_be_named() -> None:
    hall = Hall(accounts=("DU1", "DU2"))
    assert words(hall.place(tws_order(account=""))) == ["435"]
    assert words(hall.place(tws_order(account="DU2"))) == ["Order", "Submitted"]
    only = Hall()
    shown = only.place(tws_order(account=""))[0]
    assert isinstance(shown, OrderShown)
    assert shown.account == "DU1"


def test_a_missing_time_in_force_becomes_a_day_with_a_warning() -> None:
    hall = Hall()
    told = hall.place(tws_order(tif=""))
    assert words(told) == ["10349", "Order", "Submitted"]
    assert hall.order(1).tif == "DAY"


def test_fractions_need_a_permission() -> None:
    hall = Hall()
    hall.exchange.terms.fractions = False
    assert words(hall.place(tws_order(quantity="1.5"))) == ["10243"]
    assert words(hall.place(tws_order("BUY", "MKT", None, cash_quantity=D(100)))) == ["10244"]


def test_read_only() -> None:
    hall = Hall()
    hall.exchange.terms.read_only = True
    told = hall.place()
    assert words(told) == ["321"]
    assert "Read-Only" in getattr(told[0], "text", "")


def test_the_margin_counts_what_is_held_and_what_a_sale_frees() -> None:
    hall = Hall()
    hall.exchange.terms.cash = Decimal(10_000)
    assert words(hall.place(tws_order(quantity="200"))) == ["Order", "Submitted"]
    hall.execute(1, "200", "200")
    assert words(hall.place(tws_order(quantity="200")))[0] == "201"
    assert words(hall.place(tws_order("SELL", quantity="200"))) == ["Order", "Submitted"]


def test_combinations() -> None:
    legs = (TwsLeg(700000001, 1, "BUY", "SMART"), TwsLeg(700000002, 1, "SELL", "SMART"))
    bag = TwsContract("BAG", "SPY", exchange="SMART", currency="USD", legs=legs)
    hall = Hall()
    assert words(hall.place(tws_order(limit_price=D("-1.25")), bag)) == ["Order", "Submitted"]
    assert hall.order(1).contract.con_id == BAG_CON_ID
    assert words(hall.place(tws_order(limit_price=D("1.255")), bag)) == ["110"]
    for wrong in (TwsLeg(1, 1, "BUY", "SMART"), TwsLeg(700000001, 0, "BUY", "SMART"), TwsLeg(700000001, 1, "BUY", "X")):
        assert words(hall.place(tws_order(limit_price=D(1)), replace(bag, legs=(legs[0], wrong)))) == ["313"]
