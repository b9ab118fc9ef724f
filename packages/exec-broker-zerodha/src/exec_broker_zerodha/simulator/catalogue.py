"""The instruments that can be traded here, as the daily dump lists them. Expiries follow from the date.

The columns, and how tokens and symbols are made, are those of Kite's dump (kite.trade/docs/connect/v3/market-quotes);
companies are real, prices are not. Monthly contracts end on the last Tuesday (NSE) or Thursday (BSE) of their month.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final

_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKLY_MONTHS: Final = "123456789OND"
_TUESDAY, _THURSDAY, _FRIDAY = 1, 3, 4
#: The last byte of an instrument token.
_SEGMENT_CODES: Final = {"NSE": 1, "NFO": 2, "CDS": 3, "BSE": 4, "BFO": 5, "MCX": 7, "INDICES": 9}
_COUNTED_IN_LOTS: Final = ("MCX", "CDS")
EXCHANGES: Final = ("NSE", "BSE", "NFO", "BFO", "CDS", "MCX")
COLUMNS: Final = (
    "instrument_token",
    "exchange_token",
    "tradingsymbol",
    "name",
    "last_price",
    "expiry",
    "strike",
    "tick_size",
    "lot_size",
    "instrument_type",
    "segment",
    "exchange",
)

#: Exchange, symbol, name, price, tick.
_STOCKS: Final = (
    ("NSE", "RELIANCE", "RELIANCE INDUSTRIES", "1400.00", "0.10"),
    ("NSE", "INFY", "INFOSYS", "1520.00", "0.10"),
    ("NSE", "TCS", "TATA CONSULTANCY SERV LT", "3100.00", "0.10"),
    ("NSE", "HDFCBANK", "HDFC BANK", "985.00", "0.05"),
    ("NSE", "ICICIBANK", "ICICI BANK", "1380.00", "0.10"),
    ("NSE", "SBIN", "STATE BANK OF INDIA", "860.00", "0.05"),
    ("NSE", "TATASTEEL", "TATA STEEL", "156.70", "0.01"),
    ("NSE", "ITC", "ITC", "410.00", "0.05"),
    ("NSE", "WIPRO", "WIPRO", "245.00", "0.01"),
    ("NSE", "YESBANK", "YES BANK", "21.50", "0.01"),
    ("NSE", "MRF", "MRF", "150000.00", "5"),
    ("NSE", "M&M", "MAHINDRA & MAHINDRA", "3600.00", "0.10"),
    ("NSE", "NIFTYBEES", "NIP IND ETF NIFTY BEES", "292.00", "0.01"),
    ("NSE", "GOLDBEES", "NIP IND ETF GOLD BEES", "102.50", "0.01"),
    ("NSE", "BANKBEES", "NIP IND ETF BANK BEES", "600.00", "0.01"),
    ("BSE", "RELIANCE", "RELIANCE INDUSTRIES", "1400.05", "0.05"),
    ("BSE", "INFY", "INFOSYS", "1520.05", "0.05"),
    ("BSE", "TCS", "TATA CONSULTANCY SERVICES", "3100.05", "0.05"),
    ("BSE", "SBIN", "STATE BANK OF INDIA", "860.05", "0.05"),
    ("BSE", "WIPRO", "WIPRO", "245.05", "0.05"),
    ("BSE", "NIFTYBEES", "NIP IND ETF NIFTY BEES", "292.05", "0.01"),
)
_INDICES: Final = (
    ("NSE", "NIFTY 50", "NIFTY 50", "26000.00"),
    ("NSE", "NIFTY BANK", "NIFTY BANK", "58000.00"),
    ("BSE", "SENSEX", "SENSEX", "85000.00"),
)


@dataclass(frozen=True, slots=True)
class Underlying:
    """What futures and options are listed on, and how. `freeze` is the greatest quantity of one order."""

    exchange: str
    name: str
    price: Decimal
    lot: int
    freeze: int
    weekday: int
    tick: Decimal = Decimal("0.05")
    strike_step: int = 0
    has_weeklies: bool = False


_UNDERLYINGS: Final = (
    Underlying("NFO", "NIFTY", Decimal(26000), 75, 1800, _TUESDAY, Decimal("0.05"), 100, has_weeklies=True),
    Underlying("NFO", "BANKNIFTY", Decimal(58000), 35, 600, _TUESDAY, Decimal("0.05"), 500),
    Underlying("NFO", "RELIANCE", Decimal(1400), 500, 20000, _TUESDAY, Decimal("0.05"), 20),
    Underlying("BFO", "SENSEX", Decimal(85000), 20, 1000, _THURSDAY, Decimal("0.05"), 500, has_weeklies=True),
    Underlying("CDS", "USDINR", Decimal("89.25"), 1000, 10_000_000, _FRIDAY, Decimal("0.0025")),
    Underlying("MCX", "GOLDPETAL", Decimal(12500), 1, 10_000, _FRIDAY, Decimal(1)),
    Underlying("MCX", "CRUDEOIL", Decimal(5300), 1, 10_000, _FRIDAY, Decimal(1)),
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of the dump; `freeze` is not in it, as it is not in Kite's."""

    token: int
    exchange: str
    symbol: str
    name: str
    last_price: Decimal
    tick: Decimal
    lot: int
    kind: str
    segment: str
    expiry: date | None = None
    strike: Decimal = Decimal(0)
    freeze: int = 1_000_000

    @property
    def is_derivative(self) -> bool:
        """Whether it is a future or an option."""
        return self.kind != "EQ"

    @property
    def step(self) -> int:
        """What quantities are multiples of: the lot, but on MCX and CDS a quantity counts lots."""
        return 1 if self.exchange in _COUNTED_IN_LOTS else max(self.lot, 1)

    @property
    def is_index(self) -> bool:
        """Whether it is an index, which nobody can trade."""
        return self.segment == "INDICES"

    @property
    def line(self) -> tuple[str, ...]:
        """Its values in the order of `COLUMNS`."""
        expiry = "" if self.expiry is None else self.expiry.isoformat()
        figures = (f"{self.last_price:f}", expiry, f"{self.strike:f}", f"{self.tick:f}", str(self.lot))
        where = (self.kind, self.segment, self.exchange)
        return (str(self.token), str(self.token >> 8), self.symbol, self.name, *figures, *where)


class Catalogue:
    """What is listed on one day."""

    def __init__(self, today: date) -> None:
        self.today = today
        self.all = tuple(_listed(today))
        self._by_name = {(one.exchange, one.symbol): one for one in self.all}

    def find(self, exchange: str, symbol: str) -> Listed | None:
        """The instrument, also one that has expired."""
        return self._by_name.get((exchange, symbol))

    def dump(self, exchange: str | None = None) -> str:
        """The dump, of one exchange or of all, as CSV."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(one.line for one in self.all if exchange in (None, one.exchange))
        return text.getvalue()


@lru_cache(maxsize=8)
def catalogue_of(today: date) -> Catalogue:
    """The catalogue of a day."""
    return Catalogue(today)


def _listed(today: date) -> Iterator[Listed]:
    number = 1000
    for exchange, symbol, name, price, tick in _STOCKS:
        number += 7
        token = _token(number, exchange)
        yield Listed(token, exchange, symbol, name, Decimal(price), Decimal(tick), 1, "EQ", exchange)
    for exchange, symbol, name, price in _INDICES:
        number += 7
        token = _token(number, "INDICES")
        yield Listed(token, exchange, symbol, name, Decimal(price), Decimal(0), 0, "EQ", "INDICES")
    for one in _UNDERLYINGS:
        for symbol, kind, expiry, strike, worth in _contracts(one, today):
            number += 7
            segment = f"{one.exchange}-{'FUT' if kind == 'FUT' else 'OPT'}"
            token = _token(number, one.exchange)
            terms = (one.tick, one.lot, kind, segment, expiry, strike, one.freeze)
            yield Listed(token, one.exchange, symbol, one.name, worth, *terms)


def _token(number: int, exchange: str) -> int:
    return number << 8 | _SEGMENT_CODES[exchange]


def _contracts(one: Underlying, today: date) -> Iterator[tuple[str, str, date, Decimal, Decimal]]:
    """Symbol, kind, expiry, strike and price: the expired future of last month, those to come, and the options."""
    months = [_expiry(one, today, ahead) for ahead in range(-1, 4)]
    coming = [expiry for expiry in months if expiry >= today][:3]
    expired = max(expiry for expiry in months if expiry < today)
    for expiry in (expired, *coming):
        yield f"{one.name}{_month(expiry)}FUT", "FUT", expiry, Decimal(0), one.price
    if not one.strike_step:
        return
    for expiry in coming[:2]:
        yield from _options(one, _month(expiry), expiry)
    if one.has_weeklies:
        days_ahead = (one.weekday - today.weekday()) % 7
        weekly = today + timedelta(days=days_ahead)
        if weekly not in months:
            yield from _options(one, f"{weekly:%y}{_WEEKLY_MONTHS[weekly.month - 1]}{weekly:%d}", weekly)


def _options(one: Underlying, period: str, expiry: date) -> Iterator[tuple[str, str, date, Decimal, Decimal]]:
    for steps in range(-2, 3):
        strike = one.price + steps * one.strike_step
        for kind, away in (("CE", -steps), ("PE", steps)):
            price = (one.price / 100 + Decimal(away * one.strike_step) / 4).quantize(Decimal(1))
            yield f"{one.name}{period}{strike:f}{kind}", kind, expiry, strike, max(price, Decimal(1))


def _month(expiry: date) -> str:
    return f"{expiry:%y}{_MONTHS[expiry.month - 1]}"


def _expiry(one: Underlying, today: date, months_ahead: int) -> date:
    """The last such weekday of the month that is so many months ahead."""
    following = today.year * 12 + today.month + months_ahead
    last = date(following // 12, following % 12 + 1, 1) - timedelta(days=1)
    return last - timedelta(days=(last.weekday() - one.weekday) % 7)
