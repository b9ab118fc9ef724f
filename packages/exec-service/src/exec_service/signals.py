"""What `signal_store` is told. Its documents belong to others: we set our fields, and leave every other alone.

An update may be delivered twice, or after a newer one: the revision that stands in the document decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from exec_core.orders import OrderStatus

from exec_service.fields import Subject, fields_of
from exec_service.json_values import double
from exec_service.stores import Document

#: From the least to the most advanced. An end that is not a fill comes first, so that it shows among filled legs.
_ADVANCE: Final = tuple(
    status.value
    for status in (
        OrderStatus.PENDING,
        OrderStatus.SUBMITTING,
        OrderStatus.UNKNOWN,
        OrderStatus.SUBMITTED,
        OrderStatus.PARTIALLY_FILLED,
        OrderStatus.REJECTED,
        OrderStatus.EXPIRED,
        OrderStatus.CANCELLED,
        OrderStatus.FILLED,
    )
)
_TOLD: Final = (
    "order_id",
    "execution_status",
    "filled_quantity",
    "avg_fill_price",
    "filled_at",
    "reason_code",
    "reason",
)
#: Where a field's name is another one in our own documents.
_FIELDS: Final = {"execution_status": "status"}


def signal_ids(subject: Subject) -> list[str]:
    """Names under which the signal's document may stand; failing them it is found by its ``signal_id``."""
    own = subject.source.mathematricks_signal_id
    return [] if own is None else [own]


def signal_update(subject: Subject, at: datetime, known: Mapping[str, Any] | None = None) -> Document:
    """What is told of one order: its place in the signal, its revision, and the fields to set.

    `known`: the subject's fields, where somebody has them already.
    """
    fields = fields_of(subject, at) if known is None else known
    return {
        "signal_id": fields["signal_id"],
        "client_order_id": fields["client_order_id"],
        "leg_index": fields["leg_index"],
        "total_legs": fields["total_legs"] or fields["leg_index"] + 1,
        "revision": fields["revision"],
        "updated_at": at,
        **{name: double(fields[_FIELDS.get(name, name)]) for name in _TOLD},
    }


def merge_signal(existing: Mapping[str, Any] | None, update: Mapping[str, Any]) -> Document | None:
    """The fields to set in the signal's document; None if it knows the same or more already."""
    merged = _merge_leg(existing, update) if update["total_legs"] > 1 else _merge_single(existing, update)
    if merged is None:
        return None
    if existing is None:
        merged["signal_id"] = update["signal_id"]
    return {**merged, "updated_at": update["updated_at"]}


def _merge_single(existing: Mapping[str, Any] | None, update: Mapping[str, Any]) -> Document | None:
    if existing is not None and _is_known(existing, update):
        return None
    return {**{name: update[name] for name in _TOLD}, **_mark(update)}


def _merge_leg(existing: Mapping[str, Any] | None, update: Mapping[str, Any]) -> Document | None:
    """One leg of several: its entry in ``legs``, and on top what the least advanced leg says."""
    legs = _legs(None if existing is None else existing.get("legs"))
    index = update["leg_index"]
    known = legs.get(index, {})
    if _is_known(known, update):
        return None
    legs[index] = {**known, "leg_index": index, **{name: update[name] for name in _TOLD}, **_mark(update)}
    # What is in `legs` may be another's: a place far beyond ours is one of its own, and not a million legs to wait for.
    places = sorted({*range(update["total_legs"]), *legs})
    least = min(places, key=lambda number: _advance(legs.get(number)))
    leg = legs.get(least, {})
    top = {name: leg.get(name) for name in _TOLD}
    if top["execution_status"] is None:  # nothing was heard of that leg yet
        top.update(execution_status=OrderStatus.PENDING.value)
    return {"legs": [legs[number] for number in sorted(legs)], **top}


def _legs(stored: object) -> dict[int, dict[str, Any]]:
    """The entries of ``legs`` by leg; those of others, which do not say which leg they are, by their place."""
    if not isinstance(stored, Sequence) or not all(isinstance(entry, Mapping) for entry in stored):
        return {}
    return {_index(entry, place): dict(entry) for place, entry in enumerate(stored)}


def _index(entry: Mapping[str, Any], place: int) -> int:
    index = entry.get("leg_index")
    return index if isinstance(index, int) and not isinstance(index, bool) else place


def _advance(leg: Mapping[str, Any] | None) -> int:
    status = None if leg is None else leg.get("execution_status")
    return _ADVANCE.index(status) if status in _ADVANCE else -1


def _mark(update: Mapping[str, Any]) -> Document:
    """Our own fields, by which a repetition and an older update are known."""
    return {"execution_client_order_id": update["client_order_id"], "execution_revision": update["revision"]}


def _is_known(entry: Mapping[str, Any], update: Mapping[str, Any]) -> bool:
    """Whether `entry` holds this revision of this order, or a newer one."""
    revision = entry.get("execution_revision")
    same_order = entry.get("execution_client_order_id") == update["client_order_id"]
    return same_order and isinstance(revision, int) and revision >= update["revision"]
