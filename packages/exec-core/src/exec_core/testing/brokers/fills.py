"""Cards on executions: each is booked once, digit for digit, whenever it comes; its commission is told or unknown."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import pytest

from exec_core.fills import Fill
from exec_core.orders import Order, OrderStatus
from exec_core.reports import FillReport
from exec_core.sides import Side
from exec_core.testing.brokers.base import BrokerSuite
from exec_core.testing.cards import card
from exec_core.testing.session import Session
from exec_core.testing.stage import Stage
from exec_core.testing.venue import Ability, Tradable, VenueExecution

#: Wires tell the time in whole seconds, or whole minutes; a wrong time zone is off by a quarter of an hour at least.
_SAME_TIME: Final = timedelta(minutes=2)


class FillCards(BrokerSuite):
    """What is executed."""

    @card(300)
    @pytest.mark.parametrize("side", Side)
    async def test_full_fill(self, stage: Stage, side: Side) -> None:
        """An order that is executed in one go is filled, with its quantity and price, on its side.

        Prerequisite: an order rests at the venue.
        Action: execute all of it; once for a purchase, once for a sale.
        Expected: the order counts as filled, by one execution of its quantity at its price, and the execution's side
        is the order's.
        If this fails: check that the stream of reports yields a `FillReport` per execution, and not only the order's
        state: a status never books a quantity; and that the side is read from the execution, whatever word the venue
        uses for it.
        """
        session = await stage.session()
        order = await _resting(stage, session, 1, side=side)
        await _fill(stage, order, 1)
        await _until_status(stage, order, OrderStatus.FILLED)
        followed = stage.followed(order)
        assert followed.filled_quantity == order.quantity
        # Whether the venue got the right side is the business of another card.
        assert [fill.side for fill in followed.own_fills] == [(await stage.at_venue(order)).side]
        _check_near(followed.average_price, stage.tradable.price, stage.tradable)

    @card(310)
    async def test_partial_fills_add_up(self, stage: Stage) -> None:
        """Executions in parts add up: to the quantity, to the average price, and to the status in between.

        Prerequisite: an order rests at the venue.
        Action: execute it in three parts of different sizes at different prices.
        Expected: after the first and the second part the order is partly filled, with what was executed so far; after
        the third it is filled; its average price is the venue's, weighted by quantity.
        If this fails: check that a `FillReport` carries the quantity and the price of that execution, not the order's
        cumulative quantity or average price, and that a status such as "partly filled" is not taken for an end.
        Catches: openalgo #1987 (the average price of an order was not that of its executions); Zerodha forum 33971 (a
        partial execution that was told after the order was complete).
        """
        session = await stage.session()
        order = await _resting(stage, session, 6)
        unit, filled = stage.tradable.quantity, 0
        for parts, increments in ((1, 0), (2, 10), (3, 30)):
            await _fill(stage, order, parts, better_by=increments)
            filled += parts
            await _until_quantity(stage, order, filled)
            status = OrderStatus.FILLED if filled == 6 else OrderStatus.PARTIALLY_FILLED
            assert stage.followed(order).status is status
        parts_paid = [(execution.quantity, execution.price) for execution in await _executions(stage, order)]
        average = sum((quantity * price for quantity, price in parts_paid), Decimal(0)) / (6 * unit)
        _check_near(stage.followed(order).average_price, average, stage.tradable)

    @card(320)
    async def test_figures_are_the_venues(self, stage: Stage) -> None:
        """An execution is told digit for digit, and with the venue's own time, on every way it is told.

        Prerequisite: an order rests at the venue; in fractions, where the plugin declares them.
        Action: execute it in parts whose quantities and prices a float cannot hold; look the order up.
        Expected: each report of an execution, on the stream and in the answer to the look-up, has the quantity and
        price of the venue's books, equal as `Decimal`, and the venue's time, in UTC.
        If this fails: check that figures are made from the wire's text, or from the shortest text of a float
        (``Decimal(str(value))``), never by ``Decimal(value)`` of a float, and never computed from cumulative figures
        or averages; and that the venue's time is read in the venue's time zone.
        """
        session = await stage.session()
        tradable = _finest(stage)
        step = tradable.quantity_increment
        quantities = [tradable.quantity + times * step for times in (1, 2, 4)]
        order = stage.new_order(tradable, quantity=sum(quantities, Decimal(0)))
        await session.place(order)
        known = await stage.at_venue(order)
        for quantity, increments in zip(quantities, (1, 3, 7), strict=True):
            price = tradable.price - increments * tradable.price_increment
            await stage.venue.fill(known.broker_order_id, quantity, price)
        await stage.all_told(session)
        found = await session.broker.find_order(stage.followed(order))
        times = {(one.quantity, one.price): one.time for one in await _executions(stage, order)}
        heard = _told_of(stage, order, session.fills)
        assert {(fill.quantity, fill.price) for fill in heard} == set(times)
        for fill in (*heard, *_told_of(stage, order, found.fills)):
            assert (type(fill.quantity), type(fill.price)) == (Decimal, Decimal)
            assert (fill.quantity, fill.price) in times
            assert abs(fill.time - times[fill.quantity, fill.price]) < _SAME_TIME

    @card(330)
    async def test_execution_ids(self, stage: Stage) -> None:
        """Each execution has one id, wherever and whenever it is told, and is therefore booked once.

        Prerequisite: an order rests at the venue.
        Action: execute two parts of it that differ in nothing, neither in quantity nor in price; look the order up;
        leave the session, and enter a new one.
        Expected: two executions are booked, under the venue's two ids, and they stay two after the look-up and after
        what the new session tells of them again.
        If this fails: check that `Fill.execution_id` is the venue's id of the execution: not a counter, not a random
        one, not made of time and figures (two equal executions in one second are two); and that the stream,
        `find_order` and the replay take it from the same field.
        Catches: nautilus PR #3493 and #3046 (executions were booked again under another id after a restart); hummingbot
        #1663 (stream and look-up recorded one trade twice).
        """
        session = await stage.session()
        order = await _resting(stage, session, 3)
        for _ in range(2):
            await _fill(stage, order, 1)
        await stage.all_told(session)
        names = {execution.execution_id for execution in await _executions(stage, order)}
        assert set(stage.followed(order).fills) == names
        await session.find(order)
        assert set(stage.followed(order).fills) == names
        await session.leave()
        session = await stage.session()
        await stage.all_told(session)
        assert set(stage.followed(order).fills) == names
        assert stage.followed(order).filled_quantity == 2 * stage.tradable.quantity

    @card(340)
    async def test_commission(self, stage: Stage) -> None:
        """The commission of an execution is the venue's, or is marked as an estimate.

        Prerequisite: an order rests at the venue.
        Action: execute two parts of it.
        Expected: for each execution that the venue bills, its amount and currency become known, with the execution or
        apart from it; a figure that the adapter computes itself is marked `estimated`. Where the venue bills nothing,
        nothing but an estimate is told.
        If this fails: check where the venue tells the commission, that its sign is "what it cost" (a rebate is
        negative), that the currency is that of the commission and not of the price, and that a placeholder such as -1
        or 1.797e308 is not taken for an amount.
        Catches: nautilus PR #4230 (a placeholder of -1 became the commission).
        """
        session = await stage.session()
        order = await _resting(stage, session, 2)
        for better_by in (0, 10):
            await _fill(stage, order, 1, better_by=better_by)
        billed = Counter(one.commission for one in await _executions(stage, order) if one.commission is not None)

        def is_told() -> bool:
            known = stage.followed(order).commissions.values()
            estimates = sum(commission.estimated for commission in known)
            return (billed - Counter(known)).total() <= estimates

        await stage.until(is_told, f"these commissions are told, or estimated: {list(billed.elements())}")
        await stage.all_told(session)
        told = Counter(one for one in stage.followed(order).commissions.values() if not one.estimated)
        assert told <= billed

    @card(350, needs=[Ability.BILL_LATE])
    async def test_commission_billed_late(self, stage: Stage) -> None:
        """A commission that is not billed yet is unknown, never zero, and is known once it is billed.

        Prerequisite: the venue bills apart from the execution; an order rests there.
        Action: execute all of the order; later, bill it.
        Expected: the order is filled and its commission is unknown (or marked `estimated`); after the bill it is the
        venue's, although the order was final long before.
        If this fails: check that a missing commission becomes None, and not 0; that a `CommissionReport` is made of
        what the venue tells afterwards; and that the adapter does not forget an order, or stop asking, because it is
        filled.
        Catches: ib_async #208 and pysystemtrade PR #1661: commissions that had not come yet were recorded as zero for
        ever.
        """
        await stage.venue.withhold_commissions()
        session = await stage.session()
        order = await _resting(stage, session, 1)
        execution = await _fill(stage, order, 1)
        if execution.commission is not None:
            pytest.fail(f"the venue was told to withhold commissions, and billed {execution.commission}")
        await _until_status(stage, order, OrderStatus.FILLED)
        await stage.all_told(session)
        told = stage.followed(order).commission
        assert told is None or told.estimated
        await stage.venue.bill()
        (billed,) = await _executions(stage, order)
        await stage.until(
            lambda: stage.followed(order).commission == billed.commission,
            f"the commission that was billed is known: {billed.commission}",
        )

    @card(360, needs=[Ability.CORRECT])
    async def test_correction(self, stage: Stage) -> None:
        """A corrected execution replaces the one it corrects.

        Prerequisite: an order that is partly executed.
        Action: the venue corrects the quantity of the execution; then its price.
        Expected: the order has one execution, under the same id, with a higher correction number, and with the figures
        of the last correction; it is partly filled. A new session changes nothing in that.
        If this fails: check that a correction is told under the id of the execution it corrects (without the suffix
        that the venue adds to it), with a `correction` number that rises with each, and that nothing drops it as a
        repetition of an id that is known.
        """
        session = await stage.session()
        order = await _resting(stage, session, 4)
        execution = await _fill(stage, order, 3)
        await _until_quantity(stage, order, 3)
        unit, price = stage.tradable.quantity, stage.tradable.price
        corrected = price - 10 * stage.tradable.price_increment
        await stage.venue.correct(execution.execution_id, 2 * unit, price)
        await _until_quantity(stage, order, 2)
        await stage.venue.correct(execution.execution_id, 2 * unit, corrected)
        for _ in range(2):
            await stage.all_told(session)
            followed = stage.followed(order)
            (fill,) = followed.own_fills
            assert (fill.execution_id, fill.quantity) == (execution.execution_id, 2 * unit)
            assert fill.correction > 0
            _check_near(fill.price, corrected, stage.tradable)
            assert followed.status is OrderStatus.PARTIALLY_FILLED
            await session.leave()
            session = await stage.session()

    @card(370, needs=[Ability.CORRECT])
    async def test_bust(self, stage: Stage) -> None:
        """An execution that the venue takes back no longer counts.

        Prerequisite: an order that is filled by two executions.
        Action: the venue busts the first one.
        Expected: what is filled goes back to the second one's quantity, and the order no longer counts as filled.
        If this fails: check that a bust is told as a correction with quantity 0 under the id of its execution, also
        when the order was complete, and that the adapter does not drop executions of quantity 0 as empty.
        """
        session = await stage.session()
        order = await _resting(stage, session, 3)
        first = await _fill(stage, order, 2)
        await _fill(stage, order, 1)
        await _until_status(stage, order, OrderStatus.FILLED)
        await stage.venue.correct(first.execution_id, Decimal(0), first.price)
        await _until_quantity(stage, order, 1)
        assert stage.followed(order).status is not OrderStatus.FILLED

    @card(380, needs=[Ability.FILL_LATE])
    @pytest.mark.parametrize("end", [OrderStatus.CANCELLED, OrderStatus.FILLED])
    async def test_late_fill(self, stage: Stage, end: OrderStatus) -> None:
        """An execution of an order that has ended is told, and booked: after a cancel, and beyond its quantity.

        Prerequisite: an order that was cancelled at the venue; another one that is filled.
        Action: execute the first in part, and then the rest; execute a part more of the second.
        Expected: the cancelled order stays cancelled with what was executed, and is filled once all of it is; the
        filled one has more executed than was ordered, because that is what the account holds now.
        If this fails: check that the adapter does not forget an order because it ended, and clips no quantity: it tells
        what the venue says, and the core judges it.
        Catches: pysystemtrade #1580 (fifteen orders that were called cancelled were all filled); ib_insync #363;
        nautilus, whose default refuses an execution beyond the quantity and so loses a position.
        """
        session = await stage.session()
        order = await _resting(stage, session, 2)
        if end is OrderStatus.CANCELLED:
            await stage.venue.cancel((await stage.at_venue(order)).broker_order_id)
        else:
            await _fill(stage, order, 2)
        await _until_status(stage, order, end)
        await _fill(stage, order, 1)
        await _until_quantity(stage, order, 1 if end is OrderStatus.CANCELLED else 3)
        assert stage.followed(order).status is end
        if end is OrderStatus.CANCELLED:
            await _fill(stage, order, 1, better_by=10)
            await _until_quantity(stage, order, 2)
            assert stage.followed(order).status is OrderStatus.FILLED

    @card(390)
    async def test_immediate_fill(self, stage: Stage) -> None:
        """An execution that comes before the answer to the order is not lost.

        Prerequisite: a session.
        Action: send an order, and execute all of it as soon as the venue has it, while `place_order` is still under way
        where that can be brought about.
        Expected: the order counts as filled, with its quantity.
        If this fails: check that reports of an order are told also before the adapter knows its broker order id, above
        all that they are not looked up in a table which `place_order` fills after the answer; and that the adapter does
        not begin to listen to an order only then.
        Catches: Lean.IB #189 ("Unable to locate order with BrokerageID": the execution came before the id was noted);
        nautilus #3870 (orders that were filled within 200 ms).
        """
        session = await stage.session()
        order = stage.new_order()
        filling = asyncio.create_task(_fill_on_arrival(stage, order), name="conformance immediate fill")
        try:
            await session.place(order)
            await filling
        finally:
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)
        await _until_status(stage, order, OrderStatus.FILLED)
        assert stage.followed(order).filled_quantity == order.quantity


async def _resting(stage: Stage, session: Session, parts: int, **changes: Any) -> Order:
    """An order for so many times the quantity that can be traded, which the venue has."""
    order = stage.new_order(quantity=parts * stage.tradable.quantity, **changes)
    await session.place(order)
    return order


async def _fill(stage: Stage, order: Order, parts: int, *, better_by: int = 0) -> VenueExecution:
    """Execute so much of the order at the price that can be traded, or so many increments better."""
    known = await stage.at_venue(order)
    tradable = stage.tradable
    price = tradable.price - better_by * tradable.price_increment * order.request.side.sign
    return await stage.venue.fill(known.broker_order_id, parts * tradable.quantity, price)


async def _fill_on_arrival(stage: Stage, order: Order) -> None:
    """Execute all of the order at the first moment at which the venue has it."""
    async with asyncio.timeout(stage.patience_seconds):
        while not await stage.all_at_venue(order.client_order_id):  # noqa: ASYNC110  # the venue's truth makes no noise
            # The next turn of the loop, not the next look of `until`: the answer is on its way already.
            await asyncio.sleep(0)
    await _fill(stage, order, 1)


async def _executions(stage: Stage, order: Order) -> tuple[VenueExecution, ...]:
    """The order's executions in the venue's books."""
    return (await stage.at_venue(order)).executions


async def _until_status(stage: Stage, order: Order, status: OrderStatus) -> None:
    await stage.until(lambda: stage.followed(order).status is status, f"the order is {status}")


async def _until_quantity(stage: Stage, order: Order, parts: int) -> None:
    expected = parts * stage.tradable.quantity
    await stage.until(
        lambda: stage.followed(order).filled_quantity == expected,
        f"{expected} of the order are booked, no more or less",
    )


def _finest(stage: Stage) -> Tradable:
    """What can be traded in fractions, if there is something; else whatever can be traded."""
    capabilities = stage.plugin.capabilities
    fractional = sorted(capabilities.fractional_quantity & capabilities.asset_classes)
    return stage.venue.tradable(fractional[0]) if fractional else stage.tradable


def _told_of(stage: Stage, order: Order, reports: Iterable[FillReport]) -> list[Fill]:
    """The executions of an order among these reports, with repeats."""
    followed = stage.followed(order)
    return [
        report.fill
        for report in reports
        if report.client_order_id == order.client_order_id or report.broker_order_id in followed.broker_order_ids
    ]


def _check_near(told: Decimal | None, expected: Decimal, tradable: Tradable) -> None:
    """The same price to the increment; digit for digit is the business of one card alone."""
    assert told is not None
    assert abs(told - expected) < tradable.price_increment / 2
