"""What the account holds and has, from Kite's answers. Pure.

Shares that were carried forward stand in the holdings, what is traded today in the positions (delivery as well: a sale
of held shares is a negative position until the evening), derivatives in the positions. So holdings count with the
quantity that the day began with, and the day's changes are added by the positions.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from exec_core.broker import AccountSummary, BrokerPosition
from exec_core.instruments import AssetClass, Instrument
from exec_core.money import ZERO

from exec_broker_zerodha import words
from exec_broker_zerodha.figures import figure
from exec_broker_zerodha.instruments import CURRENCY, Listed, guess


class NoAnswer(ValueError):
    """What came is not what was asked for."""


def positions(told: Any, at_hand: Any) -> list[BrokerPosition]:
    """The net positions. `at_hand` gives what is listed under an exchange's symbol, or None.

    :raises NoAnswer: it is no list of positions.
    """
    net = told.get("net") if isinstance(told, dict) else None
    if not isinstance(net, list):
        raise NoAnswer("Kite's positions are not told")
    found = []
    for row in net:
        quantity = figure(row.get("quantity")) if isinstance(row, dict) else None
        if quantity is None:
            raise NoAnswer("one of Kite's positions cannot be read")
        if quantity:
            found.append(_position(row, str(row.get("product")), quantity, at_hand))
    return found


def holdings(told: Any, at_hand: Any) -> list[BrokerPosition]:
    """The shares that were carried forward, for delivery or on margin. :raises NoAnswer: it is no list of holdings."""
    if not isinstance(told, list):
        raise NoAnswer("Kite's holdings are not told")
    found = []
    for row in told:
        if not isinstance(row, dict):
            raise NoAnswer("one of Kite's holdings cannot be read")
        quantity = figure(row.get("opening_quantity"))
        if quantity is None:
            names = ("quantity", "t1_quantity", "used_quantity")
            quantity = sum((figure(row.get(name)) or ZERO for name in names), ZERO)
        if quantity:
            found.append(_position(row, "CNC", quantity, at_hand))
        margin = row.get("mtf")
        margin = margin if isinstance(margin, dict) else {}
        financed = figure(margin.get("quantity"))
        if financed:
            found.append(_position({**row, **margin}, "MTF", financed, at_hand))
    return found


def exchanges_in(*answers: Any) -> set[str]:
    """The exchanges that answers name, derivatives only: what a share is called is clear without a list."""
    found = set()
    for told in answers:
        rows = told.get("net", []) if isinstance(told, dict) else told
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict) and row.get("exchange") in words.DERIVATIVE_EXCHANGES:
                found.add(str(row["exchange"]))
    return found


def _position(row: dict[str, Any], product: str, quantity: Decimal, at_hand: Any) -> BrokerPosition:
    exchange, symbol = str(row.get("exchange") or ""), str(row.get("tradingsymbol") or "")
    listed: Listed | None = at_hand(exchange, symbol)
    instrument = guess(exchange, symbol) if listed is None else listed.instrument
    others: tuple[Instrument, ...] = () if listed is None else listed.other_names
    if product in words.DELIVERY:
        # Bought on one exchange, it may be shown and sold on the other: they are the same shares.
        instrument = replace(instrument, exchange=None)
    if instrument.asset_class is AssetClass.STOCK:
        others = (*others, replace(instrument, asset_class=AssetClass.ETF))
    average = figure(row.get("average_price"))
    return BrokerPosition(instrument, quantity, average, product, others)


def account(told: Any, as_of: datetime) -> AccountSummary:
    """The money of the equity segment (since both segments draw on it), and what orders may use of it.

    :raises NoAnswer: it is not told.
    """
    equity = told.get("equity") if isinstance(told, dict) else None
    if not isinstance(equity, dict):
        raise NoAnswer("Kite's margins are not told")
    available, utilised = equity.get("available"), equity.get("utilised")
    cash = _of(available, "live_balance")
    return AccountSummary(
        CURRENCY,
        as_of,
        cash=cash if cash is not None else _of(available, "cash"),
        buying_power=figure(equity.get("net")),
        initial_margin=_sum_of(utilised, "span", "exposure"),
    )


def _of(part: Any, name: str) -> Decimal | None:
    return figure(part.get(name)) if isinstance(part, dict) else None


def _sum_of(part: Any, *names: str) -> Decimal | None:
    figures = [_of(part, name) for name in names]
    return None if any(one is None for one in figures) else sum((one for one in figures if one is not None), ZERO)
