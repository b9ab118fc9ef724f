"""What is traded: one record for all six kinds.

It does not know any venue's contract ids or symbols; adapters translate.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class AssetClass(StrEnum):
    """The six kinds of instrument (the message's ``instrument_type``)."""

    STOCK = "STOCK"
    ETF = "ETF"
    OPTION = "OPTION"
    FUTURE = "FUTURE"
    FOREX = "FOREX"
    CRYPTO = "CRYPTO"


class Right(StrEnum):
    """The right of an option."""

    CALL = "C"
    PUT = "P"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable thing, in the order's words.

    An option or a future is either its underlying plus `expiry` (``YYYYMMDD``; ``YYYYMM`` for a future's contract
    month), `strike` and `right`, or the venue's own symbol plus `exchange`. What the message leaves out is None,
    and is the adapter's to resolve.
    """

    symbol: str
    asset_class: AssetClass = AssetClass.STOCK
    exchange: str | None = None
    currency: str | None = None
    expiry: str | None = None
    strike: Decimal | None = None
    right: Right | None = None
    multiplier: Decimal | None = None
    underlying: str | None = None

    def __post_init__(self) -> None:
        if not self.symbol:
            raise ValueError("an instrument needs a symbol")
        if self.multiplier is not None and not (self.multiplier.is_finite() and self.multiplier > 0):
            raise ValueError(f"multiplier must be above zero, got {self.multiplier}")
        if self.strike is not None and not self.strike.is_finite():
            raise ValueError(f"strike must be finite, got {self.strike}")

    @property
    def key(self) -> str:
        """Names the instrument within an account: equal for two orders that change the same position."""
        strike = None if self.strike is None else format(self.strike.normalize(), "f")
        parts = (self.asset_class, self.symbol, self.exchange, self.currency, self.expiry, strike, self.right)
        return "|".join("" if part is None else str(part) for part in parts)

    def multiplier_or_default(self, details: InstrumentDetails | None = None) -> Decimal:
        """The contract multiplier: the message's, else the venue's contract, else 100 for options, else 1."""
        if self.multiplier is not None:
            return self.multiplier
        if details is not None and details.multiplier is not None:
            return details.multiplier
        return Decimal(100) if self.asset_class is AssetClass.OPTION else Decimal(1)


@dataclass(frozen=True, slots=True)
class InstrumentDetails:
    """What the venue's contract says; it comes back with the first report. None = the venue did not say."""

    multiplier: Decimal | None = None
    price_increment: Decimal | None = None
    quantity_increment: Decimal | None = None
    currency: str | None = None
