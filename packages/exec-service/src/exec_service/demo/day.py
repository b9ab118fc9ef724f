"""The day's orders: what is sent, and how each must end. Data only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from exec_service.demo.world import GROWTH, MAIN

OPTIONS: Final = "SPX 1-Day Options"
TREND: Final = "Trend Following"
PAIRS: Final = "Index Pairs"

FILLED: Final = "FILLED"
INVALID: Final = "REJECTED / INVALID"


@dataclass(frozen=True, slots=True)
class Planned:
    """An order, what it is about, and its end: the status, with the reason code where there is one."""

    signal_id: str
    about: str
    end: str
    message: Mapping[str, Any] = field(repr=False)

    @property
    def data(self) -> bytes:
        """The message's bytes."""
        return json.dumps({"signal_id": self.signal_id, **self.message}).encode()


def plan(number: int, about: str, words: str, end: str = FILLED, **others: object) -> Planned:
    """An order in a line: account, strategy and ``SIDE QUANTITY SYMBOL TYPE``; more fields as `others`."""
    side, quantity, symbol, order_type = words.split()
    message: dict[str, Any] = {
        "account_id": MAIN,
        "strategy_name": TREND,
        "symbol": symbol,
        "side": side,
        "quantity": int(quantity),
        "order_type": order_type,
        **others,
    }
    return Planned(f"sig_1732450800_{number}", about, end, message)


SPY: Final = plan(
    5678, "the specification's order, at market", "BUY 100 SPY MARKET",
    strategy_name=OPTIONS, price=235.15, stop_loss=230.00, take_profit=240.00,
)  # fmt: skip

RESTING_LIMIT: Final = plan(
    5684, "a limit below the market: it waits", "BUY 50 AAPL LIMIT",
    price=189.20, limit_price=187.50, time_in_force="GTC",
)  # fmt: skip

TIMED_OUT: Final = plan(
    5686, "a limit that nobody meets, with a time-out", "BUY 20 MSFT LIMIT", "CANCELLED / TIMEOUT",
    price=415.00, limit_price=410.00,
)  # fmt: skip

MORNING: Final = (
    plan(5679, "an entry", "BUY 30 TSLA MARKET", price=242.00),
    plan(5680, "an entry", "BUY 60 IWM MARKET", strategy_name=PAIRS, price=201.00),
    plan(5681, "filled bit by bit", "BUY 400 QQQ MARKET", account_id=GROWTH, price=505.20),
    plan(
        5682, "an option, a hundred shares each", "BUY 2 SPX MARKET", strategy_name=OPTIONS, price=12.40,
        instrument_type="OPTION", expiry="20241125", strike=5980, right="C",
    ),
    plan(5683, "the broker refuses it", "BUY 900 NVDA MARKET", "REJECTED / BROKER_REJECTED", price=140.25),
    RESTING_LIMIT,
    TIMED_OUT,
)  # fmt: skip

STOP: Final = plan(
    5687, "a stop below the market: it is held", "SELL 30 TSLA STOP", price=242.00, stop_price=238.00,
    signal_type="EXIT",
)  # fmt: skip

AFTERNOON: Final = (
    plan(5688, "an exit with profit", "SELL 100 SPY MARKET", strategy_name=OPTIONS, price=238.40, signal_type="EXIT"),
    plan(5689, "from long to short, through zero", "SELL 100 IWM MARKET", strategy_name=PAIRS, price=203.50),
    STOP,
)

LOST_ANSWER: Final = plan(5690, "the broker takes it, its answer is lost", "BUY 75 AMD MARKET", price=137.60)
LOST_ORDER: Final = plan(
    5691, "lost on its way to the broker", "BUY 75 INTC MARKET", "REJECTED / NOT_PLACED", price=24.5
)

BAD: Final = (
    plan(5692, "quantity 0", "BUY 0 SPY MARKET", INVALID),
    plan(5693, "an unknown order type", "BUY 10 SPY ICEBERG", INVALID),
    plan(5694, "created long ago", "BUY 10 SPY MARKET", "REJECTED / STALE", created_at="2024-11-24T10:30:00Z"),
    plan(5695, "an unknown account", "BUY 10 SPY MARKET", "REJECTED / UNKNOWN_ACCOUNT", account_id="acc_nobody"),
)

#: The same id and content again; the same id with another quantity; no JSON at all.
DUPLICATE: Final = SPY.data
CONFLICT: Final = json.dumps({"signal_id": SPY.signal_id, **SPY.message, "quantity": 200}).encode()
MALFORMED: Final = b'{"signal_id": "sig_1732450800_5696", "symbol": "SPY", "side": "BUY", "quan'
DEAD_LETTERS: Final = 2

BUSY: Final = tuple(
    plan(5700 + number, "at work when the service is killed", f"BUY {quantity} {symbol} MARKET",
         account_id=GROWTH, price=price)
    for number, (symbol, quantity, price) in enumerate(
        [("AMZN", 40, 201.45), ("GOOG", 60, 168.30), ("NFLX", 8, 897.50), ("COST", 12, 964.10),
         ("ORCL", 44, 192.05), ("CRM", 24, 341.80)]
    )
)  # fmt: skip

WHILE_DOWN: Final = plan(5710, "sent while no service runs", "BUY 5 META MARKET", price=559.10)

#: What goes wrong at the venue, each once.
FAULTS: Final = (
    ("reject", "--symbol", "NVDA", "--reason", "Insufficient margin"),
    ("lose-answer", "--symbol", "AMD"),
    ("lose-order", "--symbol", "INTC"),
)

ALL: Final = (SPY, *MORNING, *AFTERNOON, LOST_ANSWER, LOST_ORDER, *BAD, *BUSY, WHILE_DOWN)
