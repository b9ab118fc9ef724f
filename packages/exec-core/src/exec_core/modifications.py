"""What somebody changed at the broker: the terms that an order is worked on there, beside what was asked.

Rules
-----
1. Compared is only what the request itself has: a quantity (not a cash order's), a limit, a stop. A market order that
   the venue protects with a limit of its own is not modified. Side and instrument are not compared here.
2. Remembered is what differs from what was known, with the venue's time of it. A word older than that tells nothing;
   one without a time is taken as it comes. Reports that come late or twice therefore lead to the same terms.
   What agrees with what was known is not remembered, not even its time: an order that nobody modifies costs nothing.
   So where a modification was taken back, and the two words come in the wrong order, it is the venue's next word
   that puts it right.
3. The quantity at the broker is followed: what is filled of what was asked counts as wanted, though, however low the
   quantity was set meanwhile.
4. Terms belong to one broker order id. Where an order has several, none of them tells the terms of the whole: what
   was asked stands, and a modification is only recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Protocol

from exec_core.identifiers import BrokerOrderId

TERMS: Final = ("quantity", "limit_price", "stop_price")
_WORDS: Final = ("quantity", "limit", "stop")


class Terms(Protocol):
    """What an order is asked for, or worked on; None: it has none, or it was not told."""

    @property
    def quantity(self) -> Decimal | None: ...

    @property
    def limit_price(self) -> Decimal | None: ...

    @property
    def stop_price(self) -> Decimal | None: ...


@dataclass(frozen=True, slots=True)
class ToldTerm:
    """One term (a name of `TERMS`) as the broker told it last under one of its ids; `at` is the venue's time."""

    name: str
    value: Decimal
    broker_order_id: BrokerOrderId | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Modification:
    """Terms at the broker that differ from what was asked (None: this one does not), and the venue's time of it."""

    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    at: datetime | None = None


def remembered(
    asked: Terms, told: tuple[ToldTerm, ...], heard: Terms, broker_order_id: BrokerOrderId | None, at: datetime | None
) -> tuple[ToldTerm, ...]:
    """`told` with what `heard` says anew of the order under that id; the very same where it says nothing new."""
    for name in TERMS:
        wanted, value = getattr(asked, name), getattr(heard, name)
        if wanted is None or value is None or not _makes_sense(name, value):
            continue
        known = latest(told, name, broker_order_id)
        if value == (wanted if known is None else known.value):
            continue
        since = None if known is None else known.at
        if at is not None and since is not None and at < since:
            continue
        others = (term for term in told if (term.name, term.broker_order_id) != (name, broker_order_id))
        told = (*others, ToldTerm(name, value, broker_order_id, at or since))
    return told


def latest(told: tuple[ToldTerm, ...], name: str, broker_order_id: BrokerOrderId | None = None) -> ToldTerm | None:
    """The last word about a term under that id (None: under any), or under none."""
    found: ToldTerm | None = None
    for term in told:
        if term.name != name or (None not in (ids := (term.broker_order_id, broker_order_id)) and ids[0] != ids[1]):
            continue
        if found is None or found.at is None or term.at is None or term.at >= found.at:
            found = term
    return found


def quantity_at_broker(asked: Decimal, told: tuple[ToldTerm, ...], filled: Decimal) -> Decimal:
    """Rule 3: the quantity that the order has now."""
    term = latest(told, "quantity")
    return asked if term is None else max(term.value, min(filled, asked))


def modification(asked: Terms, told: tuple[ToldTerm, ...]) -> Modification | None:
    """What differs from what was asked; None if nothing does."""
    terms = [latest(told, name) for name in TERMS]
    found = [term for term in terms if term is not None and term.value != getattr(asked, term.name)]
    if not found:
        return None
    at = max((term.at for term in found if term.at is not None), default=None)
    return Modification(**{term.name: term.value for term in found}, at=at)


def difference(
    asked: Terms, before: tuple[ToldTerm, ...], after: tuple[ToldTerm, ...], broker_order_id: BrokerOrderId | None
) -> str:
    """What has changed between the two under that id, for people: ``quantity 100 -> 60, limit 235.20 -> 234``."""
    parts = []
    for name, word in zip(TERMS, _WORDS, strict=True):
        was, now = latest(before, name, broker_order_id), latest(after, name, broker_order_id)
        if now is not None and now != was:
            old = getattr(asked, name) if was is None else was.value
            parts.append(f"{word} {old:f} -> {now.value:f}")
    return ", ".join(parts)


def alarm(asked: Terms, told: tuple[ToldTerm, ...], text: str) -> str:
    """What a person must hear of a modification of which `difference` says `text`."""
    now, quantity = modification(asked, told), asked.quantity
    kind = "Modified at the broker, not by this service"
    if now is None:
        kind = "Modified at the broker, back to what was asked"
    elif now.quantity is not None and quantity is not None and now.quantity > quantity:
        kind = f"Modified at the broker beyond the {quantity:f} that was asked for"
    return f"{kind}: {text}"


def _makes_sense(name: str, value: Decimal) -> bool:
    """Whether it is a term at all: some venues write "none" as 0, or as a number that is none."""
    return value.is_finite() and (value > 0 or name != "quantity")
