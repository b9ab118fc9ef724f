"""Whether what was measured was right: a fast wrong answer is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from harness import Real
from pymongo import MongoClient

from bench.load import QUANTITY


class Wrong(Exception):
    """What was measured is not what was asked for."""


def check(real: Real, published: Mapping[str, tuple[str, str]], *, may_be_refused: int = 0) -> None:
    """Compare the store with what was published: the account and symbol of each order, by signal.

    Every order once and FILLED, one execution and one confirmation document each, and positions that add up;
    `may_be_refused` of them may have ended otherwise (caught by a kill, and proven absent).

    :raises Wrong: something is not so.
    """
    with MongoClient[dict[str, Any]](real.mongodb_uri) as client:
        database = client[real.database]
        orders = list(database["orders"].find({}, {"signal_id": 1, "status": 1}))
        fills = list(database["fills"].find({}, {"signal_id": 1, "account_id": 1, "symbol": 1, "quantity": 1}))
        positions = list(database["positions"].find({}, {"account_id": 1, "symbol": 1, "quantity": 1}))
        told = list(database["execution_confirmations"].find({}, {"signal_id": 1, "status": 1}))
    mine = [row for row in orders if row["signal_id"] in published]
    _once("order", (row["signal_id"] for row in mine), published)
    refused = {row["signal_id"] for row in mine if row["status"] != "FILLED"}
    if len(refused) > may_be_refused:
        raise Wrong(f"{len(refused)} orders are not FILLED, such as {min(refused)}")
    filled = {name: place for name, place in published.items() if name not in refused}
    _once("execution", (row["signal_id"] for row in fills if row["signal_id"] in published), filled)
    _once("confirmation document", (row["signal_id"] for row in told if row["signal_id"] in published), published)
    unlike = [row["signal_id"] for row in told if row["signal_id"] in filled and row["status"] != "FILLED"]
    if unlike:
        raise Wrong(f"{len(unlike)} confirmation documents do not say FILLED, such as that of {min(unlike)}")
    _positions(filled, fills, positions)


def _once(what: str, found: Iterable[str], wanted: Iterable[str]) -> None:
    """:raises Wrong: something of `wanted` is not among what was found exactly once, or something else is."""
    have, want = Counter(found), Counter(dict.fromkeys(wanted, 1))
    if missing := want - have:
        raise Wrong(f"{len(missing)} orders have no {what}, such as {min(missing)}")
    if extra := have - want:
        raise Wrong(f"{extra.total()} {what}s are too many, such as one of {min(extra)}")


def _positions(
    filled: Mapping[str, tuple[str, str]], fills: Iterable[Mapping[str, Any]], positions: Iterable[Mapping[str, Any]]
) -> None:
    """Every execution is in its position. Others than ours may have traded there too: those are in `fills`."""
    wanted = {place: count * QUANTITY for place, count in Counter(filled.values()).items()}
    executed: Counter[tuple[str, str]] = Counter()
    for row in fills:
        if row["signal_id"] in filled:
            executed[(row["account_id"], row["symbol"])] += float(str(row["quantity"]))  # type: ignore[assignment]
    held: Counter[tuple[str, str]] = Counter()
    for row in positions:
        held[(row["account_id"], row["symbol"])] += float(row["quantity"])  # type: ignore[assignment]
    for place, quantity in wanted.items():
        if executed[place] != quantity or held[place] != quantity:
            raise Wrong(
                f"{place[1]} in {place[0]}: {quantity:g} were ordered, {executed[place]:g} executed, and the position "
                f"is {held[place]:g}"
            )
