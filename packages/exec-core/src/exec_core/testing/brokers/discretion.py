"""Cards on discretion: secrets stay secret, times are UTC, numbers exact, and the loop is never blocked."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import datetime, timedelta

import pytest

from exec_core.errors import BrokerError
from exec_core.orders import Order, OrderStatus
from exec_core.testing.brokers.base import BrokerSuite
from exec_core.testing.cards import card
from exec_core.testing.examining import figures, freeze_alarm, wrong_figure
from exec_core.testing.session import Session
from exec_core.testing.stage import Stage
from exec_core.testing.venue import Ability, VenueExecution
from exec_core.testing.witness import Witness


class DiscretionCards(BrokerSuite):
    """How it behaves meanwhile."""

    @card(800)
    async def test_secrets(
        self, stage: Stage, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A secret gets nowhere.

        Prerequisite: a venue with secrets in its configuration, and every logger at its most talkative.
        Action: connect, send orders that are taken, refused and lost, ask questions that fail, cut the line, refuse the
        login (where the venue can).
        Expected: no secret is in a log record (its message, arguments, error or extras), in what was printed, in a
        `repr` or `str` of the configuration, the settings, the broker or an answer, nor in any error with all that led
        to it, its arguments, attributes and traceback.
        If this fails: make secrets `pydantic.SecretStr`, take them out of URLs and headers that an SDK prints or that
        its errors quote, raise `from None` where the cause quotes them, and silence the SDK's own logger where it logs
        what it sends.
        """
        if not stage.venue.secrets:
            pytest.skip("the venue has no secret to leak")
        caplog.set_level(logging.NOTSET)
        witness = Witness(stage)
        with witness.of_records():
            await self._provoke(stage, witness)
        printed = capfd.readouterr()
        witness.saw("what was printed", printed.out, printed.err)
        leaks = witness.leaks()
        if leaks:
            pytest.fail("a secret leaked into " + "; ".join(sorted(leaks)), pytrace=False)

    async def _provoke(self, stage: Stage, witness: Witness) -> None:
        """Everything in which adapters and their SDKs are known to quote what they sent; each by a session of its own.

        What comes of it does not matter here.
        """
        venue = stage.venue
        async with witness.of_session() as session:
            await witness.of_call(session.place(stage.new_order()))
            await venue.refuse_next("Refused by the kit")
            await witness.of_call(session.place(stage.new_order()))
        for taken in (True, False):
            async with witness.of_session() as session:
                await venue.lose_next_answer(taken=taken)
                await witness.of_call(session.place(stage.new_order()))
        async with witness.of_session() as session:
            await venue.fail_questions()
            await witness.of_questions(session)
            await venue.answer_questions()
            await witness.of_questions(session)
            await venue.disconnect()
            await witness.of_call(session.place(stage.new_order()))
            await witness.of_questions(session)
        async with witness.of_session() as session:
            await witness.of_call(session.place(stage.new_order()))
        await venue.reconnect()
        if Ability.FORBID_LOGIN in venue.cannot:
            return
        async with witness.of_session() as session:
            await venue.forbid_login()
            await witness.of_call(session.place(stage.new_order()))
            await witness.of_questions(session)
        async with witness.of_session() as session:
            await witness.of_call(session.place(stage.new_order()))
        await venue.allow_login()

    @card(810)
    async def test_times(self, stage: Stage) -> None:
        """Times are in UTC, and right.

        Prerequisite: a session.
        Action: send an order, execute it, look for it, ask every question.
        Expected: every time that the adapter tells, in reports, views, the account and `availability`, is aware and in
        UTC; the execution's time is the venue's, to the second.
        If this fails: check in which zone the venue writes its times (many write local time without saying so), attach
        that zone when you read them, and convert to UTC. Take the time of the execution, not that of the order or of
        the message.
        """
        session, order, execution = await _executed(stage)
        answers = await _answers(session, order)
        times = [(f"availability().{name}", time) for name, time in _times(session.broker.availability())]
        for told in (*session.heard, *answers):
            times += [(f"{type(told).__name__}.{name}", time) for name, time in _times(told)]
        wrong = [f"{name} is {time.isoformat()}" for name, time in times if time.utcoffset() != timedelta(0)]
        assert not wrong, f"times that are not in UTC: {wrong}"
        own = [report.fill for report in session.fills if report.fill.execution_id == execution.execution_id]
        for fill in own:
            difference = abs(fill.time - execution.time)
            assert difference < timedelta(seconds=1), f"{fill.time} is told, and the venue says {execution.time}"

    @card(820, needs=[Ability.HANG])
    async def test_loop_is_never_blocked(self, stage: Stage) -> None:
        """Waiting for the venue blocks nobody else.

        Prerequisite: a session with a venue that takes an order and never answers.
        Action: send that order; let other coroutines run; give the call up.
        Expected: control comes back to the others while the call waits for its answer.
        If this fails: a call of the SDK, or a `time.sleep`, runs in the event loop. Put it into an executor of the
        session's own, or use the SDK's asynchronous calls. One blocked call stops every account of the process.
        """
        session = await stage.session(call_timeout_seconds=10 * stage.patience_seconds)
        await stage.venue.hang_next()
        order = stage.new_order()
        with freeze_alarm(2 * stage.patience_seconds):
            sending = asyncio.create_task(session.place(order), name="conformance order without an answer")
            try:
                await stage.until(lambda: stage.all_at_venue(order.client_order_id), "the order is at the venue")
                for _ in range(10):
                    await asyncio.sleep(0)
                waits = not sending.done()
            finally:
                sending.cancel()
                ended = (await asyncio.gather(sending, return_exceptions=True))[0]
        assert waits, f"nobody else could run before the call was over; it ended with {ended!r}"

    @card(830)
    async def test_figures_are_exact(self, stage: Stage) -> None:
        """Figures are `Decimal`, finite, and as the venue wrote them.

        Prerequisite: a session.
        Action: send an order, execute it, look for it, ask every question.
        Expected: every figure that the adapter tells is a finite `Decimal`, never a float or an integer, and none was
        made from a binary float (these have dozens of digits).
        If this fails: read JSON with ``parse_float=Decimal``; convert what an SDK gives as a float by
        ``Decimal(str(value))``; and look for the number by which the SDK says "none" (1.7976931348623157e308, -1, NaN):
        it is None here.
        Catches: ib_async #208 and nautilus_trader PR #4230: a commission that is not known yet was booked as 0, as -1,
        or as the greatest number that there is.
        """
        session, order, _ = await _executed(stage)
        answers = await _answers(session, order)
        told = [*session.heard, *answers]
        wrong = {f"{name}: {why}" for one in told for name, value in figures(one) if (why := wrong_figure(value))}
        assert not wrong, f"figures that are not exact: {sorted(wrong)}"


async def _executed(stage: Stage) -> tuple[Session, Order, VenueExecution]:
    """A session that placed an order, which was executed, and heard of it."""
    session = await stage.session()
    order = stage.new_order()
    await session.place(order)
    known = await stage.at_venue(order)
    execution = await stage.venue.fill(known.broker_order_id, stage.tradable.quantity, stage.tradable.price)
    await stage.until(lambda: stage.followed(order).status is OrderStatus.FILLED, "the execution was heard")
    return session, order, execution


async def _answers(session: Session, order: Order) -> list[object]:
    """The answers to all questions; whether a question is answered at all is the business of other cards."""
    found: list[object] = []
    broker = session.broker
    for question in (lambda: session.find(order), broker.open_orders, broker.positions, broker.account):
        with suppress(BrokerError):
            found.append(await question())
    return found


def _times(told: object) -> list[tuple[str, datetime]]:
    return [(name, value) for name, value in figures(told, datetime) if isinstance(value, datetime)]
