"""Order messages as the producer sends them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any


def order(signal_id: str, **fields: Any) -> dict[str, Any]:
    """A market order for 100 SPY at a reference price of 235.15; None leaves a field out."""
    message = {
        "signal_id": signal_id,
        "account_id": "acc_1",
        "strategy_name": "Trend",
        "symbol": "SPY",
        "side": "BUY",
        "quantity": 100,
        "order_type": "MARKET",
        "price": 235.15,
        **fields,
    }
    return {key: value for key, value in message.items() if value is not None}


def ago(seconds: float) -> str:
    """The time so many seconds ago, as a producer writes it."""
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
