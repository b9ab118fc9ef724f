"""Positions and the account's figures."""

from __future__ import annotations

from decimal import Decimal

import pytest
from exec_broker_ibkr import money
from exec_broker_ibkr.messages import AccountValueTold, DetailsTold, PositionTold, TwsContract
from exec_core.broker import AccountSummary
from exec_core.errors import ConnectionFailed
from exec_core.instruments import AssetClass, Instrument
from ibkr_told import ACCOUNT, CALL, NOW, SPY

FUTURE = TwsContract("FUT", "ES", 5, "20271217", multiplier=Decimal(50), currency="USD", local_symbol="ESZ7")
CORN = TwsContract("FUT", "ZC", 6, "20271214", multiplier=Decimal(5000), currency="USD")
CORN_DETAILS = DetailsTold(CORN, Decimal("0.25"), price_magnifier=100, contract_month="202712")


@pytest.mark.parametrize(
    ("contract", "found", "cost", "price"),
    [
        (SPY, None, "500.25", "500.25"),
        (CALL, None, "1234", "12.34"),
        (TwsContract("OPT", "SPY", 1, "20271217", Decimal(600), "C", currency="USD"), None, "1234", "12.34"),
        (FUTURE, None, "300000", "6000"),
        (CORN, CORN_DETAILS, "22500", "450"),
        (TwsContract("CASH", "EUR", currency="USD"), None, "1.0812", "1.0812"),
        (TwsContract("CRYPTO", "BTC", currency="USD"), None, "50000", "50000"),
        (SPY, None, "0", "0"),
    ],
)
def test_an_average_price_is_per_unit(contract, found, cost, price):
    held = money.position(PositionTold(ACCOUNT, contract, Decimal(-3), Decimal(cost)), found)
    assert (held.quantity, held.average_price) == (Decimal(-3), Decimal(price))


def test_what_is_not_told_is_not_known():
    assert money.position(PositionTold(ACCOUNT, SPY, Decimal(3), None)).average_price is None
    assert money.position(PositionTold(ACCOUNT, SPY, Decimal(0), Decimal(0))).average_price is None


def test_a_position_has_all_its_names():
    held = money.position(
        PositionTold(ACCOUNT, FUTURE, Decimal(1), None), DetailsTold(FUTURE, None, contract_month="202712")
    )
    assert (held.instrument.symbol, held.instrument.expiry) == ("ES", "20271217")
    assert {(name.symbol, name.expiry) for name in held.also_known_as} == {("ES", "202712"), ("ESZ7", None)}
    fund = DetailsTold(SPY, None, stock_type="ETF")
    assert money.position(PositionTold(ACCOUNT, SPY, Decimal(1), None), fund).instrument == Instrument(
        "SPY", AssetClass.ETF, currency="USD"
    )


def value(tag, text, currency="USD", account=ACCOUNT):
    return AccountValueTold(account, tag, text, currency)


def test_a_summary():
    values = [
        value("NetLiquidation", "100000.50"),
        value("TotalCashValue", "-20.25"),
        value("BuyingPower", "400000"),
        value("InitMarginReq", "0.00"),
        value("MaintMarginReq", "12.5"),
        value("Cushion", "1"),
        value("NetLiquidation", "7", account="DU7654321"),
    ]
    told = money.summary(ACCOUNT, values, NOW)
    assert told == AccountSummary(
        "USD", NOW, Decimal("100000.50"), Decimal("-20.25"), Decimal(400000), Decimal(0), Decimal("12.5")
    )
    assert set(money.TAGS) == {"NetLiquidation", "TotalCashValue", "BuyingPower", "InitMarginReq", "MaintMarginReq"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-1",
        "-1.0",
        "1.7976931348623157E308",
        "1.797e308",
        "-1.7976931348623157E308",
        "2147483647",
        "nan",
        "inf",
        "N/A",
    ],
)
def test_a_figure_that_is_not_there_is_not_zero(text):
    told = money.summary(ACCOUNT, [value("NetLiquidation", "5"), value("BuyingPower", text)], NOW)
    assert (told.equity, told.buying_power, told.cash) == (Decimal(5), None, None)


def test_figures_in_another_currency_are_not_taken_for_the_accounts():
    values = [
        value("TotalCashValue", "8", "EUR"),
        value("TotalCashValue", "9", "USD"),
        value("NetLiquidation", "7", "EUR"),
    ]
    told = money.summary(ACCOUNT, values, NOW)
    assert (told.currency, told.equity, told.cash) == ("EUR", Decimal(7), Decimal(8))


def test_the_word_base_is_the_accounts_own_currency():
    values = [value("TotalCashValue", "9", "BASE"), value("NetLiquidation", "7", "CHF"), value("BuyingPower", "3", "")]
    told = money.summary(ACCOUNT, values, NOW)
    assert (told.currency, told.cash, told.buying_power) == ("CHF", Decimal(9), Decimal(3))


@pytest.mark.parametrize("values", [[], [value("NetLiquidation", "7", account="DU7654321")], [value("Other", "1")]])
def test_no_figures_are_no_answer(values):
    with pytest.raises(ConnectionFailed, match="no figures of account DU1234567"):
        money.summary(ACCOUNT, values, NOW)
