"""Cards on answers: refused, lost, repeated, reordered, not understood."""

from __future__ import annotations

import pytest

from exec_core.errors import BrokerError, NotSent, OrderRejected, OutcomeUnknown
from exec_core.orders import Order, OrderStatus
from exec_core.testing.brokers.base import BrokerSuite
from exec_core.testing.cards import card
from exec_core.testing.examining import freeze_alarm
from exec_core.testing.session import Session
from exec_core.testing.stage import Stage
from exec_core.testing.venue import Ability

_REASON = "Insufficient funds: 500.00 more are needed"


class AnswerCards(BrokerSuite):
    """What is known of an order that was sent."""

    @card(500)
    async def test_refused_at_once(self, stage: Stage) -> None:
        """An order that the venue refuses at once raises `OrderRejected`, with the venue's own words.

        Prerequisite: a session; the venue will refuse the next order for a reason.
        Action: send an order.
        Expected: `OrderRejected`, whose message contains the venue's reason. The order stays REJECTED, nothing of it
        is open at the venue, and nothing was sent again.
        If this fails: check that `place_order` waits for the venue's first word on the order, that the venue's
        refusals (and nothing else) become `OrderRejected`, and that the reason is passed on whole: it is all that a
        person gets to read.
        """
        session = await stage.session()
        order = stage.new_order()
        await stage.venue.refuse_next(_REASON)
        with pytest.raises(OrderRejected) as refused:
            await session.place(order)
        assert _REASON in str(refused.value)
        await stage.all_told(session)
        assert stage.followed(order).status is OrderStatus.REJECTED
        known = await stage.all_at_venue(order.client_order_id)
        assert len(known) <= 1
        assert not any(one.is_open for one in known)

    @card(510, needs=[Ability.REJECT_LATE])
    async def test_refused_later(self, stage: Stage) -> None:
        """An order that is refused after it was taken ends REJECTED, with the reason.

        Prerequisite: an order that the venue took.
        Action: the venue (or the exchange behind it) refuses it.
        Expected: the order ends as REJECTED, and its reason contains the venue's.
        If this fails: check that `OrderReport.reason` carries the venue's text, which may come apart from the status
        (as an error message just before it, say), and that a refusal is not told as CANCELLED.
        """
        session = await stage.session()
        order = stage.new_order()
        await session.place(order)
        await stage.venue.reject((await stage.at_venue(order)).broker_order_id, _REASON)
        await stage.until(lambda: stage.followed(order).status.is_final, "the order ended, as REJECTED")
        assert stage.followed(order).status is OrderStatus.REJECTED
        assert _REASON in (stage.followed(order).reason or "")

    @card(520, needs=[Ability.REJECT_LATE])
    async def test_refused_after_a_fill(self, stage: Stage) -> None:
        """A refusal after a part was executed loses nothing of that part.

        Prerequisite: an order of which a third has just been executed.
        Action: the venue refuses it, which can only mean the rest.
        Expected: the refusal is told, and the execution is booked, in whichever order they come; the order is not
        REJECTED, because something was traded. It is CANCELLED if the report says how much was filled, and else open
        and marked for a person.
        If this fails: check that executions are told whatever the order's status, and that the report of the refusal
        carries `filled_quantity`.
        Catches: nautilus #3870, #4160, #4958: a fill of an order that counted as rejected was dropped.
        """
        session = await stage.session()
        part = stage.tradable.quantity
        order = stage.new_order(quantity=3 * part)
        await session.place(order)
        name = (await stage.at_venue(order)).broker_order_id
        await stage.venue.fill(name, part, stage.tradable.price)
        await stage.venue.reject(name, _REASON)
        await stage.until(lambda: stage.followed(order).end is not None, "the refusal was told")
        await stage.until(lambda: stage.is_booked(order), "the execution before the refusal was told")
        await stage.all_told(session)
        assert stage.followed(order).filled_quantity == part
        assert stage.followed(order).status in (OrderStatus.CANCELLED, OrderStatus.PARTIALLY_FILLED)

    @card(530)
    async def test_lost_answer_order_taken(self, stage: Stage) -> None:
        """An order whose answer was lost may be live: it is unknown, it is not sent again, and it is followed.

        Prerequisite: a session.
        Action: send an order; the venue takes it, and the line breaks before an answer. Ask for it until it is known;
        then it is executed.
        Expected: `OutcomeUnknown` (or `Placed`, if the adapter asked the venue and was told): never `OrderRejected`,
        never `NotSent`. The venue holds exactly one order under our id, also afterwards; its execution is told, in
        this session or in the next one.
        If this fails: this is the worst failure there is, for somebody will send the order again. At the ``except``
        around the send ask: could the order be live? After bytes may have left, only an answer of the venue about
        this order says no. Switch off every retry, also those of the client library and of its HTTP adapter.
        Catches: hummingbot #493, #6901, #7294, Lean.TradeStation #67, catalyst #317: a time-out was taken for a
        failure, and the order was sent again.
        """
        session = await stage.session()
        order = stage.new_order()
        await stage.venue.lose_next_answer(taken=True)
        error = await _sent(session, order)
        assert error is None or isinstance(error, OutcomeUnknown), f"the order is live, but the answer was {error!r}"
        known = await stage.at_venue(order)
        session = await _until_known(stage, session, order)
        await stage.venue.fill(known.broker_order_id, stage.tradable.quantity, stage.tradable.price)
        await stage.through(
            session,
            lambda _: stage.followed(order).status is OrderStatus.FILLED,
            "the execution of the order was told, and it was FILLED",
        )
        assert await stage.is_booked(order)

    @card(540)
    async def test_lost_answer_order_not_taken(self, stage: Stage) -> None:
        """An order that was lost on its way is unknown, or proven not to be sent; nobody refused it.

        Prerequisite: a session.
        Action: send an order; the line breaks before the venue takes it.
        Expected: `OutcomeUnknown`, or `NotSent` where that is proven: never `OrderRejected`, never `Placed`. When the
        session is mended, or in the next one, the venue does not have the order, and nothing is told of it.
        If this fails: check that no error of the line becomes a refusal, and that nothing is kept to be sent when the
        line is back: the core alone decides whether an order is sent again.
        Catches: vn.py's contract, by which a send that failed is a rejection.
        """
        session = await stage.session()
        order = stage.new_order()
        await stage.venue.lose_next_answer(taken=False)
        error = await _sent(session, order)
        assert isinstance(error, OutcomeUnknown | NotSent), (
            f"nobody answered, but the outcome was {error or 'Placed'!r}"
        )
        status = stage.followed(order).status
        await stage.all_told(await stage.mended(session))
        assert await stage.all_at_venue(order.client_order_id) == []
        assert stage.followed(order).status is status, "something was told of an order that the venue never had"

    @card(550, needs=[Ability.HANG])
    async def test_never_any_answer(self, stage: Stage) -> None:
        """An order that is never answered is unknown, there is one of it, and it is followed.

        Prerequisite: a session whose calls the core bounds to a fifth of the kit's patience. Where the adapter has a
        time-out of its own, let the venue's `config` set it lower, so that it is put to the test.
        Action: send an order; the venue takes it and says nothing. Ask for it until it is known; then it is executed.
        Expected: `OutcomeUnknown` (or `Placed`, if the adapter learnt otherwise that the venue has it). The venue
        holds exactly one order under our id, and its execution is told, in this session or in the next one.
        If this fails: check that a time-out of yours becomes no refusal and no second attempt, that a cancelled call
        lets go, and that one call without an answer blocks neither the reports nor the calls after it.
        Catches: Lean.IB #93: some orders are never answered at all.
        """
        session = await stage.session(call_timeout_seconds=stage.patience_seconds / 5)
        order = stage.new_order()
        await stage.venue.hang_next()
        with freeze_alarm(3 * stage.patience_seconds):
            error = await _sent(session, order)
        assert error is None or isinstance(error, OutcomeUnknown), f"the order is live, but the answer was {error!r}"
        known = await stage.at_venue(order)
        session = await _until_known(stage, session, order)
        await stage.venue.fill(known.broker_order_id, stage.tradable.quantity, stage.tradable.price)
        await stage.through(
            session,
            lambda _: stage.followed(order).status is OrderStatus.FILLED,
            "the execution of the order was told, and it was FILLED",
        )
        await _is_alone(stage, order)
        assert await stage.is_booked(order)

    @card(560)
    @pytest.mark.parametrize("trouble", ["refused", "lost, and taken", "lost, and not taken"])
    async def test_sent_once(self, stage: Stage, trouble: str) -> None:
        """Whatever becomes of the answer, an order is sent once.

        Prerequisite: a session.
        Action: send an order, which is refused, or whose answer is lost, be it taken or not. Then look for it, hear
        what there is to hear, and do the same in a new session.
        Expected: the venue has taken the order at most once (once, where the answer alone was lost), and has no order
        that we did not send, under whatever id.
        If this fails: look for a loop around the send, for the retries of the client library and of its HTTP adapter,
        for a queue that is flushed when the line is back, and for a look-up that sends what it does not find.
        Catches: Zerodha forum 8124, 41029, ccxt #2599, #7411: "got the exception and also the order got placed".
        """
        session = await stage.session()
        order = stage.new_order()
        if trouble == "refused":
            await stage.venue.refuse_next(_REASON)
        else:
            await stage.venue.lose_next_answer(taken=trouble == "lost, and taken")
        await _sent(session, order)
        session = await stage.mended(session)
        await session.find(order)
        await stage.all_told(session)
        await session.leave()
        session = await stage.session()
        await session.find(order)
        await stage.all_told(session)
        await _is_alone(stage, order)
        if trouble == "lost, and taken":
            await stage.at_venue(order)

    @card(570, needs=[Ability.REPEAT])
    async def test_everything_told_twice(self, stage: Stage) -> None:
        """Reports that the venue tells twice change nothing.

        Prerequisite: a session; the venue tells every report twice.
        Action: one order is executed in two parts, another is executed in part and cancelled.
        Expected: the first ends FILLED, the second CANCELLED, each with exactly the executions that the venue made.
        If this fails: check that the id of an execution is the venue's own and the same in every report of it, never
        a counter, a time or a random number of yours: repeats are recognised by it.
        Catches: nautilus #3046, PR #3493, hummingbot #1663, Lean.Alpaca PR #61: one execution, booked twice.
        """
        session = await stage.session()
        await stage.venue.repeat_reports()
        await _filled_and_cancelled(stage, session)

    @card(580, needs=[Ability.REORDER])
    async def test_told_in_reverse(self, stage: Stage) -> None:
        """Reports that overtake each other give the same orders in the end.

        Prerequisite: a session; the venue tells what is under way together in reverse order.
        Action: one order is executed in two parts, another is executed in part and cancelled.
        Expected: the first ends FILLED, the second CANCELLED, each with exactly the executions that the venue made.
        If this fails: check that you pass on every report as it comes, and keep no state of the order that decides
        what may still be told: an execution after the end is an execution. The core sorts it out.
        Catches: Zerodha forum 33971, Lean.IB #189: a partial fill after the end, a fill before the first answer.
        """
        session = await stage.session()
        await stage.venue.reorder_reports()
        await _filled_and_cancelled(stage, session)

    @card(590, needs=[Ability.UNKNOWN_WORD])
    async def test_unknown_word(self, stage: Stage) -> None:
        """A status that no document names ends no order and no session.

        Prerequisite: an order that works at the venue.
        Action: the venue says a word of it that nobody knows; later the order is executed.
        Expected: the order stays open and the session lives on; the execution is told, and the order is FILLED.
        If this fails: check that the table of the venue's words has a default, that the default is WORKING and never
        an end, and that an error in one report costs neither the reports after it nor the other orders beside it.
        Catches: vn.py #2046, nautilus PR #4160: one unknown word, and everything in the same answer was lost.
        """
        session = await stage.session()
        order = stage.new_order()
        await session.place(order)
        name = (await stage.at_venue(order)).broker_order_id
        await stage.venue.say_unknown_word(name)
        await stage.all_told(session)
        assert not stage.followed(order).status.is_final
        assert not session.is_over
        await stage.venue.fill(name, stage.tradable.quantity, stage.tradable.price)
        await stage.until(lambda: stage.followed(order).status is OrderStatus.FILLED, "the order was FILLED")
        assert not session.is_over
        assert await stage.is_booked(order)


async def _sent(session: Session, order: Order) -> BrokerError | None:
    """Send the order; what the call raised, None if the broker has it."""
    try:
        await session.place(order)
    except BrokerError as error:
        return error
    return None


async def _until_known(stage: Stage, session: Session, order: Order) -> Session:
    """Ask for an order that is in doubt, as the core does, until a look-up or a report has shown it."""

    async def is_known(current: Session) -> bool:
        if stage.followed(order).status is OrderStatus.UNKNOWN:
            await current.find(order)
        return stage.followed(order).status is not OrderStatus.UNKNOWN

    return await stage.through(session, is_known, "the order was shown by a look-up or by a report")


async def _is_alone(stage: Stage, order: Order) -> None:
    """The venue took the order once at most, and none that we did not send."""
    known = await stage.venue.orders()
    assert [one.client_order_id for one in known].count(order.client_order_id) <= 1, "the order was sent more than once"
    strangers = [one for one in known if one.client_order_id not in stage.follower.orders]
    assert strangers == [], "the venue has an order that was never sent under this id"


async def _filled_and_cancelled(stage: Stage, session: Session) -> None:
    """Two orders, one filled in two parts, one filled in part and cancelled, end as at the venue."""
    part, price, step = stage.tradable.quantity, stage.tradable.price, stage.tradable.price_increment
    filled, cancelled = stage.new_order(quantity=2 * part), stage.new_order(quantity=2 * part)
    for order in (filled, cancelled):
        await session.place(order)
        await stage.venue.fill((await stage.at_venue(order)).broker_order_id, part, price)
    await stage.venue.fill((await stage.at_venue(filled)).broker_order_id, part, price - step)
    await stage.venue.cancel((await stage.at_venue(cancelled)).broker_order_id)
    await stage.until(lambda: stage.followed(filled).status is OrderStatus.FILLED, "the first order was FILLED")
    await stage.until(
        lambda: stage.followed(cancelled).status is OrderStatus.CANCELLED, "the second order was CANCELLED"
    )
    await stage.all_told(session)
    for order, quantity in ((filled, 2 * part), (cancelled, part)):
        assert stage.followed(order).filled_quantity == quantity
        assert await stage.is_booked(order)
    assert stage.followed(filled).status is OrderStatus.FILLED
    assert stage.followed(cancelled).status is OrderStatus.CANCELLED
