"""The card on histories: a state machine in which anything may happen in any order, at the venue and on the way to it.

Its rules are here, what they stand on in `machine_base`, what must hold in `machine_model`. How much is tried follows
from Hypothesis' profile: ``--hypothesis-profile=nightly`` tries a hundred times as much as usual. The profile is known
to pytest where this package is imported early: ``-p exec_core.testing.summary``, or by the topmost `conftest.py`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, run_state_machine_as_test

from exec_core.broker import BrokerPlugin
from exec_core.errors import NotSent
from exec_core.money import ZERO
from exec_core.orders import OrderStatus, OrderType
from exec_core.reports import ReportStatus
from exec_core.sides import Side
from exec_core.testing.brokers.base import BrokerSuite
from exec_core.testing.brokers.machine_base import BaseMachine, step
from exec_core.testing.brokers.machine_model import Patience
from exec_core.testing.cards import card
from exec_core.testing.stage import LOOK_SECONDS
from exec_core.testing.venue import Ability

#: How much is tried under a profile that has the usual measure.
EXAMPLES: Final = 80
STEPS: Final = 30

settings.register_profile("nightly", deadline=None, max_examples=2000, stateful_step_count=80)

_WHICH: Final = st.integers(0, 7)
_TENTHS: Final = st.integers(1, 10)
_TICKS: Final = st.integers(-3, 3)
_LOTS: Final = st.integers(1, 3)
_TYPES: Final = st.sampled_from(OrderType)
_SIDES: Final = st.sampled_from(Side)


class BrokerMachine(BaseMachine):
    """What may happen."""

    # We send, cancel and ask

    @initialize(requests=st.lists(st.tuples(_TYPES, _SIDES, _LOTS), max_size=4))
    def begin(self, requests: list[tuple[OrderType, Side, int]]) -> None:
        for order_type, side, lots in requests:
            self.do(f"{order_type} {side} {lots}", self.send(self.order(order_type, side, lots)))

    @step(order_type=_TYPES, side=_SIDES, lots=_LOTS)
    async def place(self, order_type: OrderType, side: Side, lots: int) -> None:
        await self.send(self.order(order_type, side, lots))

    @step(order_type=_TYPES, side=_SIDES, lots=_LOTS, what=st.sampled_from(("refused", "answer lost", "order lost")))
    async def place_in_vain(self, order_type: OrderType, side: Side, lots: int, what: str) -> None:
        if self.is_connected and not self.is_refusing:
            if what == "refused":
                await self.venue.refuse_next("Insufficient margin")
                self.is_refusing = True
            else:
                await self.venue.lose_next_answer(taken=what == "answer lost")
        await self.send(self.order(order_type, side, lots))

    @step(which=_WHICH)
    async def send_again_what_was_not_sent(self, which: int) -> None:
        order = self.ours(which, OrderStatus.PENDING)
        if order is not None:
            await self.send(order)

    @step(which=_WHICH, lose_the_answer=st.booleans())
    async def cancel(self, which: int, lose_the_answer: bool) -> None:
        if lose_the_answer and self.is_connected and self.can(Ability.LOSE_CANCEL):
            await self.venue.lose_next_cancel()
        await self.ask_to_cancel(which)

    @step(which=_WHICH)
    async def look_up(self, which: int) -> None:
        order, session = self.ours(which), await self.session()
        if order is not None and session is not None:
            note(f"    {order.client_order_id}: {order.status}")
            with suppress(NotSent):
                await self.find(session, order)

    @step()
    async def listen(self) -> None:
        await asyncio.sleep(LOOK_SECONDS)

    @step(reconnected=st.booleans())
    async def restart(self, reconnected: bool) -> None:
        await self.leave()
        if reconnected:
            await self.reconnect_if_need_be()
        await self.session()

    @step()
    async def recover(self) -> None:
        await self.reach_the_truth()

    # The market

    @step(which=_WHICH, ticks=_TICKS)
    async def fill(self, which: int, ticks: int) -> None:
        await self.execute(which, 10, ticks)

    @step(which=_WHICH, tenths=_TENTHS, ticks=_TICKS)
    async def fill_partly(self, which: int, tenths: int, ticks: int) -> None:
        await self.execute(which, tenths, ticks)

    @step(Ability.FILL_LATE, which=_WHICH, tenths=_TENTHS, ticks=_TICKS)
    async def fill_late(self, which: int, tenths: int, ticks: int) -> None:
        await self.execute(which, tenths, ticks, ReportStatus.CANCELLED, ReportStatus.EXPIRED)

    @step(which=_WHICH, how=st.sampled_from((None, Ability.EXPIRE, Ability.REJECT_LATE)))
    async def end(self, which: int, how: Ability | None) -> None:
        known = await self.theirs(which)
        if known is None:
            return
        note(f"    {known.broker_order_id}")
        if how is Ability.EXPIRE and self.can(how):
            await self.venue.expire(known.broker_order_id)
        elif how is Ability.REJECT_LATE and self.can(how) and not known.executions:
            # Not what has traded: "rejected" of that is a contradiction, which only a person can settle.
            await self.venue.reject(known.broker_order_id, "Not accepted by the exchange")
        else:
            await self.venue.cancel(known.broker_order_id)

    @step(Ability.CORRECT, which=_WHICH, tenths=st.integers(0, 10), ticks=st.integers(1, 3))
    async def correct(self, which: int, tenths: int, ticks: int) -> None:
        execution = await self.execution(which)
        if execution is not None:
            price = execution.price + ticks * self.stage.tradable.price_increment
            quantity = self.part(execution.quantity, tenths) if tenths else ZERO
            note(f"    {execution.execution_id}: {quantity} @ {price} instead of {execution.quantity}")
            await self.venue.correct(execution.execution_id, quantity, price)

    @step(Ability.BILL_LATE, late=st.booleans())
    async def bill(self, late: bool) -> None:
        await (self.venue.withhold_commissions() if late else self.venue.bill())

    @step(Ability.BY_HAND, side=_SIDES, lots=_LOTS, is_filled=st.booleans())
    async def trade_by_hand(self, side: Side, lots: int, is_filled: bool) -> None:
        tradable = self.stage.tradable
        known = await self.venue.trade_by_hand(tradable, side, lots * tradable.quantity)
        self.ledger.by_hand.add(known.broker_order_id)
        if is_filled:
            await self.venue.fill(known.broker_order_id, tradable.quantity, tradable.price)

    # Trouble

    @step()
    async def disconnect(self) -> None:
        if self.is_connected:
            await self.venue.disconnect()
            self.is_connected = False

    @step()
    async def reconnect(self) -> None:
        await self.reconnect_if_need_be()

    async def reconnect_if_need_be(self) -> None:
        if not self.is_connected:
            await self.venue.reconnect()
            self.is_connected = True

    @step(in_part=st.booleans())
    async def trouble_questions(self, in_part: bool) -> None:
        await (self.venue.answer_in_part() if in_part and self.can(Ability.HIDE) else self.venue.fail_questions())
        self.is_silent = True

    @step()
    async def answer_questions(self) -> None:
        await self.venue.answer_questions()
        self.is_silent = False

    @step(how=st.sampled_from((Ability.REPEAT, Ability.REORDER, Ability.HOLD_CANCEL)))
    async def disturb(self, how: Ability) -> None:
        if how is Ability.REPEAT and self.can(how):
            await self.venue.repeat_reports()
        elif how is Ability.REORDER and self.can(how):
            await self.venue.reorder_reports()
        elif how is Ability.HOLD_CANCEL and self.can(how):
            await self.venue.hold_cancels()


def machine_settings() -> settings:
    """The active profile of Hypothesis, with our own measure where it has the usual one."""
    active, usual = settings(), settings.get_profile("default")
    is_usual = (active.max_examples, active.stateful_step_count) == (usual.max_examples, usual.stateful_step_count)
    return settings(
        active,
        max_examples=EXAMPLES if is_usual else active.max_examples,
        stateful_step_count=STEPS if is_usual else active.stateful_step_count,
        deadline=None,  # an adapter waits for its wire, and the machine for the adapter
        suppress_health_check=(*active.suppress_health_check, HealthCheck.too_slow),  # for the same reason
        phases=tuple(phase for phase in active.phases if phase is not Phase.explain),  # lines of ours explain nothing
        report_multiple_bugs=False,  # what is wrong is also lacking in the end
        print_blob=True,
    )


class MachineCards(BrokerSuite):
    """Histories."""

    @card(900)
    def test_any_history_ends_at_the_truth(self, broker_plugin: BrokerPlugin) -> None:
        """Whatever happens, in whatever order, nothing is ever wrong, and recovery from any point reaches the truth.

        Prerequisite: none. What the venue cannot do does not happen.
        Action: histories of some thirty steps, made up by Hypothesis: orders are placed, refused, filled in parts,
        cancelled, expired and rejected late; executions come late, are corrected and taken back, commissions come
        later; answers are lost, questions fail or are answered in part, reports come twice or in another order; the
        line is cut and mended, the session left and another one entered; people trade by hand. At any point, and in the
        end: the line is mended, a session entered, and each order in doubt looked up.
        Expected: after each step, without waiting: the venue holds at most one order for each of ours, and none that we
        did not send; only what it executed is booked, once; an order that counts as ended cannot trade any more;
        nothing was rejected that the venue did not reject, and nothing is at the venue that counts as not sent; an
        answer that is not whole proves no absence. After recovery: state, quantity, average price and commission of
        each order are the venue's, and only what it never had is still in doubt.
        If this fails: read the shortest history that fails, which Hypothesis prints as steps; the line ``FAILED`` tells
        at which one, ``teardown`` being the recovery in the end. The other cards isolate most of it, so see first
        whether one of them fails as well. To play the same history again, make Hypothesis' ``@reproduce_failure(...)``
        a line of your suite: ``reproduce_failure(...)(exec_core.testing.brokers.machine.BrokerMachine)``.
        Catches: what only a combination brings about: a fill while the line is down (Lean.IB issue #249), its replay by
        stream, poll and restart (nautilus PR #3493), a request in an outage that ends a live order (nautilus issues
        #4152 and #3879), one intent that becomes two orders (nautilus issue #4564).
        """
        values = {"plugin": broker_plugin, "venue_type": self.venue, "patience": Patience(self.patience_seconds)}
        machine = type(BrokerMachine.__name__, (BrokerMachine,), values)
        run_state_machine_as_test(machine, settings=machine_settings())
