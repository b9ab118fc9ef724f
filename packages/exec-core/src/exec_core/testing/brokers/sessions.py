"""Cards on sessions: entering, leaving, losing the line, finding it again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from exec_core.broker import AvailabilityState
from exec_core.errors import AuthenticationFailed, BrokerError, ConnectionFailed, ExecError, NotSent, OutcomeUnknown
from exec_core.orders import Order, OrderStatus
from exec_core.testing.brokers.base import BrokerSuite
from exec_core.testing.cards import card
from exec_core.testing.examining import freeze_alarm
from exec_core.testing.session import Session
from exec_core.testing.stage import Stage
from exec_core.testing.venue import Ability


class SessionCards(BrokerSuite):
    """The line."""

    @card(100)
    async def test_entering(self, stage: Stage) -> None:
        """A session that was entered is ready, and works.

        Prerequisite: a venue that can be reached.
        Action: enter a session; send an order; execute it.
        Expected: `availability` says ``READY``, since a time that knows its zone; the order is at the venue, and its
        execution is heard.
        If this fails: check that `__aenter__` returns only when the connection is up and logged in, that `availability`
        follows it, and that the reports of orders are subscribed to before the first order can be sent.
        """
        session = await stage.session()
        await stage.until(lambda: session.broker.availability().is_ready, "the session is ready")
        assert session.broker.availability().since.utcoffset() is not None, "availability().since has no time zone"
        await _trades(stage, session)

    @card(110)
    async def test_leaving(self, stage: Stage) -> None:
        """Leaving lets go, and leaves the orders alone.

        Prerequisite: a session, and an order that works.
        Action: leave the session.
        Expected: it is left in time; the order still works at the venue.
        If this fails: check that `__aexit__` waits for nothing that the venue need not send, ends its own tasks and
        closes its sockets; and that nothing, neither your adapter nor the SDK, cancels orders on the way out. The
        service restarts while orders work.
        """
        broker = stage.raw_broker()
        await broker.__aenter__()
        order = stage.new_order()
        await broker.place_order(order)
        async with asyncio.timeout(stage.patience_seconds):
            await broker.__aexit__(None, None, None)
        known = await stage.at_venue(order)
        assert known.is_open, f"the order is {known.status} after its session was left"

    @card(120)
    async def test_leaving_twice(self, stage: Stage) -> None:
        """Leaving twice is fine.

        Prerequisite: a session that was left.
        Action: leave it again, and once more.
        Expected: nothing happens, in time.
        If this fails: make `__aexit__` return where there is nothing left to close. A session is left by whoever sees
        it fail, and by whoever opened it.
        """
        session = await stage.session()
        await session.leave()
        for _ in range(2):
            async with asyncio.timeout(stage.patience_seconds):
                await session.raw.__aexit__(None, None, None)

    @card(130)
    async def test_venue_out_of_reach(self, stage: Stage) -> None:
        """A venue that cannot be reached is said to be so.

        Prerequisite: nobody can connect to the venue.
        Action: enter a session; leave it.
        Expected: entering raises `ConnectionFailed`, which is tried again, and no other error; leaving is fine;
        `availability` does not say ready.
        If this fails: check that `__aenter__` connects, and does not leave that to the first order; that a refused
        connection is neither taken for a refused login nor for a mistake in the settings, for both of which a person
        is called; and that `__aexit__` copes with a connection that never was.
        """
        await stage.venue.disconnect()
        session = stage.new_session()
        error = await _entering(session)
        assert error is not None, "a session was entered although nobody can connect to the venue"
        assert isinstance(error, ConnectionFailed), f"entering raised {error!r}, which is no ConnectionFailed"
        assert not session.broker.availability().is_ready, "the session says that it is ready"
        async with asyncio.timeout(stage.patience_seconds):
            await session.raw.__aexit__(None, None, None)

    @card(140, needs=[Ability.FORBID_LOGIN])
    async def test_login_refused(self, stage: Stage) -> None:
        """Refused credentials call a person, and are not tried again in a storm.

        Prerequisite: the venue refuses the login.
        Action: enter a session; then let it in again, and enter another.
        Expected: entering raises `AuthenticationFailed`; or it succeeds, `availability` says ``LOGIN_NEEDED``, and
        sending an order raises `AuthenticationFailed`. No order is at the venue. The session after that works.
        If this fails: check which answers of the venue mean that a person must log in, and raise
        `AuthenticationFailed` for those. `ConnectionFailed` would be tried again at once and for ever, which locks
        accounts; and what was refused once must not be remembered by the next session.
        """
        await stage.venue.forbid_login()
        session = stage.new_session()
        error = await _entering(session)
        if error is None:
            await stage.until(
                lambda: session.broker.availability().state is AvailabilityState.LOGIN_NEEDED,
                "the session, entered without a login, says that it needs one",
            )
            error = await refusal(session, stage.new_order())
        assert isinstance(error, AuthenticationFailed), f"a login that is needed was told as {error!r}"
        assert not session.broker.availability().is_ready, "the session says that it is ready"
        assert await stage.venue.orders() == ()
        await session.leave()
        await stage.venue.allow_login()
        await _trades(stage, await stage.session())

    @card(150)
    async def test_line_is_cut(self, stage: Stage) -> None:
        """A line that is cut is noticed, and what could not be sent is never sent later.

        Prerequisite: a session.
        Action: cut the line; send an order; let sessions in again.
        Expected: the reports end with `ConnectionFailed`, or `availability` says that the session is not ready. The
        order raises `NotSent` or `OutcomeUnknown`, never `OrderRejected`; after `NotSent` it is not at the venue, not
        even once the line is back.
        If this fails: check that the end of the connection reaches `reports` or `availability` (a socket that is
        closed, a poll that fails); that an error of the line is not taken for an answer of the broker; and that neither
        your adapter nor the SDK keeps orders in a queue for when it is connected again: the service sends an order
        again that was `NotSent`, and there would be two.
        Catches: hummingbot #493: an order that got no answer was called failed, was live, and was sent again.
        """
        session = await stage.session()
        await stage.venue.disconnect()
        await _noticed(stage, session)
        if session.failure is not None:
            assert isinstance(session.failure, ConnectionFailed), f"the reports ended with {session.failure!r}"
        order = stage.new_order()
        error = await refusal(session, order)
        assert isinstance(error, NotSent | OutcomeUnknown), f"an order sent meanwhile was answered by {error!r}"
        if isinstance(error, OutcomeUnknown):
            return
        assert await stage.all_at_venue(order.client_order_id) == []
        await stage.venue.reconnect()
        # Whatever is sent when the line comes back is sent before this.
        marker = stage.new_order()
        await (await working_again(stage, session)).place(marker)
        await stage.at_venue(marker)
        later = await stage.all_at_venue(order.client_order_id)
        assert later == [], f"an order that was not sent ({error}) is at the venue after the line came back"

    @card(160)
    async def test_line_comes_back(self, stage: Stage) -> None:
        """After the line came back, orders work and are heard of.

        Prerequisite: a session whose line was cut, which it noticed.
        Action: let sessions in again; send an order by the same session if it recovers, else by a new one; execute it.
        Expected: the order is at the venue, and its execution is heard.
        If this fails: check that a session that connects again by itself subscribes again to the reports of orders;
        and that one that does not lets `reports` raise `ConnectionFailed`, because the service makes a new session only
        then: a session that is neither ready nor over is stuck.
        Catches: Lean.Brokerages.InteractiveBrokers #249: executions were not asked for after a reconnect.
        """
        session = await stage.session()
        await stage.venue.disconnect()
        await _noticed(stage, session)
        await stage.venue.reconnect()
        await _trades(stage, await working_again(stage, session))

    @card(170, needs=[Ability.FORBID_LOGIN])
    async def test_login_ends(self, stage: Stage) -> None:
        """A login that ends during a session sends no order, and refuses none for good.

        Prerequisite: a session that works; then the venue forgets its login and refuses a new one.
        Action: send an order; allow the login again; send another, by the same session if it recovers, else by a new
        one.
        Expected: the first order raises `AuthenticationFailed` or another `NotSent`, and never gets to the venue (only
        an order by which the session finds out may be `OutcomeUnknown`: then the next one is `NotSent`). The later one
        works.
        If this fails: check what your adapter makes of the venue's answer that the token is no longer valid. It is no
        word about the order: `OrderRejected` would end an order for good that can be sent after the next login.
        """
        session = await stage.session()
        await _trades(stage, session)
        await stage.venue.forbid_login()
        order = stage.new_order()
        error = await refusal(session, order)
        if isinstance(error, OutcomeUnknown):
            await _noticed(stage, session)
            order = stage.new_order()
            error = await refusal(session, order)
        assert isinstance(error, NotSent), f"an order sent without a login was answered by {error!r}"
        assert await stage.all_at_venue(order.client_order_id) == []
        await stage.venue.allow_login()
        await _trades(stage, await working_again(stage, session))
        later = await stage.all_at_venue(order.client_order_id)
        assert later == [], f"an order that was not sent ({error}) is at the venue after the login"

    @card(180, needs=[Ability.HANG])
    async def test_leaving_while_an_answer_is_awaited(self, stage: Stage) -> None:
        """Leaving does not wait for an answer that never comes.

        Prerequisite: a session, and an order that the venue took and never answers.
        Action: leave the session.
        Expected: it is left in time. If the call ends by that, its outcome is unknown: the order is at the venue.
        If this fails: check that `__aexit__` closes the connection under the calls that wait for it, rather than wait
        for them; and what a call makes of a connection that its own side has closed: the order may be live.
        """
        session = await stage.session(call_timeout_seconds=10 * stage.patience_seconds)
        await stage.venue.hang_next()
        order = stage.new_order()
        with freeze_alarm(3 * stage.patience_seconds):
            sending = asyncio.create_task(session.place(order), name="conformance order without an answer")
            try:
                await stage.until(lambda: stage.all_at_venue(order.client_order_id), "the order is at the venue")
                async with asyncio.timeout(stage.patience_seconds):
                    await session.raw.__aexit__(None, None, None)
            finally:
                sending.cancel()
                ended = (await asyncio.gather(sending, return_exceptions=True))[0]
        assert isinstance(ended, OutcomeUnknown | asyncio.CancelledError), f"the order was answered by {ended!r}"

    @card(190)
    async def test_calls_after_leaving(self, stage: Stage) -> None:
        """A session that was left does nothing any more, and says so.

        Prerequisite: a session that was left, with an order at the venue.
        Action: send an order, ask for a cancel, ask every question, listen.
        Expected: each raises `NotSent` or `ConnectionFailed`, at once; nothing gets to the venue, and the order stays
        as it is; `availability` does not say ready.
        If this fails: let every call check first that the session is open, and raise `ConnectionFailed` where it is
        not. An error of the SDK that nobody recognises would be taken for an unknown outcome, and a person called.
        """
        # The core's bound is out of the way: the adapter itself must answer.
        session = await stage.session(call_timeout_seconds=10 * stage.patience_seconds)
        order = stage.new_order()
        await session.place(order)
        with suppress(Exception):  # how well it is left is the business of other cards
            await session.leave()
        before = await stage.at_venue(order)
        late = stage.new_order()
        calls: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: session.place(late),
            lambda: session.cancel(order),
            lambda: session.find(order),
            session.broker.open_orders,
            session.broker.positions,
            session.broker.account,
            lambda: _listen(session),
        )
        for call in calls:
            async with asyncio.timeout(stage.patience_seconds):
                with pytest.raises(NotSent):
                    await call()
        assert not session.broker.availability().is_ready, "the session says that it is ready"
        assert await stage.all_at_venue(late.client_order_id) == []
        assert await stage.at_venue(order) == before, "a session that was left changed an order"


async def _entering(session: Session) -> ExecError | None:
    """Enter; the error, if that is not possible."""
    try:
        await session.enter()
    except ExecError as error:
        return error
    return None


async def refusal(session: Session, order: Order) -> BrokerError:
    """Why an order could not be placed; the card fails if it was."""
    try:
        placed = await session.place(order)
    except BrokerError as error:
        return error
    pytest.fail(f"the order was placed, as {placed}, where nothing can be sent")


async def working_again(stage: Stage, session: Session) -> Session:
    """The session once it recovered, or the one that takes its place after its reports ended."""
    await stage.until(
        lambda: session.is_over or session.broker.availability().is_ready,
        "the session got ready again, or its reports ended, so that another takes its place",
    )
    if not session.is_over:
        return session
    with suppress(Exception):  # how well it is left is the business of other cards
        await session.leave()

    async def entered() -> Session | None:
        another = stage.new_session()
        try:
            await another.enter()
        except NotSent:
            return None
        return another

    found: Session = await stage.until(entered, "a new session can be entered")
    return found


async def _noticed(stage: Stage, session: Session) -> None:
    await stage.until(
        lambda: session.is_over or not session.broker.availability().is_ready,
        "the session noticed: its reports ended, or its availability is no longer ready",
    )


async def _trades(stage: Stage, session: Session) -> None:
    """An order gets to the venue, is executed there, and that is heard."""
    order = stage.new_order()
    await session.place(order)
    known = await stage.at_venue(order)
    await stage.venue.fill(known.broker_order_id, stage.tradable.quantity, stage.tradable.price)
    await stage.until(lambda: stage.followed(order).status is OrderStatus.FILLED, "the execution of an order was heard")


async def _listen(session: Session) -> None:
    async for _ in session.broker.reports():
        """What was still in the session's hands may come first; it ends with an error."""
