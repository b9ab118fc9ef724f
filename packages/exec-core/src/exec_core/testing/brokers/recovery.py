"""Cards on coming back: what happened while nobody listened is told, once, and nothing is sent again."""

from __future__ import annotations

from contextlib import suppress

import pytest

from exec_core.errors import BrokerError
from exec_core.orders import Order, OrderStatus
from exec_core.reports import FillReport
from exec_core.sides import Side
from exec_core.testing.brokers.base import BrokerSuite
from exec_core.testing.cards import card
from exec_core.testing.session import Session
from exec_core.testing.stage import Stage
from exec_core.testing.venue import Ability


class RecoveryCards(BrokerSuite):
    """What was missed."""

    @card(700)
    async def test_filled_while_away(self, stage: Stage) -> None:
        """An order that was filled while nobody was connected is told as filled on entering.

        Prerequisite: an order was placed, and the session was left.
        Action: it is executed, in two parts; then a new session is entered.
        Expected: both executions are told, and the order is FILLED, without anybody asking for it.
        If this fails: check that entering a session asks for what the venue still knows, executions of ended orders
        too, and hands it to `reports`, as if it happened now.
        Catches: ib_insync #130, #416, Lean.IB #249: what ended while away was never heard of.
        """
        part = stage.tradable.quantity
        order, name = await _placed_and_left(stage, parts=2)
        for _ in range(2):
            await stage.venue.fill(name, part, stage.tradable.price)
        await stage.session()
        await stage.until(lambda: stage.followed(order).status is OrderStatus.FILLED, "the order was told as FILLED")
        assert await stage.is_booked(order)

    @card(710)
    async def test_cancelled_while_away(self, stage: Stage) -> None:
        """An order that was cancelled while nobody was connected is told as cancelled on entering.

        Prerequisite: an order was placed, and the session was left.
        Action: a third of it is executed, and a person cancels the rest; then a new session is entered.
        Expected: the execution and the end are told: the order is CANCELLED, with what was executed.
        If this fails: check that entering a session tells of orders that ended, not only of those that are open: "not
        among the open orders" ends nothing.
        Catches: ib_insync #130: orders that finished while away stayed open for ever.
        """
        order, name = await _placed_and_left(stage, parts=3)
        await stage.venue.fill(name, stage.tradable.quantity, stage.tradable.price)
        await stage.venue.cancel(name)
        await stage.session()
        await stage.until(
            lambda: stage.followed(order).status is OrderStatus.CANCELLED, "the order was told as CANCELLED"
        )
        await stage.until(lambda: stage.is_booked(order), "the execution before the end was told")

    @card(720)
    async def test_partly_filled_while_away(self, stage: Stage) -> None:
        """Executions before, during and after an absence add up, and none counts twice.

        Prerequisite: an order of which a third was executed, which was told; then the session was left.
        Action: another third is executed; a new session is entered, and the last third is executed.
        Expected: the order is FILLED with exactly the three executions that the venue made, at their prices.
        If this fails: check that an execution bears the same id whenever it is told: as it happens, in the replay on
        entering, and in a look-up. Never tell "what is missing" as an execution of your own making.
        Catches: nautilus PR #3493, #3046: a made-up fill, and then the real one; a replay that booked all again.
        """
        first = await stage.session()
        part, price, step = stage.tradable.quantity, stage.tradable.price, stage.tradable.price_increment
        order = stage.new_order(quantity=3 * part)
        await first.place(order)
        name = (await stage.at_venue(order)).broker_order_id
        await stage.venue.fill(name, part, price)
        await stage.until(lambda: stage.followed(order).filled_quantity == part, "the first execution was told")
        await first.leave()
        await stage.venue.fill(name, part, price - step)
        second = await stage.session()
        await stage.until(lambda: stage.followed(order).filled_quantity == 2 * part, "the second execution was told")
        await second.find(order)
        await stage.venue.fill(name, part, price - 2 * step)
        await stage.until(lambda: stage.followed(order).status is OrderStatus.FILLED, "the order was FILLED")
        await stage.all_told(second)
        assert stage.followed(order).filled_quantity == 3 * part
        assert await stage.is_booked(order)

    @card(730)
    async def test_lost_answer_then_new_session(self, stage: Stage) -> None:
        """An order whose answer was lost is found by a new session, and no view ever proves it absent.

        Prerequisite: an order that the venue took, and whose answer was lost.
        Action: look for it, at once and in a new session.
        Expected: a trace of it in the new session. No answer on the way lacks the trace in a view that proves absence
        since the send: that would end a live order as "not placed".
        If this fails: check `covers_from` and `complete`: a view covers the send only if every order accepted since
        would be in it, whatever became of it; and `find_order` must see what came in by another connection.
        Catches: freqtrade, Zerodha forum 41029: "not found" was an answer, although nobody had looked everywhere.
        """
        first = await stage.session()
        order = stage.new_order()
        await stage.venue.lose_next_answer(taken=True)
        sent_at = stage.follower.clock()
        with suppress(BrokerError):  # which of them it may be is the subject of another card
            await first.place(order)

        async def has_trace(current: Session) -> bool:
            found = await current.broker.find_order(stage.followed(order))
            assert found.has_trace or not found.view.proves_absence_since(sent_at), "a live order was proven absent"
            return found.has_trace

        first = await stage.through(first, has_trace, "the order was found after the break")
        await first.leave()
        second = await stage.session()
        await stage.until(lambda: has_trace(second), "the order was found in a new session")

    @card(740, needs=[Ability.BY_HAND])
    async def test_strangers(self, stage: Stage) -> None:
        """What a person trades by hand is told, as none of ours, and disturbs nothing.

        Prerequisite: an order of ours works at the venue.
        Action: a person enters an order for the same instrument, and both are executed.
        Expected: the person's execution is told without the id of an order of ours; our order has its own execution
        only, and is FILLED; the session lives on.
        If this fails: check that a report is tied to our order by our id or by the broker's, and never by symbol,
        side and quantity, and that an order without our id raises nothing.
        Catches: nautilus #4970, Lean.IB #242: executions tied to the wrong order, or to none.
        """
        session = await stage.session()
        order = stage.new_order()
        quantity, price = stage.tradable.quantity, stage.tradable.price
        await session.place(order)
        stranger = await stage.venue.trade_by_hand(stage.tradable, Side.BUY, 2 * quantity)
        await stage.venue.fill(stranger.broker_order_id, 2 * quantity, price)
        await stage.venue.fill((await stage.at_venue(order)).broker_order_id, quantity, price)
        await stage.until(lambda: stage.followed(order).status is OrderStatus.FILLED, "our order was FILLED")

        def is_told() -> bool:
            told = [report.fill for report in stage.follower.strangers if isinstance(report, FillReport)]
            return any(fill.quantity == 2 * quantity for fill in told)

        await stage.until(is_told, "the person's execution was told, as none of ours")
        await stage.all_told(session)
        assert not session.is_over
        assert await stage.is_booked(order)

    @card(750)
    async def test_working_orders_are_taken_up(self, stage: Stage) -> None:
        """A new session follows the orders that work to their end, and sends none of them again.

        Prerequisite: two orders were placed, and the session was left.
        Action: enter a new session; then one order is executed and the other is cancelled.
        Expected: the venue holds each order once, before and after; they end FILLED and CANCELLED.
        If this fails: check that nothing is placed on entering, and that orders which this session did not place are
        watched like its own.
        Catches: nautilus #5057: orders of the session before could not be managed any more.
        """
        first = await stage.session()
        filled, cancelled = stage.new_order(), stage.new_order()
        await first.place(filled)
        await first.place(cancelled)
        await first.leave()
        second = await stage.session()
        await stage.all_told(second)
        for order in (filled, cancelled):
            assert (await stage.at_venue(order)).is_open
            assert not stage.followed(order).status.is_final
        name = (await stage.at_venue(filled)).broker_order_id
        await stage.venue.fill(name, stage.tradable.quantity, stage.tradable.price)
        await stage.venue.cancel((await stage.at_venue(cancelled)).broker_order_id)
        await stage.until(lambda: stage.followed(filled).status is OrderStatus.FILLED, "the first order was FILLED")
        await stage.until(
            lambda: stage.followed(cancelled).status is OrderStatus.CANCELLED, "the second order was CANCELLED"
        )
        assert await stage.is_booked(filled)
        assert await stage.is_booked(cancelled)

    @card(760, needs=[Ability.NEW_DAY])
    @pytest.mark.parametrize("end", ["filled", "cancelled"])
    async def test_absence_on_another_day(self, stage: Stage, end: str) -> None:
        """A view of today proves nothing about an order of yesterday.

        Prerequisite: an order that ended, which was told; then the session was left.
        Action: a new day begins at the venue, with an empty book; look for the order in a new session.
        Expected: a trace, or none in a view that does not prove absence since the order was sent.
        If this fails: check that `covers_from` is the start of the venue's present day, by the venue's clock, where
        that is all it shows.
        Catches: Zerodha forum 49314: yesterday's order is "not found".
        """
        first = await stage.session()
        order = stage.new_order()
        sent_at = stage.follower.clock()
        await first.place(order)
        name = (await stage.at_venue(order)).broker_order_id
        if end == "filled":
            await stage.venue.fill(name, stage.tradable.quantity, stage.tradable.price)
        else:
            await stage.venue.cancel(name)
        await stage.until(lambda: stage.followed(order).status.is_final, "the end of the order was told")
        await first.leave()
        await stage.venue.begin_new_day()
        second = await stage.session()
        found = await second.broker.find_order(stage.followed(order))
        assert found.has_trace or not found.view.proves_absence_since(sent_at)

    @card(770)
    async def test_filled_while_the_line_was_cut(self, stage: Stage) -> None:
        """What happens while the line is cut for a moment is told when it is back.

        Prerequisite: an order of which a third was executed, which was told.
        Action: the line is cut, another third is executed, and the line is back; then the rest is executed.
        Expected: every execution is told once, in this session if it mends its line, or in the next one; the order is
        FILLED.
        If this fails: check that a line that came back is followed by the same replay as on entering, that nothing
        heard during the trouble is dropped, and that a session which cannot mend its line ends its reports.
        Catches: Lean.IB #249: fills during a broken line were dropped, and nobody asked for them afterwards.
        """
        session = await stage.session()
        part, price, step = stage.tradable.quantity, stage.tradable.price, stage.tradable.price_increment
        order = stage.new_order(quantity=3 * part)
        await session.place(order)
        name = (await stage.at_venue(order)).broker_order_id
        await stage.venue.fill(name, part, price)
        await stage.until(lambda: stage.followed(order).filled_quantity == part, "the first execution was told")
        await stage.venue.disconnect()
        await stage.venue.fill(name, part, price - step)
        await stage.venue.reconnect()
        session = await stage.through(
            session,
            lambda _: stage.followed(order).filled_quantity == 2 * part,
            "the execution during the break was told",
        )
        await stage.venue.fill(name, part, price - 2 * step)
        await stage.through(
            session, lambda _: stage.followed(order).status is OrderStatus.FILLED, "the order was FILLED"
        )
        assert await stage.is_booked(order)

    @card(780, needs=[Ability.EXPIRE])
    async def test_expired_while_away(self, stage: Stage) -> None:
        """An order that expired while nobody was connected is told as expired on entering.

        Prerequisite: an order was placed, and the session was left.
        Action: the venue ends it at the end of its time in force; then a new session is entered.
        Expected: the order is EXPIRED, with nothing filled.
        If this fails: check that entering a session tells of orders that ended, with the same words as during a
        session: the venue's record of an ended order may say less than the report of its end did.
        """
        order, name = await _placed_and_left(stage, parts=1)
        await stage.venue.expire(name)
        await stage.session()
        await stage.until(lambda: stage.followed(order).status.is_final, "the end of the order was told")
        assert stage.followed(order).status is OrderStatus.EXPIRED
        assert stage.followed(order).fills == {}


async def _placed_and_left(stage: Stage, *, parts: int) -> tuple[Order, str]:
    """An order of so many parts that works at the venue while nobody is connected, and the venue's id of it."""
    session = await stage.session()
    order = stage.new_order(quantity=parts * stage.tradable.quantity)
    await session.place(order)
    await session.leave()
    return order, (await stage.at_venue(order)).broker_order_id
