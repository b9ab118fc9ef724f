"""An order with its stop and target."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from exec_broker_ibkr.brackets import bracket
from exec_broker_ibkr.messages import TwsOrder
from exec_core.errors import OrderRejected, OrderUnsupported
from ibkr_told import ACCOUNT, REF, sent

PARENT = sent()
STOP, TARGET = Decimal(490), Decimal(520)


def test_a_whole_bracket():
    made = bracket(PARENT, (7, 8, 9), stop=STOP, target=TARGET)
    assert made.parent == (7, replace(PARENT, transmit=False))
    assert made.stop == (
        8,
        TwsOrder(
            *("SELL", "STP", ACCOUNT, "GTC", f"{REF}-sl", Decimal(100)), stop_price=STOP, transmit=False, parent_id=7
        ),
    )
    assert made.target == (
        9,
        TwsOrder("SELL", "LMT", ACCOUNT, "GTC", f"{REF}-tp", Decimal(100), None, TARGET, transmit=True, parent_id=7),
    )
    assert [order_id for order_id, _ in made.orders] == [7, 8, 9]


@pytest.mark.parametrize(("stop", "target"), [(STOP, None), (None, TARGET), (STOP, TARGET)])
def test_only_the_last_one_transmits(stop, target):
    ids = (7, 8, 9) if stop and target else (7, 8)
    made = bracket(PARENT, ids, stop=stop, target=target)
    assert [one.transmit for _, one in made.orders] == [False] * (len(ids) - 1) + [True]
    assert [one.parent_id for _, one in made.orders] == [0] + [7] * (len(ids) - 1)
    assert (made.stop is None, made.target is None) == (stop is None, target is None)


def test_a_sale_is_covered_by_purchases():
    made = bracket(replace(PARENT, action="SELL"), (7, 8, 9), stop=TARGET, target=STOP)
    assert {made.stop[1].action, made.target[1].action} == {"BUY"}


def test_what_holds_for_the_parent_holds_for_its_children():
    made = bracket(replace(PARENT, outside_rth=True, tif="IOC"), (7, 8, 9), stop=STOP, target=TARGET)
    assert all(one.outside_rth for _, one in made.orders)
    assert [one.tif for _, one in made.orders] == ["IOC", "GTC", "GTC"]


@pytest.mark.parametrize(
    ("parent", "stop", "target", "why"),
    [
        (PARENT, 520, 490, "stop_loss 520 must be below limit_price 500"),
        (PARENT, 500, None, "stop_loss 500 must be below limit_price 500"),
        (PARENT, None, 490, "limit_price 500 must be below take_profit 490"),
        (replace(PARENT, limit_price=None, order_type="MKT"), 520, 490, "stop_loss 520 must be below take_profit 490"),
        (replace(PARENT, action="SELL"), 490, 520, "take_profit 520 must be below limit_price 500 for a SELL"),
    ],
)
def test_exits_on_the_wrong_side_are_refused(parent, stop, target, why):
    ids = (7, 8, 9) if stop and target else (7, 8)
    prices = {name: Decimal(price) for name, price in (("stop", stop), ("target", target)) if price}
    with pytest.raises(OrderRejected, match=why):
        bracket(parent, ids, **prices)


def test_an_order_for_money_has_no_exits():
    with pytest.raises(OrderUnsupported, match="need an order for a quantity"):
        bracket(replace(PARENT, quantity=None, cash_quantity=Decimal(100)), (7, 8), stop=STOP)


@pytest.mark.parametrize("ids", [(7,), (7, 8), (7, 9, 8), (7, 7, 8), (7, 8, 9, 10)])
def test_order_ids_must_fit(ids):
    with pytest.raises(ValueError, match="rising order ids"):
        bracket(PARENT, ids, stop=STOP, target=TARGET)


def test_a_bracket_of_nothing_is_none():
    with pytest.raises(ValueError, match="needs a stop or a target"):
        bracket(PARENT, (7,))
