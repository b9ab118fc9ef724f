"""Our own collections, exact: orders, fills and positions, to documents and back without loss.

Flat fields on top are for people and queries; the sub-documents `request`, `state`, `source` and `exact` are what
things are restored from. An order's executions are documents of their own, never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

from exec_core.fills import Commission, Fill
from exec_core.identifiers import AccountId, BrokerOrderId, ClientOrderId, ExecutionId, digest
from exec_core.instruments import Instrument, InstrumentDetails
from exec_core.modifications import ToldTerm
from exec_core.orders import (
    CancelRequest,
    Evidence,
    HistoryEntry,
    Order,
    OrderEnd,
    OrderRequest,
    OrderStatus,
)
from exec_core.positions import Position, PositionKey, PositionSide, Share

from exec_service.codecs import plain, plain_document, restore, restore_optional
from exec_service.fields import invalid_fields, order_fields, state_fields
from exec_service.records import Invalid, OrderRecord, Source
from exec_service.stores import ORDERS, POSITIONS, Appended, Document, Write
from exec_service.units import HeldPosition

SCHEMA_VERSION: Final = 1
#: A position names the newest of the orders behind it; the journal holds all.
ORDER_IDS_KEPT: Final = 200
CLOSED: Final = "CLOSED"
OPEN: Final = "OPEN"


class SchemaTooNew(ValueError):
    """A newer release wrote the document: this one must not guess what it means."""


# ---------------------------------------------------------------------- orders


def order_document(record: OrderRecord) -> Document:
    """The order's document in `orders`, without its executions."""
    order = record.order
    fields = {
        "_id": order.client_order_id,
        **order_fields(record),
        "schema_version": SCHEMA_VERSION,
        "content": record.source.content,
        "request": order.request,
        "state": {"broker": record.broker, **{name: of(order) for name, of in _STATE.items()}},
        "source": record.source,
        "history": order.history,
    }
    return plain_document(fields)


def order_write(before: OrderRecord | None, after: OrderRecord) -> Write:
    """What makes the stored document of `before` that of `after`: of an order that is known only what has changed."""
    if before is None:
        return Write(ORDERS, after.id, 0, order_document(after))
    expected, known = before.order.revision, len(before.order.history)
    if (before.order.request, before.source, before.broker) != (after.order.request, after.source, after.broker):
        return Write(ORDERS, after.id, expected, order_document(after))
    old, new = state_fields(before), state_fields(after)
    changed = plain_document({name: value for name, value in new.items() if value != old[name]})
    old_state = {name: of(before.order) for name, of in _STATE.items()}
    inside = {name: plain(value) for name, of in _STATE.items() if (value := of(after.order)) != old_state[name]}
    entries = [plain(entry) for entry in after.order.history[known:]]
    return Write(
        ORDERS,
        after.id,
        expected,
        changed,
        {"state": inside} if inside else None,
        {"history": Appended(entries)} if entries else None,
    )


def _late_commissions(order: Order) -> list[Document]:
    """A list: execution ids have dots in them, which field names must not."""
    return [
        {"execution_id": execution_id, **plain(commission)}
        for execution_id, commission in order.late_commissions.items()
    ]


#: What `state` holds beside the broker, by the name of the field.
_STATE: Final[Mapping[str, Callable[[Order], Any]]] = {
    **{
        name: attrgetter(name)
        for name in (
            "quantity",
            "details",
            "attempts",
            "sent_at",
            "acknowledged_at",
            "working_since",
            "reported_filled_quantity",
            "told_terms",
            "cancel",
            "end",
        )
    },
    "late_commissions": _late_commissions,
}


def invalid_document(invalid: Invalid, at: datetime) -> Document:
    """The document of an order that never was one: REJECTED / INVALID, with what could be read."""
    entry = HistoryEntry(
        at, "refused: invalid message", "service", Evidence.SERVICE, OrderStatus.REJECTED, 1, invalid.reason
    )
    fields = {
        "_id": invalid.key.client_order_id(),
        "schema_version": SCHEMA_VERSION,
        **invalid_fields(invalid, at),
        "content": invalid.source.content,
        "request": None,
        "state": None,
        "source": invalid.source,
        "history": [entry],
    }
    return plain_document(fields)


def order_record(document: Mapping[str, Any], fills: Iterable[Mapping[str, Any]]) -> OrderRecord | None:
    """The order of `document`, with the executions of its `fills` documents; None if it never was an order.

    :raises SchemaTooNew: a newer release wrote it.
    """
    check_schema(document)
    if document["request"] is None:
        return None
    state = document["state"]
    late = {
        ExecutionId(item["execution_id"]): Commission(item["amount"], item["currency"], item["estimated"])
        for item in state["late_commissions"]
    }
    order = Order(
        client_order_id=ClientOrderId(document["_id"]),
        request=restore(OrderRequest, document["request"]),
        quantity=state["quantity"],
        status=OrderStatus(document["status"]),
        revision=document["revision"],
        broker_order_ids=tuple(map(BrokerOrderId, document["broker_order_ids"])),
        fills=MappingProxyType({key: fill_from_document(fill) for key, fill in _newest(fills).items()}),
        late_commissions=MappingProxyType(late),
        details=restore_optional(InstrumentDetails, state["details"]),
        attempts=state["attempts"],
        sent_at=state["sent_at"],
        acknowledged_at=state["acknowledged_at"],
        working_since=state["working_since"],
        reported_filled_quantity=state["reported_filled_quantity"],
        # Older releases did not know what somebody modifies at the broker, and leave this out.
        told_terms=tuple(restore(ToldTerm, term) for term in state.get("told_terms") or ()),
        cancel=restore_optional(CancelRequest, state["cancel"]),
        end=restore_optional(OrderEnd, state["end"]),
        attention=document["attention"],
        history=tuple(restore(HistoryEntry, entry) for entry in document["history"]),
    )
    return OrderRecord(order, restore(Source, document["source"]), document["sequence"], state["broker"])


def check_schema(document: Mapping[str, Any]) -> None:
    """:raises SchemaTooNew: a newer release wrote the document."""
    if document["schema_version"] > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"{document['_id']} was written by a newer release (schema {document['schema_version']}, "
            f"known up to {SCHEMA_VERSION}): start that release"
        )


# ---------------------------------------------------------------------- fills


def fill_id(broker: str, account_id: str, fill: Fill) -> str:
    """The name of an execution's document; a correction is a document of its own."""
    name = f"{broker}|{account_id}|{fill.execution_id}"
    return f"{name}#c{fill.correction}" if fill.correction else name


def fill_document(
    order: Order,
    fill: Fill,
    *,
    broker: str,
    shares: Iterable[Share],
    received_at: datetime,
    replaces: Fill | None = None,
) -> Document:
    """The execution's document, never changed once written. `replaces` is the execution that it corrects.

    Its commission is what was known then; one that came later is in the order's state.
    """
    request, commission = order.request, fill.commission
    is_leg = fill.leg is not None and 0 <= fill.leg < len(request.legs)
    instrument = request.legs[fill.leg].instrument if is_leg and fill.leg is not None else request.instrument
    fields = {
        "_id": fill_id(broker, request.account_id, fill),
        "schema_version": SCHEMA_VERSION,
        "execution_id": fill.execution_id,
        "correction": fill.correction,
        "replaces": None if replaces is None else fill_id(broker, request.account_id, replaces),
        "broker": broker.upper(),
        "account_id": request.account_id,
        "client_order_id": order.client_order_id,
        "order_id": order.broker_order_id,
        "signal_id": request.signal_id,
        "leg_index": request.leg_index,
        "strategy_name": request.strategy_name,
        "symbol": instrument.symbol,
        "instrument_type": instrument.asset_class.value,
        "leg": fill.leg,
        "side": fill.side.value,
        "quantity": fill.quantity,
        "price": fill.price,
        "multiplier": instrument.multiplier_or_default(order.details),
        "commission": None if commission is None else commission.amount,
        "commission_currency": None if commission is None else commission.currency,
        "commission_estimated": None if commission is None else commission.estimated,
        "time": fill.time,
        "received_at": received_at,
        "shares": tuple(shares),
    }
    return plain_document(fields)


def fill_from_document(document: Mapping[str, Any]) -> Fill:
    """The execution of a `fills` document."""
    check_schema(document)
    commission = None
    if document["commission"] is not None:
        commission = Commission(
            document["commission"], document["commission_currency"], document["commission_estimated"]
        )
    values = {**document, "commission": commission}
    return restore(Fill, {name: values[name] for name in _FILL_FIELDS})


_FILL_FIELDS: Final = ("execution_id", "side", "quantity", "price", "time", "commission", "correction", "leg")


def fill_shares(fills: Iterable[Mapping[str, Any]]) -> dict[ExecutionId, tuple[Share, ...]]:
    """Which positions each execution went into, by its newest correction."""
    return {
        execution_id: tuple(restore(Share, share) for share in document["shares"])
        for execution_id, document in _newest(fills).items()
    }


def _newest(fills: Iterable[Mapping[str, Any]]) -> dict[ExecutionId, Mapping[str, Any]]:
    """Of each execution the document that counts: the highest correction, whatever order they come in."""
    newest: dict[ExecutionId, Mapping[str, Any]] = {}
    for document in fills:
        known = newest.get(document["execution_id"])
        if known is None or document["correction"] > known["correction"]:
            newest[ExecutionId(document["execution_id"])] = document
    return newest


# ---------------------------------------------------------------------- positions


@lru_cache(maxsize=10_000)
def position_key(key: PositionKey) -> str:
    """What at most one open position may have."""
    return digest(key.strategy_name, key.account_id, key.instrument_key, key.product or "", length=32)


def position_document(held: HeldPosition) -> Document:
    """The position's document with its next revision; only what we may write.

    `status` is written when it opens and when it closes: in between, other services' words stay.
    """
    position, instrument = held.position, held.position.instrument
    document = {
        "_id": position.id,
        "schema_version": SCHEMA_VERSION,
        "position_key": position_key(position.key),
        "strategy_name": position.key.strategy_name,
        "account_id": position.key.account_id,
        "product": position.key.product,
        "symbol": instrument.symbol,
        "instrument_type": instrument.asset_class.value,
        "exchange": instrument.exchange,
        "currency": instrument.currency,
        "expiry": instrument.expiry,
        "strike": None if instrument.strike is None else float(instrument.strike),
        "right": None if instrument.right is None else instrument.right.value,
        "opened_at": position.opened_at,
        **_figures(held),
        "order_ids": list(held.order_ids),
        "exact": {
            "instrument_key": position.key.instrument_key,
            "instrument": instrument,
            **{name: getattr(position, name) for name in _EXACT},
        },
    }
    if position.is_closed:
        document["status"] = CLOSED
    elif not held.revision:
        document["status"] = OPEN
    return plain_document(document)


def position_write(before: HeldPosition | None, after: HeldPosition) -> Write:
    """What makes the stored document of `before`, if that is known, the one of `after`."""
    position, expected = after.position, after.revision
    added = 0 if before is None else after.order_count - before.order_count
    if before is None or before.revision != expected or not expected or added > len(after.order_ids):
        return Write(POSITIONS, position.id, expected, position_document(after))
    known = before.position
    if (known.instrument, known.key, known.opened_at) != (position.instrument, position.key, position.opened_at):
        return Write(POSITIONS, position.id, expected, position_document(after))
    old, new = _figures(before), _figures(after)
    changed = {name: value for name, value in new.items() if name == "revision" or value != old[name]}
    if position.is_closed:
        changed["status"] = CLOSED
    exact = {name: value for name in _EXACT if (value := getattr(position, name)) != getattr(known, name)}
    names = after.order_ids[len(after.order_ids) - added :]
    return Write(
        POSITIONS,
        position.id,
        expected,
        plain_document(changed),
        {"exact": exact} if exact else None,
        {"order_ids": Appended(names, ORDER_IDS_KEPT)} if names else None,
    )


def _figures(held: HeldPosition) -> Document:
    """The fields of a position's document that executions change."""
    position = held.position
    return {
        "revision": held.revision + 1,
        "multiplier": float(position.multiplier),
        "side": position.side.value,
        "quantity": float(abs(position.quantity)),
        "residual_quantity": float(position.residual_quantity),
        "avg_entry_price": float(position.average_entry_price),
        "realized_pnl": float(position.realized_pnl),
        "commission": float(position.commission),
        "order_count": held.order_count,
        "updated_at": position.updated_at,
        "closed_at": position.closed_at,
    }


_EXACT: Final = (
    "multiplier",
    "quantity",
    "cost",
    "average_entry_price",
    "realized_pnl",
    "cash_flow",
    "commission",
    "residual_quantity",
)


def held_position(document: Mapping[str, Any]) -> HeldPosition:
    """The position of a `positions` document, at the revision that is stored. :raises SchemaTooNew: see there."""
    check_schema(document)
    values = document["exact"]
    key = PositionKey(
        document["strategy_name"], AccountId(document["account_id"]), values["instrument_key"], document["product"]
    )
    position = Position(
        id=document["_id"],
        key=key,
        instrument=restore(Instrument, values["instrument"]),
        opened_at=document["opened_at"],
        updated_at=document["updated_at"],
        closed_at=document["closed_at"],
        side=PositionSide(document["side"]),
        **{name: values[name] for name in _EXACT},
    )
    return HeldPosition(position, document["revision"], tuple(document["order_ids"]), document["order_count"])
