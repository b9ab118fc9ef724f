"""What must be true at the end of a run: the project's own checks (``tests/invariants.py``), and what only a run with
known points can tell: who may end NOT_PLACED, what was sent how often, and by which evidence orders have ended."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from invariants import check

from crash.scenarios import AT_THE_BROKER, FINAL, NOT_PLACED, Scenario
from crash.world import World

Row = Mapping[str, Any]
#: Collections that a start with nothing new leaves as they are.
UNTOUCHED = ("orders", "fills", "positions", "execution_confirmations", "signal_store", "outbox", "dead_letters")


async def judge(
    world: World, scenario: Scenario, sent: Counter[str], caught: set[str], late: AbstractSet[str] = frozenset()
) -> list[str]:
    """What is wrong; nothing, one hopes. `late`: orders that came to the broker after twice their sender's lease."""
    confirmations = list(await world.listen())
    findings = await check(world, set(world.published), confirmations)  # type: ignore[arg-type]
    orders = await world.load("orders")
    dead = await world.load("dead_letters")
    wrong = [
        line for line in findings.wrong if not line.startswith("dead letter") and not _is_known(line, orders, late)
    ]
    if len(dead) != scenario.dead_letters:
        reasons = "; ".join(letter["reason"] for letter in dead)
        wrong.append(f"{len(dead)} dead letters, not {scenario.dead_letters}: {reasons}")
    wrong += [f"{name}: sent {count} times" for name, count in sent.items() if count > 1]
    for order in orders:
        is_late = order["signal_id"] in late
        wrong += _ends_rightly(order, scenario, caught, is_late)
        wrong += _history(order, is_late)
        wrong += await _alarmed(world, order) if is_late else []
    wrong += _each_change_confirmed(orders, confirmations)
    wrong += await _people_heard(world, orders, late)
    return wrong


async def told(world: World) -> dict[str, Any]:
    """All that a start with nothing new must leave as it is."""
    stored = {name: sorted(await world.load(name), key=lambda one: one["_id"]) for name in UNTOUCHED}
    published = len(await world.listen())
    return {**stored, "published": published, "notified": len(world.heard), "at the broker": world.book()}


def _is_known(line: str, orders: Sequence[Row], late: AbstractSet[str]) -> bool:
    """Whether it is about an order that was confirmed as given up and then came late: that it works now is alarmed,
    and no status that is confirmed to consumers."""
    resting = {row["signal_id"] for row in orders if row["status"] == "SUBMITTED"} & late
    name, _, rest = line.partition(": ")
    return name in resting and rest.endswith(" in the confirmation")


def _ends_rightly(order: Row, scenario: Scenario, caught: set[str], is_late: bool) -> list[str]:
    """The order has ended as its story wants it; only one that was caught while being sent may not be placed."""
    name, end = order["signal_id"], (order["status"], order["reason_code"])
    allowed = scenario.ends.get(name, frozenset())
    if end in allowed or (is_late and end[0] in AT_THE_BROKER):
        return []
    if end == NOT_PLACED:
        return [] if name in caught else [f"{name}: NOT_PLACED, although nothing had caught it while it was being sent"]
    return [f"{name}: ended {end[0]}/{end[1]}, not {' or '.join(f'{one[0]}/{one[1]}' for one in sorted(allowed))}"]


def _history(order: Row, is_late: bool) -> list[str]:
    """Each step is a revision of its own; what has ended stays so, and ended for a reason that counts.

    Only an order that came late may have been given up for absent before it ends otherwise.
    """
    name, history = order["signal_id"], list(order["history"])
    wrong = []
    revisions = [entry["revision"] for entry in history]
    if sorted(set(revisions)) != revisions or (revisions and revisions[-1] != order["revision"]):
        wrong.append(f"{name}: revision {order['revision']}, with the history {revisions}")
    ended: Row | None = None
    if is_late and order["reason_code"] != "NOT_PLACED":
        history = [entry for entry in history if entry["evidence"] != "ABSENCE"]
    for entry in history:
        if entry["event"].startswith("illegal"):
            wrong.append(f"{name}: {entry['event']}")
        if ended is not None and entry["status"] != ended["status"]:
            wrong.append(f"{name}: {ended['status']} by {ended['evidence']}, then {entry['status']}")
        if ended is None and entry["status"] in FINAL:
            ended = entry
    was_sent = any(entry["event"] == "about to be sent" for entry in history)
    evidence = None if ended is None else ended["evidence"]
    allowed = {"SERVICE"} if not was_sent else {"ABSENCE" if order["reason_code"] == "NOT_PLACED" else "DEFINITIVE"}
    if history and evidence not in allowed and not (is_late and order["status"] in AT_THE_BROKER):
        wrong.append(f"{name}: {order['status']}/{order['reason_code']} by the evidence {evidence}")
    return wrong


def _each_change_confirmed(orders: Sequence[Row], confirmations: Sequence[Row]) -> list[str]:
    """What has been filled only grows from confirmation to confirmation, by revision."""
    wrong = []
    by_order: dict[str, dict[int, Row]] = defaultdict(dict)
    for message in confirmations:
        by_order[message["client_order_id"]][message["revision"]] = message
    for order in orders:
        filled = [one["filled_quantity"] or 0 for _, one in sorted(by_order[order["client_order_id"]].items())]
        if sorted(filled) != filled:
            wrong.append(f"{order['signal_id']}: confirmed as filled {filled}, one after the other")
    return wrong


async def _alarmed(world: World, order: Row) -> list[str]:
    """An order that was given up for absent, and came to the broker all the same, is a matter for people."""
    if all(entry["evidence"] != "ABSENCE" for entry in order["history"]):
        return []
    rows = await world.load("outbox", {"channel": "notifier:listener"})
    texts = [str(row["fields"]) for row in rows if "Attention" in row["title"]]
    return [] if any(order["signal_id"] in text for text in texts) else [f"{order['signal_id']}: came late, no alarm"]


async def _people_heard(world: World, orders: Sequence[Row], late: AbstractSet[str]) -> list[str]:
    """Every notification that was promised was told, and every end of an order was promised."""
    rows = await world.load("outbox", {"channel": "notifier:listener"})
    heard = {notification.id for notification in world.heard}
    promised = {row["notification_id"] for row in rows}
    wrong = [f"notification {name}: promised, never told" for name in sorted(promised - heard)]
    wrong += [f"notification {name}: told, never promised" for name in sorted(heard - promised)]
    titles = Counter(row["title"] for row in rows)
    for status, word in (("FILLED", "Order Filled"), ("REJECTED", "Order Rejected")):
        count = sum(order["status"] == status for order in orders)
        found = sum(number for title, number in titles.items() if word in title)
        if count != found and not (late and found > count):
            wrong.append(f"{count} orders are {status}, {found} notifications say so")
    return wrong
