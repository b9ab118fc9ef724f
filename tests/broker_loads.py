"""What is traded at each simulated broker: orders of every kind that it takes, and how the service is told of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from exec_broker_zerodha.simulator.catalogue import catalogue_of
from harness import order

ACCOUNT: Final = "acc_1"
KOLKATA: Final = ZoneInfo("Asia/Kolkata")


#: A venue's truth in the words of the mock's book: ``orders`` and ``fills``.
Book = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Traded:
    """Something that is traded: what the message says of it, its price and tick, and how much of it."""

    fields: Mapping[str, Any]
    price: str
    tick: str = "0.01"
    quantities: Sequence[float] = (1, 5, 100, 250)
    sides: Sequence[str] = ("BUY", "SELL")
    limits: bool = True


@dataclass(frozen=True)
class Load:
    """A broker: its package, how its simulator and the service are started, and what is traded."""

    package: str
    options: Sequence[str]
    variables: Callable[[int, Path], dict[str, str]]
    book: Callable[[Any], Book]
    traded: Sequence[Traded]
    #: Whether the venue's book says what an execution costs.
    bills: bool = True

    def messages(self, count: int, dice: random.Random) -> list[dict[str, Any]]:
        """A mixed load: every kind of instrument, market and limit orders, entries and exits."""
        return [self._message(number, dice) for number in range(count)]

    def _message(self, number: int, dice: random.Random) -> dict[str, Any]:
        # Each once, then at random: a short run trades every kind, too.
        what = self.traded[number] if number < len(self.traded) else dice.choice(self.traded)
        side = dice.choice(what.sides)
        fields: dict[str, Any] = {
            "account_id": ACCOUNT,
            "strategy_name": dice.choice(("Trend", "Carry")),
            "side": side,
            "quantity": dice.choice(what.quantities),
            "price": float(what.price),
            **what.fields,
        }
        kind = dice.choice(("MARKET", "LIMIT", "IOC")) if what.limits else "MARKET"
        if kind == "LIMIT":
            away = Decimal(what.tick) * 20 * (1 if side == "BUY" else -1)
            fields |= {"order_type": "LIMIT", "limit_price": float(Decimal(what.price) + away)}
        if kind == "IOC":
            fields["time_in_force"] = "IOC"
        return order(f"chaos_{number:05d}", **fields)


def _ibkr(port: int, _directory: Path) -> dict[str, str]:
    account = {"name": "Main", "broker": "ibkr", "mode": "paper", "settings": {"port": port, "breaks": "none"}}
    return {"ACCOUNTS": json.dumps({ACCOUNT: account})}


def _ibkr_book(raw: Any) -> Book:
    orders = [
        row | {"client_order_id": row["order_ref"], "broker_order_id": str(row["perm_id"])} for row in raw["orders"]
    ]
    refs = {row["perm_id"]: row["order_ref"] for row in raw["orders"]}
    fills = [
        row | {"client_order_id": refs[row["perm_id"]], "execution_id": row["execution_id"].rpartition(".")[0]}
        for row in raw["executions"]
    ]
    return {"orders": orders, "fills": fills}


def _stock(symbol: str, price: str, kind: str = "STOCK") -> Traded:
    return Traded({"symbol": symbol, "instrument_type": kind}, price)


_FEW: Final = (1, 2, 5)
_COIN: Final = (0.5, 0.125, 2)

#: One name per kind of instrument: the books are compared by symbol.
_AT_IBKR: Final = (
    _stock("AAPL", "235.15"),
    _stock("MSFT", "480"),
    _stock("IBM", "250"),
    _stock("BRK B", "490"),
    _stock("QQQ", "500", "ETF"),
    Traded(
        {"symbol": "SPY", "instrument_type": "OPTION", "expiry": "20271217", "strike": 600, "right": "C"},
        "12.34",
        quantities=_FEW,
    ),
    Traded(
        {"symbol": "ES", "instrument_type": "FUTURE", "expiry": "202712", "exchange": "CME"},
        "6000",
        "0.25",
        quantities=_FEW,
    ),
    Traded({"symbol": "CL", "instrument_type": "FUTURE", "expiry": "202712"}, "70", quantities=_FEW),
    Traded({"symbol": "EURUSD", "instrument_type": "FOREX"}, "1.085", "0.00005", (20_000, 25_000)),
    Traded({"symbol": "USDJPY", "instrument_type": "FOREX"}, "150", "0.005", (30_000,)),
    # Without a short position there: bought for cash, at the market.
    Traded({"symbol": "BTC", "instrument_type": "CRYPTO"}, "60000", quantities=_COIN, sides=("BUY",), limits=False),
    Traded({"symbol": "ETH", "instrument_type": "CRYPTO"}, "3000", quantities=_COIN, sides=("BUY",), limits=False),
)


def _zerodha(port: int, directory: Path) -> dict[str, str]:
    settings = {
        "api_key": "simulatedkey",
        "access_token": "simulatedtoken",
        "api_root": f"http://127.0.0.1:{port}",
        "data_dir": str(directory / "instruments"),
    }
    return {
        "ACCOUNTS": json.dumps({ACCOUNT: {"name": "Main", "broker": "zerodha", "mode": "paper", "settings": settings}})
    }


def _zerodha_book(raw: Any) -> Book:
    # Trades are numbered per exchange, and counted from one again each day.
    places = {row["broker_order_id"]: row["exchange"] for row in raw["orders"]}
    fills = [
        row | {"execution_id": f"{places[number]}:{row['execution_id']}:{number}"}
        for row in raw["fills"]
        if (number := row["broker_order_id"])
    ]
    return {"orders": raw["orders"], "fills": fills}


def _derivative(exchange: str, name: str, kind: str, quantities: Sequence[float], *, near: str = "") -> Traded:
    """The nearest one of that kind that is listed today; an option at the strike `near`."""
    listed = catalogue_of(datetime.now(KOLKATA).date())
    one = min(
        (
            one
            for one in listed.all
            if (one.exchange, one.name, one.kind) == (exchange, name, kind)
            and one.expiry is not None
            and one.expiry > listed.today
            and (not near or one.strike == Decimal(near))
        ),
        key=lambda one: one.expiry or listed.today,
    )
    fields: dict[str, Any] = {"symbol": name, "exchange": exchange, "expiry": f"{one.expiry:%Y%m%d}"}
    if kind == "FUT":
        fields["instrument_type"] = "FUTURE"
    else:
        fields |= {"instrument_type": "OPTION", "strike": float(one.strike), "right": kind[0]}
    return Traded(fields, str(one.last_price), str(one.tick), quantities)


def _share(symbol: str, price: str, tick: str, kind: str = "STOCK") -> Traded:
    # For the day, so that it can be sold before it is held.
    return Traded({"symbol": symbol, "exchange": "NSE", "instrument_type": kind, "product": "MIS"}, price, tick)


def _at_zerodha() -> tuple[Traded, ...]:
    return (
        _share("INFY", "1520", "0.10"),
        _share("TCS", "3100", "0.10"),
        _share("M&M", "3600", "0.10"),
        _share("SBIN", "860", "0.05"),
        _share("WIPRO", "245", "0.01"),
        _share("NIFTYBEES", "292", "0.01", "ETF"),
        _derivative("NFO", "NIFTY", "CE", (75, 150), near="26000"),
        _derivative("NFO", "BANKNIFTY", "FUT", (35, 70)),
        _derivative("BFO", "SENSEX", "PE", (20, 40), near="85000"),
        _derivative("CDS", "USDINR", "FUT", (1, 3)),
    )


BROKERS: Final[Mapping[str, Load]] = {
    "ibkr": Load("exec_broker_ibkr", ("--partial-fills", "2", "--fill-after", "0.05"), _ibkr, _ibkr_book, _AT_IBKR),
    "zerodha": Load(
        "exec_broker_zerodha",
        ("--partial-fills", "2", "--fill-after", "0.05"),
        _zerodha,
        _zerodha_book,
        _at_zerodha(),
        False,
    ),
}
