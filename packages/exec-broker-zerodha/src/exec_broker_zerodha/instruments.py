"""Kite's lists of instruments: read, searched, and checked against. Pure: no files, no network.

Kite publishes one list (CSV) per exchange and day, with each instrument's tick size, lot size and expiry. A list of
derivatives has some hundred thousand lines, so a line is only taken apart when somebody asks for it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Final

from exec_core.errors import OrderRejected, OrderUnsupported
from exec_core.instruments import AssetClass, Instrument, InstrumentDetails, Right

from exec_broker_zerodha import words
from exec_broker_zerodha.figures import figure

CURRENCY: Final = "INR"
_COLUMNS: Final = ("tradingsymbol", "name", "expiry", "strike", "tick_size", "lot_size", "instrument_type", "exchange")
_RIGHTS: Final = {"CE": Right.CALL, "PE": Right.PUT}
_KINDS: Final = {Right.CALL: "CE", Right.PUT: "PE"}


class BadList(ValueError):
    """What came is no list of instruments."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One instrument as an exchange lists it. `name` is the underlying's for derivatives."""

    exchange: str
    tradingsymbol: str
    kind: str
    name: str = ""
    expiry: date | None = None
    strike: Decimal | None = None
    tick_size: Decimal | None = None
    lot_size: int = 1

    @property
    def asset_class(self) -> AssetClass:
        """What it is; Kite does not tell an exchange-traded fund from a share."""
        if self.kind in _RIGHTS:
            return AssetClass.OPTION
        return AssetClass.FUTURE if self.kind == "FUT" else AssetClass.STOCK

    @property
    def details(self) -> InstrumentDetails:
        """What the exchange's contract says. Where a quantity counts lots, what a lot is worth is not in the list."""
        lot = Decimal(1 if self.exchange in words.COUNTED_IN_LOTS else max(self.lot_size, 1))
        return replace(details_of_exchange(self.exchange), price_increment=self.tick_size, quantity_increment=lot)

    @property
    def instrument(self) -> Instrument:
        """The same in our words: a derivative by its underlying."""
        if self.expiry is None:
            return Instrument(self.tradingsymbol, self.asset_class, self.exchange, CURRENCY)
        strike = self.strike if self.kind in _RIGHTS else None
        return Instrument(
            self.name or self.tradingsymbol,
            self.asset_class,
            self.exchange,
            CURRENCY,
            f"{self.expiry:%Y%m%d}",
            strike,
            _RIGHTS.get(self.kind),
        )

    @property
    def other_names(self) -> tuple[Instrument, ...]:
        """What else an order may have called it: Kite's own symbol, a future by its month."""
        if self.expiry is None:
            return ()
        own = Instrument(self.tradingsymbol, self.asset_class, self.exchange, CURRENCY)
        if self.kind != "FUT":
            return (own,)
        return (own, Instrument(self.name, self.asset_class, self.exchange, CURRENCY, f"{self.expiry:%Y%m}"))


@dataclass(slots=True)
class ListOf:
    """One exchange's list of one day."""

    exchange: str
    day: date
    _columns: dict[str, int] = field(default_factory=dict)
    _lines: dict[str, str] = field(default_factory=dict)
    _options: dict[tuple[str, str, Decimal, str], str] = field(default_factory=dict)
    _futures: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def parse(cls, exchange: str, day: date, text: str) -> ListOf:
        """:raises BadList: it is none."""
        lines = text.splitlines()
        header = next(csv.reader(lines[:1]), [])
        columns = {name.strip(): number for number, name in enumerate(header)}
        missing = [name for name in _COLUMNS if name not in columns]
        if missing:
            raise BadList(f"the list of {exchange} has no column {missing[0]}")
        found = cls(exchange, day, columns)
        for line, row in zip(lines[1:], csv.reader(lines[1:]), strict=False):
            if len(row) >= len(header):
                found._add(line, row)
        if not found._lines:
            raise BadList(f"the list of {exchange} is empty")
        return found

    def _add(self, line: str, row: list[str]) -> None:
        symbol, kind, expiry = self._cell(row, "tradingsymbol"), self._cell(row, "instrument_type"), ""
        self._lines[symbol] = line
        if kind in _RIGHTS or kind == "FUT":
            expiry, name = self._cell(row, "expiry"), self._cell(row, "name")
            if kind == "FUT":
                self._futures.setdefault(name, {})[expiry] = symbol
                return
            strike = figure(self._cell(row, "strike"))
            if strike is not None:
                self._options[name, expiry, strike, kind] = symbol

    def _cell(self, row: list[str], column: str) -> str:
        return row[self._columns[column]].strip()

    def __len__(self) -> int:
        return len(self._lines)

    def of_symbol(self, tradingsymbol: str) -> Listed | None:
        """What is listed under Kite's own symbol."""
        line = self._lines.get(tradingsymbol)
        if line is None:
            return None
        row = next(csv.reader([line]))
        expiry = self._cell(row, "expiry")
        tick = figure(self._cell(row, "tick_size"))
        return Listed(
            self.exchange,
            tradingsymbol,
            self._cell(row, "instrument_type"),
            self._cell(row, "name"),
            date.fromisoformat(expiry) if expiry else None,
            figure(self._cell(row, "strike")),
            tick if tick is not None and tick > 0 else None,
            int(figure(self._cell(row, "lot_size")) or 1),
        )

    def of_terms(self, instrument: Instrument) -> Listed | None:
        """The option or future with that underlying, expiry, strike and right.

        :raises OrderRejected: a month in which several futures end.
        """
        name = instrument.underlying or instrument.symbol
        expiry = _iso(instrument.expiry or "")
        if instrument.asset_class is AssetClass.OPTION:
            if instrument.strike is None or instrument.right is None:
                return None
            symbol = self._options.get((name, expiry, instrument.strike, _KINDS[instrument.right]))
            return None if symbol is None else self.of_symbol(symbol)
        ends = [end for end in self._futures.get(name, {}) if end == expiry or (len(expiry) == 7 and end[:7] == expiry)]
        if len(ends) > 1:
            dates = ", ".join(sorted(ends))
            raise OrderRejected(f"several futures of {name} end in {expiry} on {self.exchange} ({dates}): give the day")
        return self.of_symbol(self._futures[name][ends[0]]) if ends else None


def _iso(expiry: str) -> str:
    """``YYYYMMDD`` as Kite writes it, ``YYYYMM`` as the beginning of that."""
    return "-".join(part for part in (expiry[:4], expiry[4:6], expiry[6:8]) if part)


def exchanges_of(instrument: Instrument) -> tuple[str, ...]:
    """Where to look for it, in this order.

    :raises OrderRejected: Kite has no such exchange, or trades other things there.
    :raises OrderUnsupported: another currency than Kite's.
    """
    if instrument.currency not in (None, CURRENCY):
        raise OrderUnsupported(f"Kite trades in {CURRENCY} only, not in {instrument.currency}")
    of_shares = instrument.asset_class in (AssetClass.STOCK, AssetClass.ETF)
    fitting = words.SHARE_EXCHANGES if of_shares else words.DERIVATIVE_EXCHANGES
    if instrument.exchange is None:
        return fitting[:1] if of_shares else fitting
    exchange = instrument.exchange.upper()
    if exchange not in words.EXCHANGES:
        raise OrderRejected(f"exchange {exchange} is not one of Kite's: {', '.join(words.EXCHANGES)}")
    if exchange not in fitting:
        raise OrderRejected(f"{instrument.asset_class} does not trade on {exchange}, but on {', '.join(fitting)}")
    return (exchange,)


def search(instrument: Instrument, listed: ListOf) -> Listed | None:
    """The instrument in an exchange's list; None if it is not there.

    :raises OrderRejected: what is listed under that symbol is of another kind, or several things fit.
    """
    if instrument.expiry is not None and instrument.asset_class in (AssetClass.OPTION, AssetClass.FUTURE):
        found = listed.of_terms(instrument) or listed.of_symbol(instrument.symbol)
        if found is not None and found.expiry is not None and _matches(found.expiry, instrument.expiry):
            return found
        return None
    found = listed.of_symbol(instrument.symbol) or listed.of_symbol(instrument.symbol.upper())
    if found is None:
        return None
    wanted = AssetClass.STOCK if instrument.asset_class is AssetClass.ETF else instrument.asset_class
    if found.asset_class is not wanted:
        raise OrderRejected(f"{found.exchange}:{found.tradingsymbol} is no {instrument.asset_class}")
    return found


def _matches(expiry: date, wanted: str) -> bool:
    return f"{expiry:%Y%m%d}".startswith(wanted.replace("-", ""))


def check(listed: Listed, quantity: Decimal, prices: tuple[tuple[str, Decimal | None], ...], today: date) -> None:
    """What the exchange would refuse. `prices` come with the name of their field.

    :raises OrderRejected: it has expired, or a price or the quantity is between two steps.
    """
    name = f"{listed.exchange}:{listed.tradingsymbol}"
    if listed.expiry is not None and listed.expiry < today:
        raise OrderRejected(f"{name} expired on {listed.expiry}")
    details = listed.details
    lot = details.quantity_increment
    if lot is not None and quantity % lot:
        raise OrderRejected(f"quantity {quantity:f} is no multiple of the lot size of {name}, which is {lot}")
    for field_name, price in prices:
        if price is None:
            continue
        if price <= 0:
            raise OrderRejected(f"{field_name} must be above zero, got {price:f}")
        if listed.tick_size is not None and price % listed.tick_size:
            raise OrderRejected(
                f"{field_name} {price:f} is no multiple of the tick size of {name}, which is {listed.tick_size:f}"
            )


def details_of_exchange(exchange: str) -> InstrumentDetails:
    """What is certain of whatever is traded there. Never nothing: what an execution is worth must not depend on
    whether the day's list has come yet."""
    return InstrumentDetails(None if exchange in words.COUNTED_IN_LOTS else Decimal(1), None, None, CURRENCY)


def guess(exchange: str, tradingsymbol: str) -> Instrument:
    """An instrument of which no list is at hand, by what its exchange and its symbol's ending say."""
    kind = AssetClass.STOCK
    if exchange not in words.SHARE_EXCHANGES:
        kind = AssetClass.OPTION if tradingsymbol.endswith(("CE", "PE")) else AssetClass.FUTURE
    return Instrument(tradingsymbol, kind, exchange or None, CURRENCY)
