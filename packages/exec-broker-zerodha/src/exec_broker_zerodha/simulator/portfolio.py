"""What the account holds and owns: positions, holdings and margins, from the trades of all days.

Positions are those of today, and what MIS and NRML carry over from earlier days; CNC and MTF of earlier days are
holdings. The shapes are those of kite.trade/docs/connect/v3/portfolio and user.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from exec_broker_zerodha.simulator.book import Book
from exec_broker_zerodha.simulator.market import Market
from exec_broker_zerodha.simulator.rows import OrderRow
from exec_broker_zerodha.simulator.showing import number

_DELIVERED: Final = ("CNC", "MTF")
_ZERO: Final = Decimal(0)


@dataclass(slots=True)
class _Traded:
    """What was bought and sold."""

    bought: int = 0
    bought_for: Decimal = _ZERO
    sold: int = 0
    sold_for: Decimal = _ZERO

    def add(self, side: str, quantity: int, price: Decimal) -> None:
        if side == "BUY":
            self.bought += quantity
            self.bought_for += quantity * price
        else:
            self.sold += quantity
            self.sold_for += quantity * price

    @property
    def net(self) -> int:
        return self.bought - self.sold


@dataclass(slots=True)
class _Held:
    """One instrument in one product: what was traded before today, and today."""

    order: OrderRow
    before: _Traded
    today: _Traded


class Portfolio:
    """The account, from its trades."""

    def __init__(self, book: Book, market: Market, cash: Decimal) -> None:
        self._book = book
        self._market = market
        self._cash = cash

    def positions(self) -> dict[str, list[dict[str, Any]]]:
        """GET /portfolio/positions."""
        net, day = [], []
        for held in self._held():
            carried = _Traded() if held.order.product in _DELIVERED else held.before
            if carried.net or held.today.bought or held.today.sold:
                net.append(self._position(held.order, carried, held.today))
            if held.today.bought or held.today.sold:
                day.append(self._position(held.order, _Traded(), held.today))
        return {"net": net, "day": day}

    def holdings(self) -> list[dict[str, Any]]:
        """GET /portfolio/holdings: `used_quantity` is what was sold of it today."""
        rows = []
        for held in self._held():
            if held.order.product not in _DELIVERED or held.before.net <= 0:
                continue
            last = self._market.price_of(held.order.exchange, held.order.symbol)
            average = _ratio(held.before.bought_for, held.before.bought)
            sold = min(held.today.sold, held.before.net)
            row = {
                **_named(held.order),
                "isin": f"INE{held.order.token % 1_000_000:06d}018",
                "price": 0,
                "quantity": held.before.net - sold,
                "used_quantity": sold,
                "t1_quantity": 0,
                "realised_quantity": held.before.net,
                "authorised_quantity": 0,
                "opening_quantity": held.before.net,
                "collateral_quantity": 0,
                "collateral_type": "",
                "discrepancy": False,
                "average_price": number(average),
                "last_price": number(last),
                "close_price": number(last),
                "pnl": number((last - average) * held.before.net),
                "day_change": 0,
                "day_change_percentage": 0,
            }
            rows.append(row)
        return rows

    def deliverable(self, exchange: str, symbol: str) -> int:
        """How much of it can be sold for delivery: what is held, and was bought today."""
        return sum(
            held.before.net + held.today.net
            for held in self._held()
            if held.order.product in _DELIVERED and (held.order.exchange, held.order.symbol) == (exchange, symbol)
        )

    @property
    def live_balance(self) -> Decimal:
        """The cash, after everything that was traded."""
        parts = [traded for held in self._held() for traded in (held.before, held.today)]
        return self._cash + sum((traded.sold_for - traded.bought_for for traded in parts), _ZERO)

    def margins(self) -> dict[str, dict[str, Any]]:
        """GET /user/margins."""
        return {"equity": self._segment(self._cash, self.live_balance), "commodity": self._segment(_ZERO, _ZERO)}

    def _held(self) -> Iterable[_Held]:
        today = self._book.day
        orders = {order.number: order for order in self._book.all_orders()}
        found: dict[tuple[str, str, str], _Held] = {}
        for trade in self._book.all_trades():
            order = orders[trade.order_number]
            key = (order.exchange, order.symbol, order.product)
            held = found.setdefault(key, _Held(order, _Traded(), _Traded()))
            (held.today if trade.day == today else held.before).add(order.side, trade.quantity, trade.price)
        return found.values()

    def _position(self, order: OrderRow, before: _Traded, today: _Traded) -> dict[str, Any]:
        last = self._market.price_of(order.exchange, order.symbol)
        bought, sold = before.bought + today.bought, before.sold + today.sold
        bought_for, sold_for = before.bought_for + today.bought_for, before.sold_for + today.sold_for
        quantity = bought - sold
        average = _ratio(bought_for, bought) if quantity > 0 else _ratio(sold_for, sold) if quantity < 0 else _ZERO
        pnl = sold_for - bought_for + quantity * last
        figures: dict[str, Decimal] = {
            "average_price": average,
            "close_price": _ZERO,
            "last_price": last,
            "value": sold_for - bought_for,
            "pnl": pnl,
            "m2m": pnl,
            "unrealised": pnl,
            "realised": _ZERO,
        }
        sides: defaultdict[str, Any] = defaultdict(int)
        for name, amount, worth in (("buy", bought, bought_for), ("sell", sold, sold_for)):
            sides |= {f"{name}_quantity": amount, f"{name}_price": number(_ratio(worth, amount))}
            sides |= {f"{name}_value": number(worth), f"{name}_m2m": number(worth)}
        for name, amount, worth in (
            ("day_buy", today.bought, today.bought_for),
            ("day_sell", today.sold, today.sold_for),
        ):
            sides |= {f"{name}_quantity": amount, f"{name}_price": number(_ratio(worth, amount))}
            sides |= {f"{name}_value": number(worth)}
        return {
            **_named(order),
            "quantity": quantity,
            "overnight_quantity": before.net,
            "multiplier": 1000 if order.exchange == "CDS" else 1,
            **{name: number(value) for name, value in figures.items()},
            **sides,
        }

    @staticmethod
    def _segment(cash: Decimal, live: Decimal) -> dict[str, Any]:
        available = {"adhoc_margin": 0, "cash": number(live), "opening_balance": number(cash)}
        available |= {"live_balance": number(live), "collateral": 0, "intraday_payin": 0}
        used = ("exposure", "m2m_realised", "m2m_unrealised", "option_premium", "payout", "span", "holding_sales")
        others = ("turnover", "liquid_collateral", "stock_collateral", "delivery")
        utilised = {"debits": number(cash - live), **dict.fromkeys((*used, *others), 0)}
        return {"enabled": True, "net": number(live), "available": available, "utilised": utilised}


def _named(order: OrderRow) -> dict[str, Any]:
    return {
        "tradingsymbol": order.symbol,
        "exchange": order.exchange,
        "instrument_token": order.token,
        "product": order.product,
    }


def _ratio(worth: Decimal, quantity: int) -> Decimal:
    return (worth / quantity).quantize(Decimal("0.000001")) if quantity else _ZERO
