"""Brokers that send an order wrongly, or say the wrong thing of what came of sending it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from decimal import Decimal
from typing import ClassVar
from uuid import uuid4

from exec_broker_mock.broker import CAPABILITIES
from exec_broker_mock.conformance import MockVenue
from exec_core.broker import Placed
from exec_core.capabilities import Idempotency
from exec_core.errors import ConnectionFailed, NotSent, OrderRejected, OrderUnsupported
from exec_core.identifiers import ClientOrderId
from exec_core.instruments import AssetClass
from exec_core.orders import Order, OrderType, TimeInForce
from exec_core.sides import Side

from teeth.wrapping import Wrapper, broken


class Translating(Wrapper):
    """Sends what `translated` makes of the order."""

    def translated(self, order: Order) -> Order:
        raise NotImplementedError

    async def place_order(self, order: Order) -> Placed:
        return await super().place_order(self.translated(order))


def asking(order: Order, **changes: object) -> Order:
    """The order with another request."""
    request = replace(order.request, **changes)
    return replace(order, request=request, quantity=request.quantity)


@broken(200, fault="sends a STOP_LIMIT order as a STOP order: the limit is lost")
class LosesTheLimit(Translating):
    def translated(self, order: Order) -> Order:
        if order.request.order_type is not OrderType.STOP_LIMIT:
            return order
        return asking(order, order_type=OrderType.STOP, limit_price=None)


@broken(
    200,
    fault="does not declare STOP orders, and sends them all the same when it is asked without the guard",
    capabilities=replace(CAPABILITIES, order_types=CAPABILITIES.order_types - {OrderType.STOP}),
)
class HidesWhatItCan(Wrapper):
    pass


@broken(210, fault="sends every order as good for the day, whatever its time in force")
class OnlyForTheDay(Translating):
    def translated(self, order: Order) -> Order:
        return asking(order, time_in_force=TimeInForce.DAY)


@broken(220, fault="declares futures, and cannot send them")
class DeclaresTooMuch(Wrapper):
    async def place_order(self, order: Order) -> Placed:
        if order.request.instrument.asset_class is AssetClass.FUTURE:
            raise OrderUnsupported("There is no word for futures")
        return await super().place_order(order)


@broken(230, fault="leaves the time in force to the venue, whose own default is not the one that is declared")
class ForgetsTheDefault(Translating):
    def translated(self, order: Order) -> Order:
        return asking(order, time_in_force=order.request.time_in_force or TimeInForce.GTC)


@broken(240, 830, fault="passes a price through a binary float")
class FloatsThePrice(Translating):
    def translated(self, order: Order) -> Order:
        price = order.request.limit_price
        return order if price is None else asking(order, limit_price=Decimal(float(price)))


@broken(250, fault="cuts a fraction off the quantity, although it declares fractions")
class CutsFractions(Translating):
    def translated(self, order: Order) -> Order:
        quantity = order.request.quantity
        return order if quantity is None else asking(order, quantity=max(quantity // 1, Decimal(1)))


@broken(260, fault="reckons an amount of money into a quantity itself, at a price that it remembers")
class ReckonsCash(Translating):
    def translated(self, order: Order) -> Order:
        cash = order.request.cash_quantity
        return order if cash is None else asking(order, cash_quantity=None, quantity=max(cash // 100, Decimal(1)))


@broken(270, fault="sends a combination, which it does not declare, without its legs")
class DropsTheLegs(Translating):
    def translated(self, order: Order) -> Order:
        return asking(order, legs=())


@broken(
    280,
    fault="takes an answer for that to the last order sent: orders sent together get the same broker order id",
    stands_for="Lean.IB #242: ids that point to two orders",
)
class MixesUpAnswers(Wrapper):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.under_way = 0
        self.last: Placed | None = None
        self.is_idle = asyncio.Event()

    async def place_order(self, order: Order) -> Placed:
        self.under_way += 1
        self.is_idle.clear()
        try:
            self.last = await super().place_order(order)
        finally:
            self.under_way -= 1
            if not self.under_way:
                self.is_idle.set()
        await self.is_idle.wait()
        return self.last


@broken(
    290,
    fault="declares that the venue answers a second send with the first order, which it does not",
    capabilities=replace(CAPABILITIES, idempotency=Idempotency.DEDUPLICATES),
)
class DeclaresIdempotency(Wrapper):
    pass


@broken(
    200,
    300,
    665,
    680,
    fault="carries our client order id on purchases only: sales go out under an id that it makes up",
    stands_for="nautilus #4970: executions that are not tied to our id",
)
class MakesUpIdsOfSales(Translating):
    def translated(self, order: Order) -> Order:
        if order.request.side is Side.BUY:
            return order
        return replace(order, client_order_id=ClientOrderId(uuid4().hex))


@broken(500, fault="drops the venue's reason for refusing an order")
class DropsTheReason(Wrapper):
    async def place_order(self, order: Order) -> Placed:
        try:
            return await super().place_order(order)
        except OrderRejected as error:
            raise OrderRejected("Order rejected") from error


@broken(
    180,
    530,
    540,
    fault="says that an order was rejected when the line broke before the answer",
    stands_for="hummingbot #493, #6901, #7294: a time-out on placing counted as a failure, and the order was live",
)
class RejectsOnALostAnswer(Wrapper):
    async def place_order(self, order: Order) -> Placed:
        try:
            return await super().place_order(order)
        except ConnectionResetError as error:
            raise OrderRejected(f"The order failed: {error}") from error


@broken(
    180,
    530,
    fault="says that an order was not sent when the line broke before the answer",
    stands_for='Zerodha forum 41029: "got the exception and also the order got placed"; ccxt #2599, #7411',
)
class SaysNotSentOnALostAnswer(Wrapper):
    async def place_order(self, order: Order) -> Placed:
        try:
            return await super().place_order(order)
        except ConnectionResetError as error:
            raise ConnectionFailed(f"The line broke: {error}") from error


@broken(
    180,
    530,
    540,
    560,
    fault="sends an order again when the line broke before the answer",
    stands_for='Lean.TradeStation #67, catalyst #317: a retry loop, "Ordering again"',
)
class SendsAgain(Wrapper):
    async def place_order(self, order: Order) -> Placed:
        try:
            return await super().place_order(order)
        except ConnectionResetError:
            return await super().place_order(order)


@broken(
    550,
    fault="says that an order was rejected when the bound on the call is over",
    stands_for="hummingbot #493; vn.py's contract, by which a send that failed is a rejection",
)
class RejectsOnATimeOut(Wrapper):
    async def place_order(self, order: Order) -> Placed:
        try:
            return await super().place_order(order)
        except asyncio.CancelledError as error:
            raise OrderRejected("Timed out") from error


@broken(
    150,
    170,
    190,
    fault="says that an order was rejected when it could not be sent, for want of a line or of a login",
    stands_for="hummingbot, where any exception on placing is a failure of the order",
)
class RejectsWhenOutOfReach(Wrapper):
    async def place_order(self, order: Order) -> Placed:
        try:
            return await super().place_order(order)
        except NotSent as error:
            raise OrderRejected(str(error)) from error


class SilentVenue(MockVenue):
    """The mock's venue, of which one can know that it will not answer."""

    silent: ClassVar[set[str]] = set()

    async def hang_next(self) -> None:
        await super().hang_next()
        self.silent.add(self.config.account_id)


def block() -> None:
    """What an SDK does that knows nothing of loops: longer than a card waits, and not for ever."""
    time.sleep(1.5)


@broken(
    820,
    fault="holds the loop while it waits for the venue's answer",
    stands_for="kiteconnect, which blocks",
    venue=SilentVenue,
)
class BlocksTheLoop(Wrapper):
    async def place_order(self, order: Order) -> Placed:
        if self.config.account_id not in SilentVenue.silent:
            return await super().place_order(order)
        SilentVenue.silent.discard(self.config.account_id)
        answer = asyncio.ensure_future(super().place_order(order))
        await asyncio.sleep(0)  # the order is on its way
        try:
            block()
            return await answer
        finally:
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)
