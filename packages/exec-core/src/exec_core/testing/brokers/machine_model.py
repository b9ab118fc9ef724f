"""What must hold between what a bookkeeper was told and what the venue did, after any history of orders.

Plain judgement, no I/O: the state machine (`machine`) asks after each step what is *wrong* (safety:
never, not for an instant) and in the end what is *lacking* (progress: not for long).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from exec_core.identifiers import ClientOrderId, ExecutionId
from exec_core.money import ZERO, exact
from exec_core.orders import Order, OrderStatus
from exec_core.reports import ReportStatus
from exec_core.testing.venue import VenueExecution, VenueOrder

T = TypeVar("T")

Followed = Mapping[ClientOrderId, Order]

_ENDS = {
    ReportStatus.CANCELLED: OrderStatus.CANCELLED,
    ReportStatus.EXPIRED: OrderStatus.EXPIRED,
    ReportStatus.REJECTED: OrderStatus.REJECTED,
}


def chosen(among: Sequence[T], which: int) -> T | None:
    """One of them; None if there is none."""
    return among[which % len(among)] if among else None


@dataclass
class Patience:
    """How long the machine waits for the truth, and how long it lets Hypothesis look for a shorter history that fails.

    Hypothesis makes hundreds of attempts at that. So once a history has failed, the machine waits for the truth no
    longer than five times what it ever took, or a quarter of a second; and after a minute of attempts only histories
    that are known to fail still take place, the shortest of which Hypothesis shows in the end.
    """

    seconds: float
    shortening_seconds: float = 60.0
    longest: float = 0.0
    _failed: list[tuple[str, ...]] = field(default_factory=list)
    _first_failure: float = 0.0

    @property
    def now(self) -> float:
        """How long to wait, in seconds."""
        return min(self.seconds, max(0.25, 5 * self.longest)) if self._failed else self.seconds

    def failed(self, history: Sequence[str]) -> None:
        """Note a history that failed."""
        if not self._failed:
            self._first_failure = time.monotonic()
        self._failed.append(tuple(history))

    def is_worth_it(self, history: Sequence[str]) -> bool:
        """Whether a history that begins like this shall take place."""
        if not self._failed or time.monotonic() - self._first_failure < self.shortening_seconds:
            return True
        return any(one[: len(history)] == tuple(history) for one in self._failed)


@dataclass
class Ledger:
    """What is remembered of the venue's past, beyond its books.

    `may_be_refused` are the orders that were sent while the venue meant to refuse one: it need not keep that one.
    `by_hand` are the venue's orders that a person entered there.
    """

    may_be_refused: set[ClientOrderId] = field(default_factory=set)
    by_hand: set[str] = field(default_factory=set)
    _versions: defaultdict[str, set[tuple[Decimal, Decimal]]] = field(default_factory=lambda: defaultdict(set))
    _ends: defaultdict[str, set[OrderStatus]] = field(default_factory=lambda: defaultdict(set))

    def observe(self, truth: Iterable[VenueOrder]) -> None:
        """Remember each version of each execution, and each end that an order had."""
        for known in truth:
            if known.status in _ENDS:
                self._ends[known.broker_order_id].add(_ENDS[known.status])
            for execution in known.executions:
                self._versions[execution.execution_id].add((execution.quantity, execution.price))

    # Safety

    def wrong(self, followed: Followed, truth: Sequence[VenueOrder]) -> list[str]:
        """What must never be, one sentence each. `followed` must have been read before `truth`, not after it."""
        problems = [
            f"the venue holds an order that nobody sent: {known}"
            for known in truth
            if known.client_order_id not in followed and known.broker_order_id not in self.by_hand
        ]
        for name, order in followed.items():
            found = [known for known in truth if known.client_order_id == name]
            if len(found) > 1:
                problems.append(f"the venue holds {len(found)} orders for one of ours: {found}")
            else:
                problems += self._wrong_of(order, found[0] if found else None)
        return problems

    def _wrong_of(self, order: Order, known: VenueOrder | None) -> Iterator[str]:
        name = order.client_order_id
        executed = {execution.execution_id for execution in known.executions} if known is not None else set()
        for execution_id, fill in order.fills.items():
            if execution_id not in executed or (fill.quantity, fill.price) not in self._versions[execution_id]:
                yield f"{name}: booked {fill.quantity} @ {fill.price} ({execution_id}), which the venue never executed"
        for entry in order.history:
            if entry.event == "conflict":
                yield f"{name}: {entry.text}"
        if known is None:
            if name not in self.may_be_refused and (order.status.is_final or order.acknowledged_at is not None):
                yield f"{name}: is {order.status}, by the word of the broker, and the venue never had it"
            elif order.status.is_final and order.status is not OrderStatus.REJECTED:
                yield f"{name}: is {order.status}, and the venue never had it"
            return
        if order.status is OrderStatus.PENDING:
            yield f"{name}: counts as provably not sent, and the venue has it: {known}"
        if order.status is OrderStatus.REJECTED and known.status is not ReportStatus.REJECTED:
            yield f"{name}: is REJECTED, and the venue never rejected it: {known}"
        # Of an order that was corrected, the old figures may have come with what was executed since.
        is_corrected = any(len(self._versions[one]) > 1 for one in executed)
        if known.is_open and order.status.is_final and not (order.status is OrderStatus.FILLED and is_corrected):
            yield f"{name}: is {order.status}, and can still trade at the venue: {known}"

    # Progress

    def lacking(self, followed: Followed, truth: Iterable[VenueOrder]) -> list[str]:
        """What must still become known of the orders that the venue has, one sentence each."""
        return [
            problem
            for known in truth
            if known.client_order_id is not None and (order := followed.get(ClientOrderId(known.client_order_id)))
            for problem in self._lacking_of(order, known)
        ]

    def _lacking_of(self, order: Order, known: VenueOrder) -> Iterator[str]:
        name, may_be = order.client_order_id, self._may_be(known)
        if order.status not in may_be:
            yield f"{name}: is {order.status}, not {' or '.join(sorted(may_be))}: the venue says {known}"
        if order.filled_quantity != known.filled_quantity:
            yield f"{name}: {order.filled_quantity} are booked, not {known.filled_quantity}: {known}"
        if order.average_price != _average_price(known.executions):
            yield f"{name}: the average price is {order.average_price}, not {_average_price(known.executions)}: {known}"
        for execution in known.executions:
            told, billed = order.commission_of(ExecutionId(execution.execution_id)), execution.commission
            if not execution.quantity:
                continue  # what a busted execution cost is a matter of taste
            if billed is None:
                if told is not None and not told.estimated:
                    yield f"{name}: {told} counts as billed for {execution.execution_id}, and nobody billed it"
            elif told is None or (told.amount, told.currency) != (billed.amount, billed.currency):
                yield f"{name}: the commission of {execution.execution_id} is {told}, not {billed}"

    def _may_be(self, known: VenueOrder) -> set[OrderStatus]:
        """What an honest bookkeeper may call the order who has heard everything."""
        if known.quantity is not None and known.filled_quantity >= known.quantity:
            return {OrderStatus.FILLED}
        if known.status in _ENDS:
            return {_ENDS[known.status]}
        working = OrderStatus.PARTIALLY_FILLED if known.filled_quantity else OrderStatus.SUBMITTED
        if known.status is ReportStatus.FILLED:
            # It was complete until an execution was taken back; what it was before, only those know who heard it.
            return {working} | self._ends[known.broker_order_id]
        return {working}


def _average_price(executions: Iterable[VenueExecution]) -> Decimal | None:
    with exact():
        effective = [execution for execution in executions if execution.quantity]
        filled = sum((execution.quantity for execution in effective), ZERO)
        spent = sum((execution.quantity * execution.price for execution in effective), ZERO)
        return spent / filled if filled else None
