"""Cards on cancels, modifications and ends: a cancel is a wish; what a person makes of an order at the venue is
followed; an order ends when the venue says so."""

from __future__ import annotations

from contextlib import suppress

import pytest

from exec_core.errors import CancelRejected, ConnectionFailed
from exec_core.money import ZERO
from exec_core.orders import Order, OrderStatus
from exec_core.reports import ReportStatus
from exec_core.testing.brokers.base import BrokerSuite
from exec_core.testing.cards import card
from exec_core.testing.stage import Stage
from exec_core.testing.venue import Ability


class CancelCards(BrokerSuite):
    """How orders end."""

    @card(400)
    async def test_cancel(self, stage: Stage) -> None:
        """An order that is cancelled before anything traded ends CANCELLED, with nothing filled.

        Prerequisite: an order that works at the venue.
        Action: cancel it.
        Expected: the order ends, as CANCELLED, and has no execution; the venue shows it as cancelled.
        If this fails: check that `cancel_order` reaches the venue with the venue's own id of the order, and that the
        end is told as an `OrderReport` with CANCELLED: a returned call alone ends nothing. Check which of the venue's
        words mean that the remainder is off the market.
        Catches: Lean #2143, Lean.TradeStation #66, #91: orders that stood at "cancel pending" for ever.
        """
        session = await stage.session()
        order = stage.new_order()
        await session.place(order)
        await session.cancel(order)
        await _until_ended(stage, order, OrderStatus.CANCELLED)
        assert stage.followed(order).fills == {}
        assert (await stage.at_venue(order)).status is ReportStatus.CANCELLED

    @card(410)
    async def test_cancel_keeps_fills(self, stage: Stage) -> None:
        """An order that is cancelled after a part of it traded ends CANCELLED and keeps that part.

        Prerequisite: an order of which a third has just been executed.
        Action: cancel it.
        Expected: the order ends as CANCELLED, and its filled quantity is what was executed, told before or after the
        end; nothing more comes later.
        If this fails: check that executions are told for their own sake, also those that are seen together with the
        end or after it, and that the end of an order does not stop you from looking for them.
        Catches: hummingbot #3374 and pysystemtrade #1580: orders taken for dead had traded, and nobody booked it.
        """
        session = await stage.session()
        part = stage.tradable.quantity
        order = stage.new_order(quantity=3 * part)
        await session.place(order)
        await stage.venue.fill((await stage.at_venue(order)).broker_order_id, part, stage.tradable.price)
        await session.cancel(order)
        await _until_ended(stage, order, OrderStatus.CANCELLED)
        await stage.until(lambda: stage.is_booked(order), "the execution of the cancelled order was told")
        await stage.all_told(session)
        assert stage.followed(order).status is OrderStatus.CANCELLED
        assert stage.followed(order).filled_quantity == part
        assert await stage.is_booked(order)

    @card(420)
    async def test_cancel_of_filled_order(self, stage: Stage) -> None:
        """A cancel that comes after the fill changes nothing: the order is FILLED.

        Prerequisite: an order that has just been executed completely.
        Action: ask for a cancel at once, and again when the fill has been told.
        Expected: each time `CancelRejected`, or nothing; the order is FILLED, and no other end was ever told of it.
        If this fails: check that the venue's "too late to cancel", "not open" or "not found" becomes `CancelRejected`
        and is never turned into an end of the order: it says nothing of what became of it. A client library may
        invent "cancelled" when a cancel is refused: read what the venue said. An answer of the venue that says no is
        not a lost line either: `ConnectionFailed` makes the core ask again, for ever.
        Catches: freqtrade #11461, passivbot #514: a filled order was seen as cancelled, and sent again.
        """
        session = await stage.session()
        order = stage.new_order()
        await session.place(order)
        quantity = stage.tradable.quantity
        await stage.venue.fill((await stage.at_venue(order)).broker_order_id, quantity, stage.tradable.price)
        with suppress(CancelRejected):
            await session.cancel(order)
        await stage.until(lambda: stage.followed(order).status is OrderStatus.FILLED, "the order was FILLED")
        with suppress(CancelRejected):
            await session.cancel(order)
        await stage.all_told(session)
        assert stage.followed(order).status is OrderStatus.FILLED
        assert stage.followed(order).end is None, "an end was told of an order that was filled"
        assert await stage.is_booked(order)

    @card(430)
    async def test_cancel_of_unknown_order(self, stage: Stage) -> None:
        """A cancel of an order that the venue never had is refused, or does nothing; and it sends nothing.

        Prerequisite: an order that was written down as sent, and never reached the venue (a process that was killed).
        Action: cancel it.
        Expected: within the bound on a call `CancelRejected`, or nothing. No end is told of the order, since the
        venue said nothing about it; and the venue does not have it afterwards.
        If this fails: check that `cancel_order` does not wait for the report of an order that nobody has, and that
        "not found" becomes `CancelRejected`: neither an end of the order nor `ConnectionFailed`, after which the
        core would ask again. The end of such an order is proven by `find_order` alone.
        Catches: Lean.IB PR #248, #256: "not found" was waited on for five minutes, then the strategy was stopped.
        """
        session = await stage.session(call_timeout_seconds=stage.patience_seconds)
        order = stage.new_order()
        stage.follower.sending(order)
        with suppress(CancelRejected):
            await session.cancel(order)
        await stage.all_told(session)
        assert await stage.all_at_venue(order.client_order_id) == []
        assert not stage.followed(order).status.is_final, "an end was told of an order that the venue never had"

    @card(440, needs=[Ability.HOLD_CANCEL])
    async def test_fill_crosses_cancel(self, stage: Stage) -> None:
        """An order that is filled while a cancel is under way ends FILLED.

        Prerequisite: an order of which a third was executed.
        Action: cancel it; before the venue acts on that, the rest is executed, in two parts.
        Expected: the order ends FILLED, with each execution booked once.
        If this fails: check that an order is followed as before while its cancel is under way: fills go on until the
        venue says that the remainder is off the market.
        Catches: nautilus PR #4974: a status of its own for a pending cancel, and no way back from it.
        """
        session = await stage.session()
        part = stage.tradable.quantity
        order = stage.new_order(quantity=3 * part)
        await stage.venue.hold_cancels()
        await session.place(order)
        name = (await stage.at_venue(order)).broker_order_id
        await stage.venue.fill(name, part, stage.tradable.price)
        await session.cancel(order)
        for _ in range(2):
            await stage.venue.fill(name, part, stage.tradable.price)
        await stage.until(lambda: stage.followed(order).status is OrderStatus.FILLED, "the order was FILLED")
        await stage.all_told(session)
        assert stage.followed(order).status is OrderStatus.FILLED
        assert await stage.is_booked(order)

    @card(450, needs=[Ability.HOLD_CANCEL])
    async def test_cancel_is_only_a_wish(self, stage: Stage) -> None:
        """An order is not cancelled until the venue says that it is.

        Prerequisite: an order that works at the venue, which takes cancels and does not act on them yet.
        Action: cancel it; later the cancel takes effect.
        Expected: the call returns when the cancel was taken. After everything is told that happened until then, the
        order is still open; it ends as CANCELLED when the venue has acted.
        If this fails: check that neither the answer to the cancel nor a word like "cancel pending" is told as
        CANCELLED, and that `cancel_order` does not wait for the end of the order.
        Catches: ib_insync #363, pysystemtrade #1580: set to cancelled at once, and filled afterwards.
        """
        session = await stage.session()
        order = stage.new_order()
        await stage.venue.hold_cancels()
        await session.place(order)
        await session.cancel(order)
        await stage.all_told(session)
        assert stage.followed(order).status is OrderStatus.SUBMITTED
        known = await stage.at_venue(order)
        assert known.is_open
        await stage.venue.cancel(known.broker_order_id)
        await _until_ended(stage, order, OrderStatus.CANCELLED)

    @card(460, needs=[Ability.LOSE_CANCEL])
    async def test_lost_answer_to_cancel(self, stage: Stage) -> None:
        """A cancel whose answer is lost is not a refused one, and the end of the order is still told.

        Prerequisite: an order that works at the venue.
        Action: cancel it; the venue acts on that, and the line breaks before an answer.
        Expected: the call raises `ConnectionFailed` or returns, and never raises `CancelRejected`, which only the
        venue can say. The order ends as CANCELLED without being asked for: in this session, or in the next one.
        If this fails: check the ``except`` around the cancel: an error of the line is none of the venue's answers.
        Check that what happened during a break is told afterwards.
        Catches: nautilus #3879, #4152: cancels failed in an outage, ends were made up, and orders stacked up.
        """
        session = await stage.session()
        order = stage.new_order()
        await session.place(order)
        await stage.venue.lose_next_cancel()
        try:
            await session.cancel(order)
        except CancelRejected as error:
            pytest.fail(f"nobody refused the cancel, its answer was lost, but the adapter raised {error!r}")
        except ConnectionFailed:
            pass  # honest as well: it was perhaps not asked, and is to be asked again
        await stage.through(
            session, lambda _: stage.followed(order).status.is_final, "the end of the order was told after the break"
        )
        assert stage.followed(order).status is OrderStatus.CANCELLED
        assert stage.followed(order).fills == {}

    @card(470)
    async def test_cancelled_by_a_person(self, stage: Stage) -> None:
        """An order that somebody else takes off the market is told as CANCELLED.

        Prerequisite: an order that works at the venue.
        Action: a person cancels it there; the session did not ask for it.
        Expected: the order ends as CANCELLED.
        If this fails: check that reports are read for every order of the account, not only for those about which a
        call is under way, and that a cancel you did not ask for is not told as a refusal.
        """
        session = await stage.session()
        order = stage.new_order()
        await session.place(order)
        await stage.venue.cancel((await stage.at_venue(order)).broker_order_id)
        await _until_ended(stage, order, OrderStatus.CANCELLED)
        assert stage.followed(order).fills == {}

    @card(475, needs=[Ability.MODIFY])
    async def test_modified_by_a_person(self, stage: Stage) -> None:
        """What a person makes of an order at the venue is told: its new quantity, and its new price.

        Prerequisite: an order that works at the venue.
        Action: a person lowers its quantity; then, if the order has a limit, moves that; then lowers the quantity again
        while no session is entered.
        Expected: each becomes known, the last in the next session; the order works on.
        If this fails: check that every report of an order that works, is held or filled carries `OrderTerms`: the
        quantity of the whole order (not what remains of it) and the prices, as they are now; also those that a session
        begins with. A polled adapter must report a row again whose terms alone have changed.
        Catches: orders that were modified at the broker, and were believed to be what had been sent.
        """
        session = await stage.session()
        part, step = stage.tradable.quantity, stage.tradable.price_increment
        order = stage.new_order(quantity=3 * part)
        await session.place(order)
        name = (await stage.at_venue(order)).broker_order_id
        await stage.venue.modify(name, quantity=2 * part)
        await stage.until(lambda: stage.followed(order).quantity == 2 * part, "the lowered quantity was told")
        if order.request.limit_price is not None:
            moved = order.request.limit_price - 2 * step
            await stage.venue.modify(name, limit_price=moved)
            await stage.until(
                lambda: (known := stage.followed(order).modified) and known.limit_price == moved,
                "the limit that was moved was told",
            )
        await session.leave()
        await stage.venue.modify(name, quantity=part)
        await stage.session()
        await stage.until(
            lambda: stage.followed(order).quantity == part,
            "a new session told the quantity that was lowered while nobody listened",
        )
        assert stage.followed(order).status is OrderStatus.SUBMITTED

    @card(480, needs=[Ability.EXPIRE])
    async def test_expired(self, stage: Stage) -> None:
        """An order that ends with its time in force is told as EXPIRED, not as CANCELLED.

        Prerequisite: an order that works at the venue.
        Action: the venue ends it at the end of its time in force.
        Expected: the order ends as EXPIRED.
        If this fails: check which of the venue's words, or which reason beside "cancelled", means the end of the time
        in force. A person who reads CANCELLED looks for somebody who did it.
        """
        session = await stage.session()
        order = stage.new_order()
        await session.place(order)
        await stage.venue.expire((await stage.at_venue(order)).broker_order_id)
        await _until_ended(stage, order, OrderStatus.EXPIRED)
        assert stage.followed(order).fills == {}

    @card(485, needs=[Ability.MODIFY])
    async def test_lowered_order_is_complete(self, stage: Stage) -> None:
        """An order whose quantity a person has lowered is complete when that much is filled.

        Prerequisite: an order that works at the venue, for three times the quantity.
        Action: execute a third; a person lowers the order to two thirds; execute another third.
        Expected: the order ends as FILLED, with two thirds filled, and nothing remains of it.
        If this fails: check that the terms told are those of now, and that their quantity is that of the whole order.
        An order that is believed to have something left is cancelled in vain, or waited for in vain.
        """
        session = await stage.session()
        part, price = stage.tradable.quantity, stage.tradable.price
        order = stage.new_order(quantity=3 * part)
        await session.place(order)
        name = (await stage.at_venue(order)).broker_order_id
        await stage.venue.fill(name, part, price)
        await stage.venue.modify(name, quantity=2 * part)
        await stage.venue.fill(name, part, price - stage.tradable.price_increment)
        await _until_ended(stage, order, OrderStatus.FILLED)
        followed = stage.followed(order)
        assert (followed.quantity, followed.filled_quantity) == (2 * part, 2 * part)

    @card(490)
    async def test_cancel_from_a_new_session(self, stage: Stage) -> None:
        """An order of an earlier session can be cancelled by its ids alone.

        Prerequisite: an order was placed, and the session was left.
        Action: enter a new session, which has not seen the order, and cancel it.
        Expected: the order ends as CANCELLED, here and at the venue.
        If this fails: check that `cancel_order` works from the ids in the order (or finds the venue's id by our client
        order id), and not from a memory of what this session placed. After a restart every open order is one that
        this session did not place.
        Catches: nautilus #4970, #5057: orders of the previous session could not be managed any more.
        """
        first = await stage.session()
        order = stage.new_order()
        await first.place(order)
        await first.leave()
        second = await stage.session()
        await second.cancel(order)
        await _until_ended(stage, order, OrderStatus.CANCELLED)
        assert (await stage.at_venue(order)).status is ReportStatus.CANCELLED
        assert stage.followed(order).filled_quantity == ZERO


async def _until_ended(stage: Stage, order: Order, status: OrderStatus) -> None:
    """Wait for an end of the order; it must be this one."""
    await stage.until(lambda: stage.followed(order).status.is_final, f"the order ended, as {status}")
    assert stage.followed(order).status is status
