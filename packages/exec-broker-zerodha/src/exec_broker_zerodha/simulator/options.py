"""How a simulated Kite is set up: who its user is, and what its market does. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Options:
    """All that can be chosen when the simulator starts; every field has a sensible default.

    `is_resting`: nothing trades by itself. Else orders are filled, in `partial_fills` parts, each `fill_after` seconds
    after the one before; 0 = before the order is answered. `prices` (``SYMBOL`` or ``EXCHANGE:SYMBOL``) is the market;
    without one a LIMIT order is filled at its limit, a MARKET order at the price in the instrument dump, and a stop
    order rests. `cancel_after`: how long a cancel is pending; a real one took seconds (Kite forum 52371).

    `order_lag` and `trade_lag` are the seconds after which a new order, or a trade, appears in the lists.
    `keeps_limits`: the venue's rate limits. `checks_funds`, `checks_holdings`: what the account cannot pay or deliver
    is rejected by the risk management, after the answer. `checks_triggers`: a stop-limit order whose limit lies on the
    wrong side of its trigger is refused. `day_begins`: the time (IST) at which the book of the day before is wiped;
    None = only when the desk says so.
    """

    user_id: str = "AB1234"
    user_name: str = "Simulated User"
    api_key: str = field(default="simulatedkey", repr=False)
    api_secret: str = field(default="simulatedsecret", repr=False)
    access_token: str = field(default="simulatedtoken", repr=False)
    is_resting: bool = False
    fill_after: float = 0.0
    partial_fills: int = 1
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    cancel_after: float = 0.0
    order_lag: float = 0.0
    trade_lag: float = 0.0
    cash: Decimal = Decimal(10_000_000)
    keeps_limits: bool = True
    checks_funds: bool = False
    checks_holdings: bool = False
    checks_triggers: bool = True
    day_begins: time | None = None

    def __post_init__(self) -> None:
        if self.partial_fills < 1:
            raise ValueError(f"partial_fills must be at least 1, got {self.partial_fills}")
        for name in ("fill_after", "cancel_after", "order_lag", "trade_lag"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
