"""Positions: a fold over executions, in the order they were committed.

A position is one stretch of holding: it opens at the first execution after zero, and closes at zero; the far side of a
flip is a new one. The quantity, cash flow and commission of all stretches together do not depend on the order of
executions; how PnL divides between realized and unrealized does (average cost).

Corrections are appended, never edited in: the old execution is taken back by its reversal, then the new one is added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar

from exec_core.fills import Fill
from exec_core.identifiers import AccountId
from exec_core.instruments import Instrument
from exec_core.money import ZERO, exact
from exec_core.replacing import replace


class PositionSide(StrEnum):
    """Which way a position points."""

    LONG = "LONG"
    SHORT = "SHORT"


@dataclass(frozen=True, slots=True)
class PositionKey:
    """What makes two executions change the same position."""

    strategy_name: str
    account_id: AccountId
    instrument_key: str
    product: str | None = None


@dataclass(frozen=True)
class Position:
    """One stretch of holding. `quantity` is signed, negative when short; `cost` is what the held quantity was bought
    (sold) for, without multiplier, same sign as the quantity; `realized_pnl` is gross of commission, with multiplier;
    `cash_flow` is what executions paid in and out, with multiplier, without commission.

    `average_entry_price` is per unit, and of a closed position the last it had.
    `closed_at` is set at zero; less than the instrument's smallest increment, after an exit, is zero, kept as
    `residual_quantity`.
    """

    COMPUTED_FROM: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})

    id: str
    key: PositionKey
    instrument: Instrument
    multiplier: Decimal
    opened_at: datetime
    updated_at: datetime
    side: PositionSide
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    average_entry_price: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    cash_flow: Decimal = ZERO
    commission: Decimal = ZERO
    closed_at: datetime | None = None
    residual_quantity: Decimal = ZERO

    @property
    def is_closed(self) -> bool:
        """Whether this stretch of holding is over."""
        return self.closed_at is not None


@dataclass(frozen=True, slots=True)
class Share:
    """How much of an execution went into which position; a flip divides one between two."""

    position_id: str
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Booked:
    """What `book` did: the positions that changed (closed ones first), and the shares of the execution added."""

    positions: tuple[Position, ...]
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to fold in: an execution, or (`reversal`) the taking back of one."""

    fill: Fill
    commission: Decimal = ZERO
    reversal: bool = False

    @property
    def signed_quantity(self) -> Decimal:
        """What it does to the held quantity."""
        sign = -self.fill.side.sign if self.reversal else self.fill.side.sign
        return self.fill.quantity * sign

    @property
    def signed_commission(self) -> Decimal:
        """What it adds to the position's commission: a reversal takes back what its execution had added."""
        return -self.commission if self.reversal else self.commission


def book(
    held: Position | None,
    entries: Sequence[Entry],
    *,
    key: PositionKey,
    instrument: Instrument,
    multiplier: Decimal,
    increment: Decimal | None,
    new_id: str,
    at: datetime,
) -> Booked:
    """Fold `entries` into the `held` position (None or closed: nothing is held).

    `multiplier` counts for a position that opens here; one that is held keeps its own. `increment` is the smallest
    quantity that the instrument trades in; less than it is zero after an exit. `new_id` names the position that opens,
    if one does: the caller makes it from the execution, so that a repetition computes the same. A position opens and
    closes at the venue's time of the execution; `at` is when it is booked (``updated_at``). Zero in between, as in a
    reversal with its new entry, does not close.
    """
    done: list[Position] = []
    shares: list[Share] = []
    opened = 0
    current = held if held is not None and not held.is_closed else None
    with exact():
        for number, entry in enumerate(entries):
            left, commission = entry.signed_quantity, entry.signed_commission
            last = number == len(entries) - 1
            if current is not None and current.quantity * left < 0:
                part = left if abs(left) <= abs(current.quantity) else -current.quantity
                fee = _part_of(commission, part, left)
                current = _fold(current, part, entry.fill.price, fee, at)
                if not entry.reversal:
                    shares.append(Share(current.id, abs(part)))
                left, commission = left - part, commission - fee
                if left:
                    done.append(replace(_flat(current, ZERO), closed_at=entry.fill.time))
                    current = None
            if left:
                if current is None:
                    side = PositionSide.LONG if left > 0 else PositionSide.SHORT
                    name = f"{new_id}{opened or ''}"
                    opened += 1
                    current = Position(name, key, instrument, multiplier, entry.fill.time, at, side)
                current = _fold(current, left, entry.fill.price, commission, at)
                if not entry.reversal:
                    shares.append(Share(current.id, abs(left)))
            if last and current is not None and _is_dust(current, held, increment):
                done.append(replace(_flat(current, current.quantity), closed_at=entry.fill.time))
                current = None
    return Booked((*done, current) if current is not None else tuple(done), tuple(shares))


#: Where the venue tells no increment, only zero itself is zero.
_SMALLEST = Decimal("1e-18")
#: What money is divided to.
_FINEST = Decimal("1e-12")


def add_commission(position: Position, amount: Decimal, at: datetime) -> Position:
    """`position` with a commission that became known after its execution; also when it is closed by now."""
    with exact():
        return replace(position, commission=position.commission + amount, updated_at=at)


def split_commission(amount: Decimal, shares: Sequence[Share]) -> list[tuple[str, Decimal]]:
    """Divide one execution's commission over the positions it went into, by quantity; the parts add up exactly."""
    total = sum((share.quantity for share in shares), ZERO)
    parts: list[tuple[str, Decimal]] = []
    left = amount
    with exact():
        for number, share in enumerate(shares):
            part = left if number == len(shares) - 1 else _part_of(amount, share.quantity, total)
            parts.append((share.position_id, part))
            left -= part
    return parts


def _part_of(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """The share of `amount`, to so few places that the rest is exact and the parts add up."""
    if part == whole:
        return amount
    return (amount * part / whole).quantize(min(_FINEST, Decimal((0, (1,), int(amount.as_tuple().exponent)))))


def _fold(position: Position, quantity: Decimal, price: Decimal, commission: Decimal, at: datetime) -> Position:
    """Add `quantity` (signed), which does not cross zero, at `price`."""
    cash = -quantity * price * position.multiplier
    if position.quantity * quantity >= 0:
        cost, realized = position.cost + quantity * price, ZERO
        average = cost / (position.quantity + quantity)
    else:
        average = position.average_entry_price
        given_up = position.cost * (-quantity / position.quantity)
        cost = ZERO if quantity == -position.quantity else position.cost - given_up
        released = position.cost - cost
        realized = (-quantity * price - released) * position.multiplier
    held = position.quantity + quantity
    return replace(
        position,
        quantity=held,
        cost=cost,
        average_entry_price=average,
        realized_pnl=position.realized_pnl + realized,
        cash_flow=position.cash_flow + cash,
        commission=position.commission + commission,
        side=position.side if not held else PositionSide.LONG if held > 0 else PositionSide.SHORT,
        updated_at=at,
    )


def _is_dust(position: Position, held: Position | None, increment: Decimal | None) -> bool:
    """Whether what is left after an exit is as good as nothing. What an entry brought never is, however little."""
    before, left = ZERO if held is None else abs(held.quantity), abs(position.quantity)
    return not left or (left < before and left < (increment or _SMALLEST))


def _flat(position: Position, residual: Decimal) -> Position:
    """The closed form: nothing held, the dust remembered."""
    return replace(position, quantity=ZERO, residual_quantity=residual)
