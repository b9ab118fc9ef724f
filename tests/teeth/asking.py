"""Brokers that answer a question wrongly: look-ups, lists, money; and that take a cancel for what it is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from exec_core.broker import AccountSummary, BrokerPosition, Found, Placed, Snapshot, View
from exec_core.errors import CancelRejected
from exec_core.orders import Order
from exec_core.reports import OrderReport, Report, ReportStatus

from teeth.wrapping import Remembering, Wrapper, broken

OPEN = frozenset({ReportStatus.HELD, ReportStatus.WORKING})


def everything() -> View:
    """The boldest claim that a view can make."""
    return View(datetime.now(UTC), complete=True, covers_from=datetime(2000, 1, 1, tzinfo=UTC))


# Cancels


class Asserting(Wrapper):
    """Tells reports of its own making among those of the venue."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.made_up: list[Report] = []

    def assert_cancelled(self, order: Order) -> None:
        """Take it for granted that the order was cancelled; it is told with the next report."""
        self.made_up.append(OrderReport(ReportStatus.CANCELLED, order.client_order_id, order.broker_order_id))

    async def reports(self) -> AsyncIterator[Report]:
        async for report in super().reports():
            yield report
            while self.made_up:
                yield self.made_up.pop(0)


@broken(400, 410, 460, 490, fault="never sends a cancel", stands_for="alpaca #199: pending_cancel all day")
class NeverCancels(Wrapper):
    async def cancel_order(self, order: Order) -> None:
        await self.inner.find_order(order)


@broken(
    420,
    430,
    fault="tells CANCELLED when the venue refuses a cancel",
    stands_for="freqtrade #11461, passivbot #514: a filled order is seen as cancelled; Lean.IB's 10147",
)
class TakesRefusedForDone(Asserting):
    async def cancel_order(self, order: Order) -> None:
        try:
            await super().cancel_order(order)
        except CancelRejected:
            self.assert_cancelled(order)


@broken(
    450,
    fault="takes a cancel that was asked for done",
    stands_for="Lean #2143, Lean.IB PR #256: a cancel that was accepted is not one that was made",
)
class TakesAskedForDone(Asserting):
    async def cancel_order(self, order: Order) -> None:
        await super().cancel_order(order)
        self.assert_cancelled(order)


@broken(460, fault="calls a cancel refused whose answer was lost")
class CallsALostCancelRefused(Wrapper):
    async def cancel_order(self, order: Order) -> None:
        try:
            await super().cancel_order(order)
        except ConnectionResetError as error:
            raise CancelRejected(str(error)) from error


# Look-ups


@broken(
    600,
    610,
    730,
    fault="finds an order by the broker's id only, and claims that any other is absent",
    stands_for="nautilus #4958: the look-up needed the broker's id, and only ours was known",
)
class FindsByBrokerIdOnly(Wrapper):
    async def find_order(self, order: Order) -> Found:
        found = await super().find_order(order)
        return found if order.broker_order_ids else Found(found.view)


@broken(
    610,
    fault="looks among the open orders only, and claims to cover all",
    stands_for="nautilus #3870: an order that was filled in 200 ms was not in the open list, and counted as rejected",
)
class LooksAmongOpenOrdersOnly(Wrapper):
    async def find_order(self, order: Order) -> Found:
        found = await super().find_order(order)
        shown = tuple(one for one in found.orders if one.status in OPEN)
        return Found(found.view, shown, found.fills if shown else ())


@broken(
    620,
    730,
    fault="looks for an order in its own memory of what it sent in this session",
    stands_for="nautilus #4970, ib_insync #416: orders of another session are invisible",
)
class FindsItsOwnOnly(Wrapper):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.sent: set[str] = set()

    async def place_order(self, order: Order) -> Placed:
        self.sent.add(order.client_order_id)
        return await super().place_order(order)

    async def find_order(self, order: Order) -> Found:
        found = await super().find_order(order)
        return found if order.client_order_id in self.sent else Found(found.view)


@broken(
    630,
    fault="tells an order that it does not find as CANCELLED",
    stands_for="freqtrade's startup_update_open_orders: what is not found counts as cancelled",
)
class EndsOnAbsence(Wrapper):
    async def find_order(self, order: Order) -> Found:
        found = await super().find_order(order)
        if found.has_trace:
            return found
        return replace(found, orders=(OrderReport(ReportStatus.CANCELLED, order.client_order_id),))


@broken(
    640,
    fault="answers a look-up that failed with an empty one",
    stands_for="nautilus PR #4230: a request that timed out became an empty list",
)
class FindsNothingOnAnError(Wrapper):
    async def find_order(self, order: Order) -> Found:
        try:
            return await super().find_order(order)
        except ConnectionResetError:
            return Found(everything())


@broken(
    650,
    fault="claims that an answer in part is complete",
    stands_for="nautilus #3870, #4160: a view in part is read as absence",
)
class ClaimsCompleteness(Wrapper):
    async def find_order(self, order: Order) -> Found:
        found = await super().find_order(order)
        return replace(found, view=replace(found.view, complete=True))


# Lists and money


@broken(
    640,
    fault="answers a list of open orders that failed with an empty one",
    stands_for="nautilus PR #4230: get_open_orders() turned a time-out into an empty list",
)
class ListsNothingOnAnError(Wrapper):
    async def open_orders(self) -> Snapshot[OrderReport]:
        try:
            return await super().open_orders()
        except ConnectionResetError:
            return Snapshot((), View(datetime.now(UTC), complete=True, covers_from=None))


@broken(660, fault="lists orders as open that have ended", stands_for="Lean.TradeStation #66: orders that never go")
class ListsWhatHasEnded(Wrapper):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.listed: dict[object, OrderReport] = {}

    async def place_order(self, order: Order) -> Placed:
        placed = await super().place_order(order)
        name = placed.broker_order_id
        self.listed[name] = OrderReport(placed.status, order.client_order_id, name)
        return placed

    async def open_orders(self) -> Snapshot[OrderReport]:
        listed = await super().open_orders()
        names = {one.broker_order_id for one in listed.items}
        ended = tuple(one for name, one in self.listed.items() if name not in names)
        return replace(listed, items=(*listed.items, *ended))


@broken(
    670,
    675,
    fault="lists only the orders that are ours",
    stands_for="ib_insync #416: orders of another client id",
)
class ListsOnlyOurs(Remembering):
    async def open_orders(self) -> Snapshot[OrderReport]:
        listed = await super().open_orders()
        return replace(listed, items=tuple(one for one in listed.items if one.client_order_id in self.ours))


@broken(680, fault="lists a short position as a long one")
class HoldsUnsigned(Wrapper):
    async def positions(self) -> Snapshot[BrokerPosition]:
        held = await super().positions()
        return replace(held, items=tuple(replace(one, quantity=abs(one.quantity)) for one in held.items))


@broken(690, 830, fault="tells the account's money in floats")
class FloatsMoney(Wrapper):
    async def account(self) -> AccountSummary:
        money: Any = await super().account()
        return replace(money, cash=None if money.cash is None else float(money.cash))
