"""What an execution does to positions: every booking of a lifecycle change, and commissions that come later.

It is called inside a unit of work, so that order, fill and position are one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from exec_core import positions
from exec_core.fills import Fill
from exec_core.identifiers import ExecutionId, digest
from exec_core.instruments import Instrument
from exec_core.lifecycle import Booking, Change
from exec_core.money import ZERO
from exec_core.orders import Order
from exec_core.positions import PositionKey, Share

from exec_service import journal
from exec_service.stores import FILLS, Write
from exec_service.units import HeldPosition, Unit

Shares = Mapping[ExecutionId, tuple[Share, ...]]


def book(unit: Unit, before: Order, change: Change, broker: str, shares: Shares) -> Shares:
    """Write what `change` did to fills and positions; the order's shares after it."""
    after = change.order
    if change.booking is not None:
        booking = change.booking
        fill = _newest(before, after)
        booked: tuple[Share, ...] = ()
        if fill is not None:
            if _counts(after, fill):
                booked = _position(unit, before, after, booking, shares)
            corrected = before.fills.get(fill.execution_id)
            document = journal.fill_document(
                after, fill, broker=broker, shares=booked, received_at=unit.now, replaces=corrected
            )
            unit.write(Write(FILLS, document["_id"], 0, document))
            shares = {**shares, fill.execution_id: booked}
    if change.commission_of is not None:
        _late_commission(unit, before, after, change.commission_of, shares)
    return shares


def _newest(before: Order, after: Order) -> Fill | None:
    """The execution that `after` has and `before` has not."""
    for execution_id, fill in after.fills.items():
        if before.fills.get(execution_id) is not fill:
            return fill
    return None


def _counts(order: Order, fill: Fill) -> bool:
    """Whether it changes a position: of a combination the legs' executions do, the combination's own do not."""
    return bool(order.request.legs) == (fill.leg is not None)


def _instrument(order: Order, fill: Fill) -> Instrument:
    instrument = order.request.instrument if fill.leg is None else order.request.legs[fill.leg].instrument
    if instrument.currency is None and order.details is not None:
        # Two orders for one thing meet in one position, whether or not their messages named the currency.
        instrument = replace(instrument, currency=order.details.currency)
    return instrument


def _where(unit: Unit, order: Order, fill: Fill, shares: Shares) -> tuple[PositionKey, Instrument]:
    """Which position the execution changes: the one that the order's earlier ones went into, whatever the venue has
    told of the instrument since; else the instrument's."""
    for execution_id, parts in shares.items():
        earlier = order.fills.get(execution_id)
        if parts and earlier is not None and earlier.leg == fill.leg:
            position = unit.position(parts[-1].position_id).position
            return position.key, position.instrument
    instrument, request = _instrument(order, fill), order.request
    return PositionKey(request.strategy_name, request.account_id, instrument.key, request.product), instrument


def _position(unit: Unit, before: Order, after: Order, booking: Booking, shares: Shares) -> tuple[Share, ...]:
    entries = []
    if booking.reversed is not None:
        entries.append(positions.Entry(booking.reversed, _known(before, booking.reversed), reversal=True))
    if booking.added is not None:
        entries.append(positions.Entry(booking.added, _known(after, booking.added)))
    if not entries:
        return ()
    fill = entries[-1].fill
    key, instrument = _where(unit, after, fill, shares)
    name = journal.position_key(key)
    held = unit.held(name, key.account_id)
    booked = positions.book(
        None if held is None else held.position,
        entries,
        key=key,
        instrument=instrument,
        multiplier=instrument.multiplier_or_default(after.details),
        increment=after.details.quantity_increment if after.details else None,
        new_id=f"pos_{digest(name, fill.execution_id, str(fill.correction))}",
        at=unit.now,
    )
    for position in booked.positions:
        same = held if held is not None and held.position.id == position.id else HeldPosition(position, 0)
        unit.put_position(name, _with_order(replace(same, position=position), after))
    return booked.shares


def _with_order(held: HeldPosition, order: Order) -> HeldPosition:
    """`held`, naming the order behind the change."""
    name = order.broker_order_id or order.client_order_id
    if name in held.order_ids:
        return held
    return replace(held, order_ids=(*held.order_ids, name)[-journal.ORDER_IDS_KEPT :], order_count=held.order_count + 1)


def _known(order: Order, fill: Fill) -> Decimal:
    """What is known of the execution's commission; the rest is added when it comes."""
    commission = order.commission_of(fill.execution_id)
    return ZERO if commission is None else commission.amount


def _late_commission(unit: Unit, before: Order, after: Order, execution_id: ExecutionId, shares: Shares) -> None:
    """Add what became known of an execution's cost to the positions that it went into, closed or not."""
    fill = after.fills.get(execution_id)
    if fill is None:
        return  # it overtook its execution, which will bring it along
    amount = _known(after, fill) - _known(before, fill)
    for position_id, part in positions.split_commission(amount, shares.get(execution_id, ())):
        held = unit.position(position_id)
        position = positions.add_commission(held.position, part, unit.now)
        unit.put_position(journal.position_key(position.key), replace(held, position=position))
