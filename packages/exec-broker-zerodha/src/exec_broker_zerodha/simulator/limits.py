"""Rate limits as Kite documents them (kite.trade/docs/connect/v3/exceptions, Kite forum 52882): per second, per
minute and per day, in fixed windows of the venue's clock.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from exec_broker_zerodha.simulator.faults import MODIFY, ORDER_REQUESTS, PLACE

_SECOND: Final = 1_000_000
_MINUTE: Final = 60 * _SECOND
_DAY: Final = 86_400 * _SECOND
#: What is limited together, and how often it may be asked in each window.
_LIMITS: Final = {
    "orders": {_SECOND: 10, _MINUTE: 400, _DAY: 5000},
    "quote": {_SECOND: 1},
    "others": {_SECOND: 10},
}
_QUOTES: Final = ("quote", "ltp", "ohlc")


class Limits:
    """Counts requests, and says which are too many. `requests` counts them all, by endpoint."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.refused = 0
        self._windows: dict[tuple[str, int], tuple[int, int]] = {}

    def reset(self) -> None:
        """Count from nothing again."""
        self.requests.clear()
        self.refused = 0

    def allows(self, endpoint: str, now: int) -> bool:
        """Whether one more is allowed at this time (microseconds); what is refused does not count."""
        group = "orders" if endpoint in ORDER_REQUESTS else "quote" if endpoint in _QUOTES else "others"
        counted = {}
        for length, most in _LIMITS[group].items():
            if length == _DAY and endpoint not in (PLACE, MODIFY):
                continue
            began, count = self._windows.get((group, length), (-1, 0))
            if began != now // length:
                began, count = now // length, 0
            if count >= most:
                self.refused += 1
                return False
            counted[group, length] = (began, count + 1)
        self._windows.update(counted)
        return True
