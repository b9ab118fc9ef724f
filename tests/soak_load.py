"""The load of a soak run: orders of every kind, and what is none. A signal's id says which kind it is.

What the venue's people do to an order (`soak_people`), and how it must end (`ends_wrong`), follow from the kind.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness import encode, order

Row = Mapping[str, Any]

#: How often each kind comes, and how its orders end where the venue does not refuse them.
KINDS: Mapping[str, tuple[int, str]] = {
    "market": (26, "FILLED"),
    "limit": (14, "FILLED"),
    "ioc": (6, "CANCELLED"),  # the venue fills in two parts, and only the first of them is immediate
    "iocmissed": (3, "CANCELLED"),
    "cash": (3, "FILLED"),
    "forex": (3, "FILLED"),
    "crypto": (3, "FILLED"),
    "option": (4, "FILLED"),
    "future": (2, "FILLED"),
    "corrected": (2, "FILLED"),
    "stop": (4, "FILLED"),
    "stoplimit": (2, "FILLED"),
    "byhand": (4, "FILLED"),
    "cancelled": (4, "CANCELLED"),
    "latefill": (2, "CANCELLED"),
    "expired": (2, "EXPIRED"),
    "timeout": (3, "CANCELLED"),
    "command": (2, "CANCELLED"),
    "refusedlate": (1, "REJECTED"),
    "combination": (1, "REJECTED"),
    "unknown": (1, "REJECTED"),
    "unusable": (2, "REJECTED"),
}
#: Messages that are no orders, or none that is new.
OTHERS: Mapping[str, int] = {"garbage": 1, "nameless": 1, "again": 4, "conflict": 1}
#: Kinds that rest at the venue until somebody does something.
RESTING = ("byhand", "cancelled", "latefill", "expired", "command", "refusedlate", "timeout")
#: Why an order that is good may be refused: the venue's mood, a line that is down, a kill at the wrong moment.
EXCUSES = ("BROKER_REJECTED", "CONNECTION_FAILED", "NOT_PLACED")
REASONS = {"combination": "UNSUPPORTED", "unknown": "UNKNOWN_ACCOUNT", "unusable": "INVALID"}
#: What is sent again, or contradicted, was sent so many messages before: the service has it.
LONG_AGO = 150


@dataclass
class Load:
    """All messages of a run, in the order in which they are published."""

    messages: list[Mapping[str, Any] | bytes] = field(default_factory=list)
    #: The orders among them, good and bad, once each.
    signal_ids: list[str] = field(default_factory=list)
    #: What must become dead letters.
    refused: set[bytes] = field(default_factory=set)


def kind_of(signal_id: str) -> str:
    """Which kind the signal's order is of."""
    return signal_id.partition("-")[2]


def make(count: int, dice: random.Random, accounts: Sequence[str]) -> Load:
    """So many messages."""
    load = Load()
    weights = {**{name: weight for name, (weight, _) in KINDS.items()}, **OTHERS}
    originals: list[tuple[int, dict[str, Any]]] = []
    for number in range(count):
        kind = dice.choices(list(weights), list(weights.values()))[0]
        earlier = [message for at, message in originals[-400:] if at <= number - LONG_AGO]
        if kind in ("again", "conflict") and not earlier:
            kind = "market"
        match kind:
            case "garbage":
                load.messages.append(f"no order at all {{ {number}".encode())
            case "nameless":
                unnamed = order(f"s{number:05d}-nameless", symbol="SPY")
                del unnamed["signal_id"]
                load.messages.append(encode({**unnamed, "quantity": number + 1}))
            case "again":
                load.messages.append(dice.choice(earlier))
            case "conflict":
                load.messages.append(encode({**dice.choice(earlier), "quantity": 10_000 + number}))
            case _:
                message = _order(number, kind, dice, accounts)
                load.messages.append(message)
                load.signal_ids.append(message["signal_id"])
                if kind in ("market", "limit"):
                    originals.append((number, message))
                continue
        if kind != "again":
            load.refused.add(load.messages[-1])  # type: ignore[arg-type]
    return load


def _order(number: int, kind: str, dice: random.Random, accounts: Sequence[str]) -> dict[str, Any]:
    """An order of the kind. Each kind has symbols of its own, so that one's prices do not move another's orders."""
    side = dice.choice(("BUY", "SELL"))
    price = round(dice.uniform(50, 200), 2)
    away = 0.5 if side == "BUY" else 2.0
    fields: dict[str, Any] = {
        "account_id": dice.choice(accounts),
        "symbol": f"{kind[:4].upper()}{dice.randrange(12)}",
        "strategy_name": dice.choice(("Trend", "Carry")),
        "side": side,
        "quantity": dice.randint(2, 500),
        "price": price,
    }
    if kind in RESTING:
        fields |= {"order_type": "LIMIT", "limit_price": round(price * away, 2)}
        fields["time_in_force"] = "DAY" if kind == "timeout" else dice.choice(("GTC", "DAY"))
        fields["timeout_seconds"] = dice.randint(5, 15) if kind == "timeout" else 0
    match kind:
        case "limit":
            fields |= {"order_type": "LIMIT", "limit_price": round(price * (1.01 if side == "BUY" else 0.99), 2)}
        case "ioc":
            fields["time_in_force"] = "IOC"
        case "iocmissed":
            fields |= {"order_type": "LIMIT", "limit_price": round(price * away, 2), "time_in_force": "IOC"}
        case "cash":
            fields |= {"quantity": None, "cash_quantity": dice.randint(100, 5000), "side": "BUY"}
        case "forex":
            fields |= {"instrument_type": "FOREX", "quantity": round(dice.uniform(1000, 9000), 2), "currency": "USD"}
        case "crypto":
            fields |= {"instrument_type": "CRYPTO", "quantity": round(dice.uniform(0.1, 3), 4)}
        case "option":
            fields |= {"instrument_type": "OPTION", "expiry": "2099-12-18", "strike": 100, "right": "C"}
        case "future":
            fields |= {"instrument_type": "FUTURE", "expiry": "209912", "multiplier": 50}
        case "stop" | "stoplimit":
            fields |= {"order_type": "STOP", "stop_price": round(price * (1.5 if side == "BUY" else 0.7), 2)}
            if kind == "stoplimit":
                fields |= {"order_type": "STOP_LIMIT", "limit_price": 1000 if side == "BUY" else 1}
        case "combination":
            fields |= {"instrument_type": "OPTION", "legs": LEGS, "order_type": "LIMIT", "limit_price": 1.5}
        case "unknown":
            fields["account_id"] = "acc_nobody_has"
        case "unusable":
            fields |= dice.choice(({"quantity": "many"}, {"side": "HOLD"}, {"order_type": "LATER"}))
    return order(f"s{number:05d}-{kind}", **fields)


LEGS = [
    {"expiry": "2099-12-18", "strike": 100, "right": "C", "action": "BUY", "quantity": 1},
    {"expiry": "2099-12-18", "strike": 110, "right": "C", "action": "SELL", "quantity": 1},
]


def ends_wrong(orders: Iterable[Row]) -> list[str]:
    """The orders that did not end as their kind must."""
    wrong = []
    for row in orders:
        signal_id, status, reason = row["signal_id"], row["status"], row["reason_code"]
        kind = kind_of(signal_id)
        expected = KINDS[kind][1]
        is_fine = status == expected and reason == REASONS.get(kind, reason)
        if kind == "timeout" and status == "CANCELLED":
            is_fine = reason == "TIMEOUT"
        if not is_fine and not (kind not in REASONS and status == "REJECTED" and reason in EXCUSES):
            wrong.append(f"{signal_id}: ended {status} / {reason}, should have been {expected}")
    return wrong
