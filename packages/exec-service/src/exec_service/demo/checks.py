"""The closing check: the venue's book against orders, fills, positions, confirmations and signals. Pure functions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from exec_core.money import exact

from exec_service.demo.day import Planned
from exec_service.stores import CONFIRMATIONS, FILLS, ORDERS, POSITIONS, SIGNALS, Document

Row = Mapping[str, Any]

#: An average is a quotient, and rounded in its last place.
CLOSE: Final = Decimal("1e-9")


@dataclass(frozen=True, slots=True)
class Evidence:
    """All there is: our documents by collection, the venue's book, and the confirmations that were published."""

    documents: Mapping[str, Sequence[Document]]
    book: Mapping[str, Sequence[Row]]
    confirmations: Sequence[Row]

    @property
    def orders(self) -> Sequence[Document]:
        """The orders."""
        return self.documents[ORDERS]

    @property
    def executions(self) -> list[Row]:
        """The venue's executions, each in its newest version."""
        return [row for row in self.book["fills"] if not row["superseded"]]


@dataclass(frozen=True, slots=True)
class Check:
    """One sentence that must be true, and what speaks against it."""

    sentence: str
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.problems


def run_checks(evidence: Evidence, planned: Sequence[Planned]) -> list[Check]:
    """All checks."""
    with exact():
        return [Check(sentence, tuple(check(evidence))) for sentence, check in _CHECKS] + [
            Check("every order ended as it must", tuple(_ends(evidence, planned)))
        ]


def _once(evidence: Evidence) -> Iterable[str]:
    """What was not placed is not there; the rest is there once; nothing else is there."""
    at_venue = Counter(row["client_order_id"] for row in evidence.book["orders"])
    known = {order["_id"] for order in evidence.orders}
    for order in evidence.orders:
        refused_by_us = order["rejected_by"] == "service" or order["reason_code"] == "NOT_PLACED"
        wanted = 0 if refused_by_us else 1
        if at_venue[order["_id"]] != wanted:
            yield f"{order['signal_id']} is at the broker {at_venue[order['_id']]} times, not {wanted}"
    for stranger in sorted(set(at_venue) - known):
        yield f"the broker has an order {stranger} that the service does not know"


def _fills(evidence: Evidence) -> Iterable[str]:
    """The venue's executions, our fill documents and the orders' figures are the same."""
    ours = {fill["execution_id"]: fill for fill in evidence.documents[FILLS]}
    theirs = {row["execution_id"]: row for row in evidence.executions}
    for execution_id in sorted(ours.keys() ^ theirs.keys()):
        yield f"the execution {execution_id} is known to {'the service' if execution_id in ours else 'the broker'} only"
    by_order: defaultdict[str, list[Row]] = defaultdict(list)
    for execution_id, row in theirs.items():
        by_order[row["client_order_id"]].append(row)
        fill = ours.get(execution_id, row)
        if (fill["quantity"], fill["price"]) != (row["quantity"], row["price"]):
            yield f"the execution {execution_id} was booked with another quantity or price"
    for order in evidence.orders:
        rows = by_order[order["_id"]]
        filled = sum((Decimal(row["quantity"]) for row in rows), Decimal(0))
        spent = sum((Decimal(row["quantity"]) * Decimal(row["price"]) for row in rows), Decimal(0))
        charged = sum((Decimal(row["commission"] or 0) for row in rows), Decimal(0))
        if order["filled_quantity"] != filled:
            yield f"{order['signal_id']}: filled {order['filled_quantity']}, at the broker {filled}"
        elif filled and abs(order["avg_fill_price"] * filled - spent) > CLOSE * filled:
            yield f"{order['signal_id']}: average {order['avg_fill_price']}, at the broker {spent / filled}"
        if (order["commission"] or Decimal(0)) != charged:
            yield f"{order['signal_id']}: commission {order['commission']}, at the broker {charged}"


def _positions(evidence: Evidence) -> Iterable[str]:
    """Per strategy, account and instrument: what is held, what was paid, and what it cost."""
    held: defaultdict[tuple[str, ...], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 3)
    traded: defaultdict[tuple[str, ...], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 3)
    for position in evidence.documents[POSITIONS]:
        values = position["exact"]
        figures = (values["quantity"], values["cash_flow"], values["commission"])
        key = (position["strategy_name"], position["account_id"], position["symbol"])
        held[key] = [total + figure for total, figure in zip(held[key], figures, strict=True)]
    orders = {order["_id"]: order for order in evidence.orders}
    for row in evidence.executions:
        order = orders.get(row["client_order_id"])
        if order is None:
            continue  # told by another check
        signed = Decimal(row["quantity"]) * (1 if row["side"] == "BUY" else -1)
        money = -signed * Decimal(row["price"]) * order["multiplier"]
        charged = Decimal(row["commission"] or 0)
        key = (order["strategy_name"], order["account_id"], order["symbol"])
        traded[key] = [total + figure for total, figure in zip(traded[key], (signed, money, charged), strict=True)]
    for place in sorted(held.keys() | traded.keys()):
        for name, ours, theirs in zip(("quantity", "cash flow", "commission"), held[place], traded[place], strict=True):
            if ours != theirs:
                yield f"{' / '.join(place)}: {name} {ours} in the positions, {theirs} in the executions"


def _confirmations(evidence: Evidence) -> Iterable[str]:
    """The newest confirmation of each order, and its document, say what the order says."""
    newest: dict[str, Row] = {}
    for message in evidence.confirmations:
        known = newest.get(message["client_order_id"])
        if known is None or message["revision"] > known["revision"]:
            newest[message["client_order_id"]] = message
    documents = {document["client_order_id"]: document for document in evidence.documents[CONFIRMATIONS]}
    for order in evidence.orders:
        for what, found in (("confirmation", newest.get(order["_id"])), ("document", documents.get(order["_id"]))):
            if found is None:
                yield f"{order['signal_id']} has no {what}"
                continue
            for name in ("status", "reason_code", "filled_quantity", "avg_fill_price", "commission"):
                if not _same(order[name], found[name]):
                    yield f"{order['signal_id']}: the {what} says {name} {found[name]}, the order {order[name]}"


def _signals(evidence: Evidence) -> Iterable[str]:
    """`signal_store` says what the orders say."""
    signals = {document["signal_id"]: document for document in evidence.documents[SIGNALS]}
    for order in evidence.orders:
        told = signals.get(order["signal_id"], {}).get("execution_status")
        if told != order["status"]:
            yield f"{order['signal_id']}: signal_store says {told}, the order {order['status']}"


def _ends(evidence: Evidence, planned: Sequence[Planned]) -> Iterable[str]:
    orders = {order["signal_id"]: order for order in evidence.orders}
    for item in planned:
        found = end_of(orders[item.signal_id]) if item.signal_id in orders else "missing"
        if found != item.end:
            yield f"{item.signal_id} ({item.about}): {found}, not {item.end}"


def end_of(order: Row) -> str:
    """The order's status, with its reason code where there is one."""
    return order["status"] if order["reason_code"] is None else f"{order['status']} / {order['reason_code']}"


def _same(exact_value: object, shown: object) -> bool:
    """Whether a value of the journal and one of a document, where a number is a double, are the same."""
    if isinstance(exact_value, Decimal) and isinstance(shown, int | float):
        return float(exact_value) == float(shown)
    return exact_value == shown


_CHECKS: Final[tuple[tuple[str, Callable[[Evidence], Iterable[str]]], ...]] = (
    ("every order is at the broker exactly once, or was provably never placed", _once),
    ("the broker's executions = our fills = the orders' figures", _fills),
    ("executions = positions: quantity, money and commission", _positions),
    ("the confirmations, published and stored, say what the orders say", _confirmations),
    ("signal_store says what the orders say", _signals),
)
