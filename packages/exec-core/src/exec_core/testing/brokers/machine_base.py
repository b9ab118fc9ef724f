"""What the state machine of `machine` stands on: its loop, its session, its choices, its judgement.

What a history draws never depends on what came of it, hence not on the adapter's timing: what is drawn are numbers that
choose among what there is, and a history that has failed goes on to its end, without effect. So Hypothesis can repeat
it and shorten it, although the adapter may be a little faster or slower the next time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from decimal import ROUND_DOWN, Decimal
from functools import wraps
from typing import Any, ClassVar

import pytest
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from exec_core.broker import BrokerPlugin
from exec_core.errors import CancelRejected, NotSent, OrderRejected, OutcomeUnknown
from exec_core.orders import Order, OrderStatus, OrderType
from exec_core.reports import ReportStatus
from exec_core.sides import Side
from exec_core.testing.brokers.machine_model import Ledger, Patience, chosen
from exec_core.testing.session import Session
from exec_core.testing.stage import LOOK_SECONDS, Stage
from exec_core.testing.venue import Ability, Venue, VenueExecution, VenueOrder

Act = Callable[..., Coroutine[Any, Any, None]]


def step(*needs: Ability, **drawn: st.SearchStrategy[Any]) -> Callable[[Act], Callable[..., None]]:
    """Make a coroutine method a rule, where the venue can do it."""

    def make(act: Act) -> Callable[..., None]:
        @wraps(act)
        def acted(machine: BaseMachine, **values: Any) -> None:
            machine.do(f"{act.__name__} {values}", act(machine, **values))

        def is_possible(machine: Any) -> bool:
            return all(map(machine.can, needs))

        arguments: dict[str, Any] = drawn  # `rule` has overloads, none of which takes strategies of any name
        ruled: Callable[..., None] = precondition(is_possible)(rule(**arguments)(acted))  # type: ignore[no-untyped-call]
        return ruled

    return make


class BaseMachine(RuleBasedStateMachine):
    """One history: a venue, a plugin, and an honest bookkeeper whose orders outlive the sessions."""

    plugin: ClassVar[BrokerPlugin]
    venue_type: ClassVar[type[Venue]]
    patience: ClassVar[Patience]

    def __init__(self) -> None:
        super().__init__()
        self.venue = self.venue_type()
        self.stage = Stage(self.plugin, self.venue, self.patience.seconds)
        self.ledger = Ledger()
        self.is_connected, self.is_silent, self.is_refusing = True, False, False
        self._session: Session | None = None
        self._history: list[str] = []
        self._failure: BaseException | None = None
        self._runner = asyncio.Runner()
        try:
            self._runner.run(self.venue.__aenter__())
            self._runner.run(self.session())
        except BaseException:
            self._close()
            raise

    def do(self, step: str, act: Coroutine[Any, Any, object]) -> None:
        """Do it in the machine's own loop, which stands still between the steps; in a history that failed: nothing."""
        self._history.append(step)
        if self._failure is not None or not self.patience.is_worth_it(self._history):
            act.close()
            return
        try:
            self._runner.run(act)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  # whatever it is: `teardown` raises it
            note(f"    FAILED: {str(error) or repr(error)}")
            self._failure = error

    def teardown(self) -> None:
        """However the history went, it ends at the truth. :raises AssertionError: it has failed, here or before."""
        try:
            self.do("the end", self.reach_the_truth())
            if self._failure is not None:
                self.patience.failed(self._history)
                # Always from here: to Hypothesis it is one and the same failure, whatever is noticed first.
                raise AssertionError(f"{type(self._failure).__name__}: {self._failure}") from self._failure
        finally:
            self._close()

    def _close(self) -> None:
        with self._runner as runner:
            runner.run(self.stage.leave())
            runner.run(self.venue.__aexit__(None, None, None))

    # Choices

    def can(self, ability: Ability) -> bool:
        """Whether the venue can do it."""
        return ability not in self.venue.cannot

    async def session(self) -> Session | None:
        """The session, a new one if the old is over; None where the venue lets nobody in."""
        if self._session is not None and self._session.failure is not None:
            await self.leave()
        if self._session is None:
            session = self.stage.new_session()
            with suppress(NotSent):
                await session.enter()
                self._session = session
        return self._session

    async def leave(self) -> None:
        """Leave the session, if there is one."""
        session, self._session = self._session, None
        if session is not None:
            await session.leave()

    def order(self, order_type: OrderType, side: Side, lots: int) -> Order:
        """A new order; of the stage's own type, if the plugin does not know this one."""
        values: dict[str, Any] = {"side": side, "quantity": lots * self.stage.tradable.quantity}
        if order_type in self.plugin.capabilities.order_types:
            values["order_type"] = order_type
        return self.stage.new_order(**values)

    def ours(self, which: int, *statuses: OrderStatus) -> Order | None:
        """One of our orders; of these statuses only, if any are named."""
        orders = self.stage.follower.orders.values()
        return chosen([one for one in orders if not statuses or one.status in statuses], which)

    async def theirs(self, which: int, *statuses: ReportStatus) -> VenueOrder | None:
        """One of ours at the venue, in one of these states; if none is named, one that can still trade."""
        wanted = statuses or (ReportStatus.HELD, ReportStatus.WORKING)
        ours = [one for one in await self.venue.orders() if one.broker_order_id not in self.ledger.by_hand]
        return chosen([one for one in ours if one.status in wanted], which)

    async def execution(self, which: int) -> VenueExecution | None:
        """One of the venue's executions that was not taken back."""
        executions = [one for order in await self.venue.orders() for one in order.executions]
        return chosen([one for one in executions if one.quantity], which)

    def part(self, quantity: Decimal, tenths: int) -> Decimal:
        """So many tenths of a quantity, in steps in which it can be traded, and never nothing."""
        increment = self.stage.tradable.quantity_increment
        steps = (quantity * tenths / 10 / increment).to_integral_value(ROUND_DOWN)
        return max(steps * increment, min(increment, quantity))

    def price(self, ticks: int) -> Decimal:
        """A price so many steps beside the market."""
        return self.stage.tradable.price + ticks * self.stage.tradable.price_increment

    # What we do

    async def send(self, order: Order) -> None:
        """Send an order. One that meets no session waits for the next attempt, as what was provably not sent."""
        note(f"    {order.client_order_id}: {order.request.order_type} {order.request.side} {order.quantity}")
        self.stage.follower.orders.setdefault(order.client_order_id, order)
        session = await self.session()
        if session is None:
            return
        if self.is_refusing:
            self.ledger.may_be_refused.add(order.client_order_id)
        try:
            await session.place(order)
        except OrderRejected:
            self.is_refusing = False
        except (NotSent, OutcomeUnknown) as error:
            note(f"    {type(error).__name__}: {error}")

    async def ask_to_cancel(self, which: int) -> None:
        """Ask for a cancel of one of our orders; what comes of it is seen at the venue."""
        order, session = self.ours(which), await self.session()
        if order is not None and session is not None:
            note(f"    {order.client_order_id}: {order.status}")
            with suppress(CancelRejected, NotSent):
                await session.cancel(order)

    async def execute(self, which: int, tenths: int, ticks: int, *statuses: ReportStatus) -> None:
        """The venue executes so much of what is left of one of its orders in these states, or of an open one."""
        known = await self.theirs(which, *statuses)
        if known is None or known.quantity is None or known.filled_quantity >= known.quantity:
            return
        quantity = self.part(known.quantity - known.filled_quantity, tenths)
        price = self.price(ticks)
        note(f"    {known.broker_order_id}: {quantity} @ {price}")
        await self.venue.fill(known.broker_order_id, quantity, price)

    async def find(self, session: Session, order: Order) -> None:
        """Look for it. :raises NotSent: no answer. :raises AssertionError: an answer that is not true."""
        held = await self.stage.all_at_venue(order.client_order_id)
        found = await session.find(order)
        may_have_a_trace = bool(held) or order.client_order_id in self.ledger.may_be_refused
        assert may_have_a_trace or not found.has_trace, f"the venue never had {order.client_order_id}; found: {found}"
        if held and self.is_silent and not found.has_trace and order.sent_at is not None:
            is_proof = found.view.proves_absence_since(order.sent_at)
            assert not is_proof, f"the venue gave no whole answer, which counts as proof of absence: {found}, {held}"

    # What must hold

    @invariant()
    def nothing_is_wrong(self) -> None:
        """Safety, after each step, without waiting."""
        self.do("judge", self._judge())

    async def _judge(self) -> list[str]:
        """What is still lacking. :raises AssertionError: something is wrong."""
        if self._session is not None and (crashed := self._session.crashed) is not None:
            raise AssertionError(f"the lifecycle could not judge a report: {crashed!r}") from crashed
        followed = dict(self.stage.follower.orders)  # before the truth: what was told by then has happened by now
        truth = await self.venue.orders()
        self.ledger.observe(truth)
        wrong = self.ledger.wrong(followed, truth)
        if wrong:
            raise AssertionError("\n".join(wrong))
        return self.ledger.lacking(followed, truth)

    async def reach_the_truth(self) -> None:
        """Progress: on a healthy line, and with a look-up for what is UNKNOWN, we get to know everything."""
        await self.venue.reconnect()
        await self.venue.answer_questions()
        self.is_connected, self.is_silent = True, False
        started = time.monotonic()
        while lacking := [*await self._ask(), *await self._judge()]:
            if time.monotonic() - started > self.patience.now:
                raise AssertionError(f"in {self.patience.now:g} s it did not become known:\n" + "\n".join(lacking))
            await asyncio.sleep(LOOK_SECONDS)
        self.patience.longest = max(self.patience.longest, time.monotonic() - started)

    async def _ask(self) -> list[str]:
        """Look for the orders that nobody knows enough of; why that could not be done."""
        session = await self.session()
        if session is None:
            return ["the venue is back, and no session can be entered"]
        for order in tuple(self.stage.follower.orders.values()):
            if order.status is OrderStatus.UNKNOWN:
                try:
                    await self.find(session, order)
                except NotSent as error:
                    return [f"{order.client_order_id}: the look-up gave no answer: {error}"]
        return []
