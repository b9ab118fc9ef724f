"""What a plugin does not declare is refused, with a sentence that names the field."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from exec_core.capabilities import Capabilities
from exec_core.identifiers import AccountId, SignalId
from exec_core.instruments import AssetClass, Instrument
from exec_core.orders import Leg, OrderRequest, OrderType, TimeInForce
from exec_core.sides import Side

STOCKS = Capabilities(
    order_types=frozenset({OrderType.MARKET, OrderType.LIMIT}),
    times_in_force=frozenset({TimeInForce.DAY}),
    asset_classes=frozenset({AssetClass.STOCK, AssetClass.CRYPTO}),
    fractional_quantity=frozenset({AssetClass.CRYPTO}),
    cash_quantity=frozenset({AssetClass.CRYPTO}),
)
PLAIN = OrderRequest(
    SignalId("sig_1"),
    AccountId("acc_1"),
    "Strategy",
    Instrument("SPY"),
    Side.BUY,
    OrderType.MARKET,
    quantity=Decimal(100),
)
CRYPTO = replace(PLAIN, instrument=Instrument("BTC", AssetClass.CRYPTO))
LEGS = (Leg(Instrument("SPY"), Side.BUY, Decimal(1)),)


@pytest.mark.parametrize(
    "request_",
    [
        PLAIN,
        replace(PLAIN, quantity=Decimal("100.00")),
        replace(PLAIN, time_in_force=TimeInForce.DAY),
        replace(CRYPTO, quantity=Decimal("0.5")),
        replace(CRYPTO, quantity=None, cash_quantity=Decimal("10.50")),
    ],
)
def test_what_is_declared_is_taken(request_: OrderRequest) -> None:
    assert STOCKS.refusal(request_) is None


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (
            replace(PLAIN, order_type=OrderType.STOP, stop_price=Decimal(1)),
            "order_type STOP is not supported; supported: LIMIT, MARKET",
        ),
        (
            replace(PLAIN, time_in_force=TimeInForce.GTC),
            "time_in_force GTC is not supported; supported: DAY",
        ),
        (
            replace(PLAIN, instrument=Instrument("ES", AssetClass.FUTURE)),
            "instrument_type FUTURE is not supported; supported: CRYPTO, STOCK",
        ),
        (replace(PLAIN, legs=LEGS), "legs are not supported: combinations cannot be sent as one order"),
        (
            replace(PLAIN, quantity=None, cash_quantity=Decimal(5)),
            "cash_quantity is not supported for STOCK; give a quantity",
        ),
        (replace(PLAIN, quantity=Decimal("0.5")), "quantity 0.5 must be a whole number for STOCK"),
    ],
)
def test_what_is_not_declared_is_refused_by_name(request_: OrderRequest, sentence: str) -> None:
    assert STOCKS.refusal(request_) == sentence


def test_combinations_are_taken_where_they_are_declared() -> None:
    assert replace(STOCKS, combinations=True).refusal(replace(PLAIN, legs=LEGS)) is None


MONEY_ONLY = replace(STOCKS, cash_only_buys=frozenset({AssetClass.CRYPTO}))
COINS = replace(CRYPTO, quantity=Decimal("0.3333"), reference_price=Decimal("60000.55"))


def test_what_is_sold_for_money_only_is_bought_for_quantity_times_price_in_cents() -> None:
    taken = MONEY_ONLY.as_taken(COINS)
    assert (taken.quantity, taken.cash_quantity) == (None, Decimal("19998.18"))
    assert MONEY_ONLY.refusal(taken) is None
    assert MONEY_ONLY.as_taken(taken) == taken


@pytest.mark.parametrize(
    "request_",
    [
        replace(COINS, side=Side.SELL),
        replace(COINS, order_type=OrderType.LIMIT, limit_price=Decimal(60000)),
        replace(COINS, instrument=Instrument("SPY")),
        replace(COINS, reference_price=None),
        replace(COINS, quantity=Decimal("0.00000001"), reference_price=Decimal(1)),
        replace(COINS, legs=LEGS),
    ],
)
def test_everything_else_stays_as_it_was_asked(request_: OrderRequest) -> None:
    assert MONEY_ONLY.as_taken(request_) == request_
    assert STOCKS.as_taken(request_) == request_


def test_without_a_price_it_is_refused_and_the_sentence_says_what_to_give() -> None:
    refusal = MONEY_ONLY.refusal(replace(COINS, reference_price=None))
    assert refusal is not None
    assert "give a cash_quantity, or a price" in refusal
