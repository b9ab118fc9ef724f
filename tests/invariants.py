"""What must be true whatever happened: the venue's book, our journal, positions, confirmations and `signal_store`
tell one story.

Recomputed from the raw documents with fractions, by other code than the service's.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

from exec_service.outbox_rows import DOCUMENT_ID, rows_of
from exec_service.stores import Document
from harness import World

Row = Mapping[str, Any]
#: From when until when.
Period = tuple[datetime, datetime]


@dataclass
class Findings:
    """What was counted, and what is wrong (nothing, one hopes)."""

    orders: int
    at_broker: int
    not_placed: Sequence[str]
    stale: Sequence[str]
    fills: int
    by_status: Mapping[str, int]
    lost: Sequence[str]
    wrong: Sequence[str]


async def check(
    world: World,
    sent: Iterable[str],
    confirmations: Sequence[Row],
    *,
    bus_lost: Sequence[Period] = (),
    refused: Collection[bytes] = (),
    bills: bool = True,
) -> Findings:
    """Hold everything against everything; `sent` are the signal ids of the messages that are orders, bad ones too.

    `bus_lost`: what was delivered to the bus then may have been lost with it; that, and no more, need not be heard.
    `refused`: the messages that must have become dead letters, and no others. `bills`: the venue's book says what
    executions cost; else what the orders say is an estimate, and held against nothing.
    """
    book = await asyncio.to_thread(world.book)
    async with world.store() as store:
        orders = await store.load("orders")
        fills = await store.load("fills")
        positions = await store.load("positions")
        documents = await store.load("execution_confirmations")
        signals = await store.load("signal_store")
        kept = await store.load("outbox", {"channel": "confirmations"})
        outbox = [row for document in kept for row in rows_of(document)]
        dead = await store.load("dead_letters")
    wrong: list[str] = []
    wrong += _each_once(set(sent), orders, book["orders"])
    wrong += _fills_agree(orders, fills, book["fills"])
    wrong += _commissions_agree(orders, book["fills"]) if bills else []
    wrong += _positions_agree(_counting(fills), orders, positions)
    lost, strange = _published(outbox, confirmations, bus_lost)
    wrong += strange
    wrong += _confirmations_agree(orders, documents, confirmations, lost)
    wrong += _signals_agree(orders, signals)
    wrong += _dead_letters_agree(dead, refused)
    return Findings(
        orders=len(orders),
        at_broker=len(book["orders"]),
        not_placed=sorted(order["signal_id"] for order in orders if order["reason_code"] == "NOT_PLACED"),
        stale=sorted(order["signal_id"] for order in orders if order["reason_code"] == "STALE"),
        fills=len(fills),
        by_status=Counter(order["status"] for order in orders),
        lost=sorted(message["confirmation_id"] for message in lost),
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
        ) or not _was_sent(order)
        if refused == bool(at_broker):
            wrong.append(
                f"{order['signal_id']}: {order['status']}/{order['reason_code']}, but {at_broker} at the broker"
            )
    return wrong


def _dead_letters_agree(dead: Sequence[Row], refused: Collection[bytes]) -> list[str]:
    """P4: what is no order is kept as it came; nothing else is."""
    kept = {
        base64.b64decode(letter["body_b64"]) if letter["body"] is None else letter["body"].encode(): letter
        for letter in dead
    }
    wrong = [f"dead letter: {letter['reason']}" for body, letter in kept.items() if body not in refused]
    return wrong + [f"no dead letter: {body[:200]!r}" for body in set(refused) - set(kept)]


def _was_sent(order: Row) -> bool:
    """Whether the order was ever marked as being sent: one that was cancelled before that is at no broker."""
    return any(entry["event"] == "about to be sent" for entry in order["history"])


def _counting(fills: Sequence[Row]) -> list[Row]:
    """The executions without those that a correction has replaced."""
    replaced = {fill["replaces"] for fill in fills}
    return [fill for fill in fills if fill["_id"] not in replaced]


def _name(row: Row) -> str:
    """An execution of the venue, as we name it; its correction is another."""
    return f"{row['execution_id']}#c{row['correction']}" if row["correction"] else str(row["execution_id"])


def _commissions_agree(orders: Sequence[Row], book: Sequence[Row]) -> list[str]:
    """What an order cost is what the venue charged for its executions."""
    charged: dict[str, Fraction] = defaultdict(Fraction)
    for row in book:
        if not row["superseded"]:
            charged[row["client_order_id"]] += _f(row["commission"] or 0)
    return [
        f"{order['signal_id']}: commission {order['commission']}, the venue charged {float(charged[key])}"
        for order in orders
        if abs(Fraction(order["commission"] or 0) - charged[key := order["client_order_id"]]) > Fraction(1, 10**9)
    ]


def _fills_agree(orders: Sequence[Row], fills: Sequence[Row], book: Sequence[Row]) -> list[str]:
    """P3: every execution of the venue is booked exactly once, with its figures, and orders are their sums."""
    ours = {fill["_id"].split("|")[-1]: fill for fill in fills}
    theirs = {_name(row): row for row in book}
    counting = {fill["_id"] for fill in _counting(fills)}
    # One that was corrected before we heard of it is known as corrected only.
    due = {name for name, row in theirs.items() if not row["superseded"]}
    wrong = [f"execution {name}: not booked" for name in due - set(ours)]
    wrong += [f"execution {name}: the venue does not know it" for name in set(ours) - set(theirs)]
    filled: dict[str, Fraction] = defaultdict(Fraction)
    for name in set(ours) & set(theirs):
        fill, row = ours[name], theirs[name]
        filled[fill["client_order_id"]] += Fraction(fill["quantity"]) if fill["_id"] in counting else 0
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
    wrong: list[str] = []
    for fill in fills:
        order = by_order.get(fill["client_order_id"])
        if order is None:
            wrong.append(f"execution {fill['_id']}: of no order of ours")
            continue
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


def _published(
    outbox: Sequence[Row], confirmations: Sequence[Row], bus_lost: Sequence[Period]
) -> tuple[list[Row], list[str]]:
    """What was promised was heard, as promised, and nothing else; what the bus lost comes apart."""
    promised = {row["attributes"]["confirmation_id"]: row for row in outbox}
    excused = {row["_id"] for row in may_be_lost(outbox, bus_lost)}
    heard: dict[str, Row] = {}
    lost: list[Row] = []
    wrong: list[str] = []
    for message in confirmations:
        if heard.setdefault(message["confirmation_id"], message) != message:
            wrong.append(f"confirmation {message['confirmation_id']}: came twice, and differed")
    for name in set(heard) - set(promised):
        wrong.append(f"confirmation {name}: published without a row in the outbox")
    for name, row in promised.items():
        said = json.loads(row["data"])
        if name in heard:
            if heard[name] != said:
                wrong.append(f"confirmation {name}: heard {heard[name]}, promised {said}")
        elif row["delivered_at"] is None:
            wrong.append(f"confirmation {name}: not delivered")
        elif row["_id"] in excused:
            lost.append(said)
        else:
            wrong.append(f"confirmation {name}: delivered at {row['delivered_at']}, never heard")
    return lost, wrong


def may_be_lost(rows: Sequence[Row], bus_lost: Sequence[Period]) -> list[Row]:
    """The delivered rows that a bus may have had, and lost: what came to it then.

    Rows of one document are marked together, with the last of them: one may have been published at any time before.
    """
    documents = Counter(row[DOCUMENT_ID] for row in rows)

    def published(row: Row) -> Period:
        since = row["created_at"] if documents[row[DOCUMENT_ID]] > 1 else row["delivered_at"]
        return since, row["delivered_at"]

    delivered = [(row, *published(row)) for row in rows if row["delivered_at"] is not None]
    return [row for row, since, until in delivered if any(begin <= until and since <= end for begin, end in bus_lost)]


def _signals_agree(orders: Sequence[Row], signals: Sequence[Row]) -> list[str]:
    """`signal_store` has one document per signal (all of one order here), and it shows how the order stands."""
    wrong: list[str] = []
    found: dict[str, list[Row]] = defaultdict(list)
    for signal in signals:
        found[signal["signal_id"]].append(signal)
    wrong += [f"{name}: a signal without an order" for name in set(found) - {order["signal_id"] for order in orders}]
    for order in orders:
        documents = found[order["signal_id"]]
        if len(documents) != 1:
            wrong.append(f"{order['signal_id']}: {len(documents)} documents in signal_store")
            continue
        (signal,) = documents
        if signal["execution_status"] != order["status"]:
            wrong.append(
                f"{order['signal_id']}: {order['status']} in the order, {signal['execution_status']} in signal_store"
            )
        for field in ("filled_quantity", "avg_fill_price", "filled_at", "order_id", "reason_code", "reason"):
            if not _same(order[field], signal[field]):
                wrong.append(
                    f"{order['signal_id']}: {field} is {order[field]} in the order, {signal[field]} in signal_store"
                )
    return wrong


def _confirmations_agree(
    orders: Sequence[Row], documents: Sequence[Row], confirmations: Sequence[Row], lost: Sequence[Row]
) -> list[str]:
    """The last confirmation of each order, by revision, is the order's state, and so is its document."""
    wrong: list[str] = []
    latest: dict[str, Row] = {}
    arrived: dict[str, int] = {}
    repeated = Counter(message["confirmation_id"] for message in confirmations)
    for message in confirmations:
        key = message["client_order_id"]
        # At least once is the promise, so that a repetition may come late.
        if message["revision"] < arrived.get(key, 0) and repeated[message["confirmation_id"]] < 2:
            wrong.append(f"{message['signal_id']}: revision {message['revision']} came after {arrived[key]}")
        arrived[key] = max(arrived.get(key, 0), message["revision"])
    for message in (*confirmations, *lost):
        key = message["client_order_id"]
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
                if not _same(mine, theirs):
                    wrong.append(f"{order['signal_id']}: {field} is {mine} in the order, {theirs} in the {name}")
    return wrong


def _same(mine: object, theirs: object) -> bool:
    return mine == theirs or (mine is not None and theirs is not None and _close(mine, theirs))


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
