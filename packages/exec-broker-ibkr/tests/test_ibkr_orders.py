"""Orders in TWS's words."""

from __future__ import annotations

from decimal import Decimal

import pytest
from exec_broker_ibkr.messages import TwsOrder
from exec_broker_ibkr.orders import capabilities, tws_order
from exec_broker_ibkr.settings import IbkrSettings
from exec_core.capabilities import Idempotency
from exec_core.errors import OrderRejected, OrderUnsupported
from exec_core.instruments import AssetClass, Instrument
from exec_core.orders import Leg, OrderType, TimeInForce
from exec_core.sides import Side
from ibkr_told import ACCOUNT, REF, order

SETTINGS = IbkrSettings()
BTC = Instrument("BTC", AssetClass.CRYPTO)
EURUSD = Instrument("EURUSD", AssetClass.FOREX)
MARKET = {"order_type": OrderType.MARKET, "limit_price": None}
PRICES = {
    OrderType.MARKET: (None, None),
    OrderType.LIMIT: (Decimal(500), None),
    OrderType.STOP: (None, Decimal(495)),
    OrderType.STOP_LIMIT: (Decimal(500), Decimal(495)),
}


def made(settings=SETTINGS, **fields):
    return tws_order(order(**fields).request, REF, ACCOUNT, settings)


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(
    ("order_type", "word"),
    [
        (OrderType.MARKET, "MKT"),
        (OrderType.LIMIT, "LMT"),
        (OrderType.STOP, "STP"),
        (OrderType.STOP_LIMIT, "STP LMT"),
    ],
)
def test_the_four_types(side, order_type, word):
    limit, stop = PRICES[order_type]
    assert made(side=side, order_type=order_type, limit_price=limit, stop_price=stop) == TwsOrder(
        side.value, word, ACCOUNT, "DAY", REF, Decimal(100), None, limit, stop
    )


@pytest.mark.parametrize("tif", TimeInForce)
def test_the_time_in_force_is_always_said(tif):
    assert made(time_in_force=tif).tif == tif.value
    assert made(time_in_force=None).tif == "DAY"


def test_figures_are_handed_on_to_the_digit():
    one = made(quantity=Decimal("1E+1"), limit_price=Decimal("10.00"))
    assert (str(one.quantity), str(one.limit_price)) == ("1E+1", "10.00")


@pytest.mark.parametrize(
    ("asset_class", "outside"),
    [(kind, kind not in (AssetClass.FOREX, AssetClass.CRYPTO)) for kind in AssetClass],
)
def test_trading_outside_of_regular_hours_is_a_setting(asset_class, outside):
    instrument = Instrument("X", asset_class)
    assert made(IbkrSettings(outside_rth=True), instrument=instrument).outside_rth is outside
    assert made(instrument=instrument).outside_rth is False


# --- what is declared ---


def test_what_is_declared():
    declared = capabilities()
    assert declared.order_types == frozenset(OrderType)
    assert declared.times_in_force == frozenset(TimeInForce)
    assert declared.asset_classes == frozenset(AssetClass)
    assert declared.default_time_in_force is TimeInForce.DAY
    assert declared.fractional_quantity == {AssetClass.CRYPTO}
    assert declared.cash_quantity == {AssetClass.CRYPTO, AssetClass.FOREX}
    assert (declared.combinations, declared.native_brackets) == (True, True)
    assert declared.idempotency is Idempotency.CORRELATES


@pytest.mark.parametrize("kind", [AssetClass.STOCK, AssetClass.ETF, AssetClass.OPTION, AssetClass.FUTURE])
def test_money_and_fractions_are_not_sent_where_they_are_not_declared(kind):
    with pytest.raises(OrderUnsupported, match="cash_quantity"):
        made(instrument=Instrument("X", kind), quantity=None, cash_quantity=Decimal(1000))
    with pytest.raises(OrderUnsupported, match="whole number"):
        made(instrument=Instrument("X", kind), quantity=Decimal("1.5"))


def test_a_fraction_of_a_currency_is_not_sent():
    with pytest.raises(OrderUnsupported, match="whole number"):
        made(instrument=EURUSD, quantity=Decimal("20000.5"))


def test_currencies_are_bought_by_quantity_or_for_money():
    assert made(instrument=EURUSD, quantity=Decimal(20_000)).quantity == Decimal(20_000)
    one = made(instrument=EURUSD, quantity=None, cash_quantity=Decimal("21500.50"), **MARKET)
    assert (one.quantity, one.cash_quantity, one.tif) == (None, Decimal("21500.50"), "DAY")


@pytest.mark.parametrize("instrument", [EURUSD, BTC])
@pytest.mark.parametrize("cash", ["100.001", "0.005"])
def test_an_amount_of_money_has_two_decimals(instrument, cash):
    with pytest.raises(OrderRejected, match=f"cash_quantity {cash} has more than the two decimals"):
        made(instrument=instrument, quantity=None, cash_quantity=Decimal(cash), **MARKET)


# --- crypto currencies ---


def test_a_market_purchase_of_crypto_is_for_money():
    one = made(instrument=BTC, quantity=None, cash_quantity=Decimal("1000.50"), **MARKET)
    assert (one.order_type, one.quantity, one.cash_quantity, one.tif) == ("MKT", None, Decimal("1000.50"), "IOC")


@pytest.mark.parametrize("price", [None, Decimal(50_000)])
def test_a_market_purchase_for_a_quantity_is_refused_saying_what_to_give(price):
    with pytest.raises(OrderUnsupported, match="give a cash_quantity, or a price"):
        made(instrument=BTC, quantity=Decimal("0.5"), reference_price=price, **MARKET)


def test_a_quantity_with_a_price_is_taken_as_money():
    asked = order(instrument=BTC, quantity=Decimal("0.5"), reference_price=Decimal(50), **MARKET).request
    taken = capabilities().as_taken(asked)
    assert tws_order(taken, "REF", "DU1", IbkrSettings()).cash_quantity == Decimal("25.00")


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("tif", [None, TimeInForce.IOC])
def test_a_limit_order_for_crypto_is_by_quantity_and_immediate(side, tif):
    one = made(instrument=BTC, side=side, quantity=Decimal("0.00012345"), time_in_force=tif)
    assert (one.quantity, one.cash_quantity, one.tif) == (Decimal("0.00012345"), None, "IOC")


def test_crypto_is_sold_by_quantity():
    one = made(instrument=BTC, side=Side.SELL, quantity=Decimal("0.5"), reference_price=Decimal(50000), **MARKET)
    assert (one.quantity, one.cash_quantity, one.tif) == (Decimal("0.5"), None, "IOC")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"side": Side.SELL, "quantity": None, "cash_quantity": Decimal(100), **MARKET}, "sold by quantity"),
        ({"quantity": None, "cash_quantity": Decimal(100)}, "bought at a limit by quantity"),
        ({"time_in_force": TimeInForce.DAY}, "time_in_force DAY is not possible"),
        ({"time_in_force": TimeInForce.GTC, "side": Side.SELL, **MARKET}, "time_in_force GTC is not possible"),
        ({"order_type": OrderType.STOP, "limit_price": None, "stop_price": Decimal(1)}, "no STOP orders"),
        ({"order_type": OrderType.STOP_LIMIT, "stop_price": Decimal(1)}, "no STOP_LIMIT orders"),
    ],
)
def test_what_ib_does_not_do_for_crypto(fields, why):
    with pytest.raises(OrderRejected, match=why):
        made(instrument=BTC, **fields)


# --- combinations ---


def legs(*kinds):
    return tuple(Leg(Instrument(f"X{number}", kind), Side.BUY, Decimal(1)) for number, kind in enumerate(kinds))


@pytest.mark.parametrize(
    ("kinds", "routing"),
    [
        ((AssetClass.STOCK, AssetClass.ETF), (("NonGuaranteed", "1"),)),
        ((AssetClass.OPTION, AssetClass.OPTION), ()),
        ((AssetClass.STOCK, AssetClass.OPTION), ()),
        ((), ()),
    ],
)
def test_a_combination_of_shares_says_that_it_may_be_filled_in_parts(kinds, routing):
    assert made(legs=legs(*kinds)).routing == routing


def test_a_combination_may_have_a_negative_price():
    one = made(legs=legs(AssetClass.OPTION, AssetClass.OPTION), limit_price=Decimal("-1.25"))
    assert one.limit_price == Decimal("-1.25")


def test_a_combination_is_not_bought_for_money():
    with pytest.raises(OrderRejected, match="ordered by quantity"):
        made(instrument=BTC, quantity=None, cash_quantity=Decimal(5), legs=legs(AssetClass.OPTION, AssetClass.OPTION))
