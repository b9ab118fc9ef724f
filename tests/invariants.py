"""What must be true whatever happened: the venue's book, our journal, positions and confirmations tell one story.

Recomputed from the raw documents with fractions, by other code than the service's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from exec_service.stores import Document
from harness import World

Row = Mapping[str, Any]


@dataclass
class Findings:
    """What was counted, and what is wrong (nothing, one hopes)."""

    orders: int
    at_broker: int
    not_placed: int
    fills: int
    by_status: Mapping[str, int]
    wrong: Sequence[str]


async def check(world: World, sent: Iterable[str], confirmations: Sequence[Row]) -> Findings:
    """Hold everything against everything; `sent` are the signal ids of the good orders that were published."""
    book = world.book()
    orders = await world.load("orders")
    fills = await world.load("fills")
    positions = await world.load("positions")
    documents = await world.load("execution_confirmations")
    dead = await world.load("dead_letters")
    wrong: list[str] = []
    wrong += _each_once(set(sent), orders, book["orders"])
    wrong += _fills_agree(orders, fills, book["fills"])
    wrong += _positions_agree(fills, orders, positions)
    wrong += _confirmations_agree(orders, documents, confirmations)
    wrong += [f"dead letter: {letter['reason']}" for letter in dead]
    return Findings(
        orders=len(orders),
        at_broker=len(book["orders"]),
        not_placed=sum(order["reason_code"] == "NOT_PLACED" for order in orders),
        fills=len(fills),
        by_status=Counter(order["status"] for order in orders),
        wrong=wrong,
    )


def _each_once(sent: set[str], orders: Sequence[Row], book: Sequence[Row]) -> list[str]:
    """P1: at most one order at the broker per signal; none lost; none that nobody asked for."""
    known = Counter(order["signal_id"] for order in orders)
    wrong = [f"{signal_id}: no order in the journal" for signal_id in sent - set(known)]
    wrong += [f"{signal_id}: an order that nobody sent" for signal_id in set(known) - sent]
    placed = Counter(order["client_order_id"] for order in book)
    wrong += [
        f"{client_order_id}: {count} orders at the broker" for client_order_id, count in placed.items() if count > 1
    ]
    ids = {order["client_order_id"] for order in orders}
    wrong += [
        f"{row['broker_order_id']}: at the broker without an order of ours"
        for row in book
        if row["client_order_id"] not in ids
    ]
    for order in orders:
        at_broker = placed[order["client_order_id"]]
        refused = order["reason_code"] in (
            "NOT_PLACED",
            "STALE",
            "INVALID",
            "CONNECTION_FAILED",
            "UNKNOWN_ACCOUNT",
            "UNSUPPORTED",
        )
        if refused == bool(at_broker):
            wrong.append(
                f"{order['signal_id']}: {order['status']}/{order['reason_code']}, but {at_broker} at the broker"
            )
    return wrong


def _fills_agree(orders: Sequence[Row], fills: Sequence[Row], book: Sequence[Row]) -> list[str]:
    """P3: every execution of the venue is booked exactly once, with its figures, and orders are their sums."""
    ours = {fill["_id"].split("|")[-1]: fill for fill in fills}
    theirs = {row["execution_id"]: row for row in book}
    wrong = [f"execution {name}: not booked" for name in set(theirs) - set(ours)]
    wrong += [f"execution {name}: the venue does not know it" for name in set(ours) - set(theirs)]
    filled: dict[str, Fraction] = defaultdict(Fraction)
    for name in set(ours) & set(theirs):
        fill, row = ours[name], theirs[name]
        filled[fill["client_order_id"]] += Fraction(fill["quantity"])
        if (Fraction(fill["quantity"]), Fraction(fill["price"])) != (_f(row["quantity"]), _f(row["price"])):
            wrong.append(f"execution {name}: {fill['quantity']} @ {fill['price']} is not {row}")
    for order in orders:
        if Fraction(order["filled_quantity"] or 0) != filled[order["client_order_id"]]:
            executed = filled[order["client_order_id"]]
            wrong.append(f"{order['signal_id']}: filled {order['filled_quantity']}, executions {executed}")
        if (
            order["status"] == "FILLED"
            and order["quantity"] is not None
            and order["filled_quantity"] != order["quantity"]
        ):
            wrong.append(f"{order['signal_id']}: FILLED with {order['filled_quantity']} of {order['quantity']}")
    return wrong


def _positions_agree(fills: Sequence[Row], orders: Sequence[Row], positions: Sequence[Row]) -> list[str]:
    """Positions are the sums of the executions: quantity, cash, commission; and PnL follows from them."""
    by_order = {order["client_order_id"]: order for order in orders}
    quantity: dict[tuple[Any, ...], Fraction] = defaultdict(Fraction)
    cash: dict[tuple[Any, ...], Fraction] = defaultdict(Fraction)
    commission: dict[tuple[Any, ...], Fraction] = defaultdict(Fraction)
    for fill in fills:
        order = by_order[fill["client_order_id"]]
        key = (order["strategy_name"], order["account_id"], order["symbol"])
        signed = Fraction(fill["quantity"]) * (1 if fill["side"] == "BUY" else -1)
        quantity[key] += signed
        cash[key] -= signed * Fraction(fill["price"]) * Fraction(order["multiplier"])
    for order in orders:
        key = (order["strategy_name"], order["account_id"], order["symbol"])
        commission[key] += Fraction(order["commission"] or 0)
    held: dict[tuple[Any, ...], Fraction] = defaultdict(Fraction)
    flow: dict[tuple[Any, ...], Fraction] = defaultdict(Fraction)
    paid: dict[tuple[Any, ...], Fraction] = defaultdict(Fraction)
    still_open: Counter[tuple[Any, ...]] = Counter()
    wrong: list[str] = []
    for position in positions:
        key = (position["strategy_name"], position["account_id"], position["symbol"])
        exact = position["exact"]
        held[key] += Fraction(exact["quantity"])
        flow[key] += Fraction(exact["cash_flow"])
        paid[key] += Fraction(exact["commission"])
        still_open[key] += position["status"] != "CLOSED"
        expected = Fraction(exact["cash_flow"]) + Fraction(exact["cost"]) * Fraction(exact["multiplier"])
        if abs(expected - Fraction(exact["realized_pnl"])) > Fraction(1, 10**12):
            wrong.append(f"position {key}: realized {exact['realized_pnl']}, from cash {float(expected)}")
    for key in {*quantity, *held}:
        if quantity[key] != held[key]:
            wrong.append(f"position {key}: holds {held[key]}, executions say {quantity[key]}")
        if abs(cash[key] - flow[key]) > Fraction(1, 10**12):
            wrong.append(f"position {key}: cash flow {float(flow[key])}, executions say {float(cash[key])}")
        if abs(commission[key] - paid[key]) > Fraction(1, 10**12):
            wrong.append(f"position {key}: commission {float(paid[key])}, orders say {float(commission[key])}")
        if still_open[key] > 1:
            wrong.append(f"position {key}: {still_open[key]} open at once")
    return wrong


def _confirmations_agree(orders: Sequence[Row], documents: Sequence[Row], confirmations: Sequence[Row]) -> list[str]:
    """The last confirmation of each order, by revision, is the order's state, and so is its document."""
    wrong: list[str] = []
    latest: dict[str, Row] = {}
    arrived: dict[str, int] = {}
    for message in confirmations:
        key = message["client_order_id"]
        if message["revision"] < arrived.get(key, 0) and message["revision"] not in _seen(confirmations, key):
            wrong.append(f"{message['signal_id']}: revision {message['revision']} came after {arrived[key]}")
        arrived[key] = max(arrived.get(key, 0), message["revision"])
        if key not in latest or message["revision"] >= latest[key]["revision"]:
            latest[key] = message
    stored = {document["client_order_id"]: document for document in documents}
    for order in orders:
        for name, found in (("confirmation", latest), ("document", stored)):
            other = found.get(order["client_order_id"])
            if other is None:
                wrong.append(f"{order['signal_id']}: no {name}")
                continue
            for field in ("status", "filled_quantity", "avg_fill_price", "commission", "order_id", "reason_code"):
                mine, theirs = order[field], other[field]
                if field == "order_id" and theirs is None and order["status"] == "REJECTED":
                    continue  # learnt after the refusal was confirmed; an id alone publishes nothing
                same = mine == theirs or (mine is not None and theirs is not None and _close(mine, theirs))
                if not same:
                    wrong.append(f"{order['signal_id']}: {field} is {mine} in the order, {theirs} in the {name}")
    return wrong


def _seen(confirmations: Sequence[Row], key: str) -> set[int]:
    """Revisions that came more than once: at least once is the promise, so a repetition may come late."""
    counts = Counter(message["revision"] for message in confirmations if message["client_order_id"] == key)
    return {revision for revision, count in counts.items() if count > 1}


def _close(mine: object, theirs: object) -> bool:
    try:
        return abs(_f(mine) - _f(theirs)) <= Fraction(1, 10**9)
    except (TypeError, ValueError):
        return False


def _f(value: Any) -> Fraction:
    return Fraction(str(value))


def open_documents(documents: Iterable[Document]) -> list[Document]:
    """The positions that are not closed."""
    return [document for document in documents if document["status"] != "CLOSED"]
