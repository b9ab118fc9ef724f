"""BUY or SELL."""

from __future__ import annotations

from enum import StrEnum


class Side(StrEnum):
    """The direction of an order or an execution."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL: what a fill does to a signed quantity."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        """The other one."""
        return Side.SELL if self is Side.BUY else Side.BUY
