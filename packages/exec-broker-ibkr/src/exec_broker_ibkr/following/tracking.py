"""What this session knows of orders: TWS's messages in, the core's reports out. No I/O, and no clock of its own.

It decides two things. *Which order a message is about*: by its permanent id (``permId``) once that is known, before
that by the order id under which this session sent it. Order ids are issued again after a roll-back (`Lean.IB#242`), so
an order id alone never ties a message to an order that carries another reference. And *whose it is*: what is about
other accounts is ignored, and a status that comes before anything that names its account waits for that.

Of an end without its reason, and of executions that may be those of a combination's legs, nothing is told until what
explains them is heard, TWS's list of ended orders among it. Whoever uses this asks TWS for its lists when
`lacks_reasons`, `lacks_legs` or `lacks_executions`, and then calls `settle`: what still waits is told as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from exec_core.fills import Commission
from exec_core.identifiers import BrokerOrderId, ExecutionId
from exec_core.instruments import InstrumentDetails
from exec_core.orders import Order
from exec_core.reports import CommissionReport, Report, ReportStatus

from exec_broker_ibkr.following import statuses
from exec_broker_ibkr.following.executions import split_execution_id
from exec_broker_ibkr.following.known import DetailsOf, Known, Sent
from exec_broker_ibkr.instruments import contracts
from exec_broker_ibkr.messages import (
    CommissionTold,
    CompletedShown,
    ErrorTold,
    ExecutionTold,
    OrderShown,
    StatusTold,
    Told,
    TwsContract,
    TwsOrder,
)


@dataclass(frozen=True, slots=True)
class Taken:
    """TWS and IB have the order; `status` is HELD or WORKING."""

    broker_order_id: BrokerOrderId
    status: ReportStatus


@dataclass(frozen=True, slots=True)
class Refused:
    """It is refused; `code` 0 where TWS gave none."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class NotTaken:
    """Its order id was that of another order, so that nothing of it was taken: it may be sent again."""

    text: str


Answer = Taken | Refused | NotTaken


@dataclass(frozen=True, slots=True)
class Address:
    """By what an order can be cancelled: only by the client that placed it, under its order id (0: it has none)."""

    order_id: int
    client_id: int
    perm_id: int
    is_open: bool


class Tracker:
    """The orders of one account, as far as heard of on one line, by one client.

    `details_of` says what is known of a contract; the default takes what the contract itself says.
    """

    def __init__(self, account: str, client_id: int, details_of: DetailsOf = contracts.details_of_contract) -> None:
        self.account = account
        self.client_id = client_id
        self.details_of = details_of
        self._by_perm_id: dict[int, Known] = {}
        self._by_order_id: dict[int, Known] = {}
        self._all: list[Known] = []
        self._sent: dict[str, Known] = {}
        self._foreign: set[int] = set()
        self._of_execution: dict[ExecutionId, Known] = {}
        self._commissions: dict[ExecutionId, tuple[int, Commission]] = {}
        # Who lacks something, kept up to date: asked after every message.
        self._lack_executions: set[Known] = set()
        self._lack_legs: set[Known] = set()
        self._lack_reasons: set[Known] = set()

    # What we do

    def sending(
        self,
        order_id: int,
        order: Order,
        sent: TwsOrder,
        contract: TwsContract,
        details: InstrumentDetails | None,
    ) -> None:
        """The order is about to be sent, under an order id of this client; right before the bytes leave."""
        known = self._sent[sent.order_ref] = self._new(Known(0, sent.order_ref, self.account))
        self._by_order_id[order_id] = known.for_sending(order_id, self.client_id, Sent(order, sent, contract, details))

    def answer(self, order_id: int) -> Answer | None:
        """What became of the order that was sent under that id; None: nothing is known yet."""
        known = self._by_order_id.get(order_id)
        if known is None or known.sent is None:
            return None
        if known.not_taken is not None:
            return NotTaken(known.not_taken)
        end = known.end
        if end is not None and not known.told_filled and not known.executed:
            if end.status is ReportStatus.REJECTED or known.broker_order_id is None:
                return Refused(known.refusal_code, end.reason or "IBKR refused the order and gave no reason")
        if known.broker_order_id is None or (known.word == statuses.INACTIVE and known.lacks_reason):
            return None
        report = known.order_report(known.word, self.details_of)
        is_held = report is not None and report.status is ReportStatus.HELD
        return Taken(known.broker_order_id, ReportStatus.HELD if is_held else ReportStatus.WORKING)

    def address(self, order: Order) -> Address | None:
        """By what the order can be cancelled; None: it was never heard of. One that is open goes before the others."""
        found = self.known_of(order)
        known = next((one for one in reversed(found) if one.is_open), found[-1] if found else None)
        return None if known is None else Address(known.order_id, known.client_id, known.perm_id, known.is_open)

    # What is heard

    def hear(self, told: Told) -> tuple[Report, ...]:
        """One message; what follows from it. Repeats and reordering are fine."""
        match told:
            case OrderShown():
                return self._shown(told)
            case StatusTold():
                return self._status(told)
            case ExecutionTold():
                return self._execution(told)
            case CommissionTold():
                return self._commission(told)
            case CompletedShown():
                return self._completed(told)
            case ErrorTold():
                return self._error(told)

    def settle(self) -> tuple[Report, ...]:
        """TWS was asked for all its lists after something was found lacking: nothing waits any longer."""
        reports: list[Report] = []
        for known in [one for one in self._all if one in self._lack_reasons or one in self._lack_legs]:
            known.settle()
            reports += self._news(known)
            end = known.end_report(self.details_of)
            reports += [end] if end is not None else []
        return tuple(reports)

    def lacks_executions(self) -> bool:
        """Whether more of some order is told to be filled than was heard executed."""
        return bool(self._lack_executions)

    def lacks_legs(self) -> bool:
        """Whether executions wait for the combination that they may belong to."""
        return bool(self._lack_legs)

    def lacks_reasons(self) -> bool:
        """Whether an order has ended, and waits for what says how."""
        return bool(self._lack_reasons)

    def _shown(self, told: OrderShown) -> tuple[Report, ...]:
        known = self._find(told.perm_id, told.order_id, told.client_id, told.order_ref, told.account)
        if known is None:
            return ()
        waited = self._claim(known, told.order_ref)
        known.show(told)
        self._remember_order_id(known, told.order_id, told.client_id)
        return self._news(known, waited, told.status)

    def _status(self, told: StatusTold) -> tuple[Report, ...]:
        known = self._find(told.perm_id, told.order_id, told.client_id, None, None)
        if known is None:
            return ()
        known.state(told)
        # Where it is not known whose order it is, that will be told.
        return () if known.account is None else self._news(known, told.status)

    def _completed(self, told: CompletedShown) -> tuple[Report, ...]:
        known = self._find(told.perm_id, 0, 0, told.order_ref, told.account)
        if known is None:
            return ()
        waited = self._claim(known, told.order_ref)
        known.complete(told)
        return self._news(known, waited, told.status)

    def _execution(self, told: ExecutionTold) -> tuple[Report, ...]:
        if self.is_foreign(told.account):
            self._disown(told.perm_id)
            return ()
        stem = split_execution_id(told.execution_id)[0]
        known = self._find(told.perm_id, told.order_id, told.client_id, told.order_ref, told.account)
        if known is None:  # without any id of an order: an execution is told all the same
            known = self._of_execution.get(stem) or self._new(Known(0, told.order_ref, self.account))
        waited = self._claim(known, told.order_ref)
        known.execute(told)
        self._of_execution[stem] = known
        return self._news(known, waited)

    def _error(self, told: ErrorTold) -> tuple[Report, ...]:
        known = self._by_order_id.get(told.request_id)
        if known is None:
            return ()
        before = known.end
        known.error(told.code, told.text)
        fills = self._news(known)
        end = known.end_report(self.details_of) if known.end != before else None
        return fills if end is None else (*fills, end)

    def _commission(self, told: CommissionTold) -> tuple[Report, ...]:
        stem, number = split_execution_id(told.execution_id)
        earlier = self._commissions.get(stem)
        if told.commission is None or not told.currency or (earlier is not None and number < earlier[0]):
            return ()
        self._commissions[stem] = (number, Commission(told.commission, told.currency))
        known = self._of_execution.get(stem)
        return () if known is None else self._cost(known, [stem])

    def _news(self, known: Known, *words: str) -> tuple[Report, ...]:
        """What can be told of an order: its executions first, so that an end finds them booked; then its status."""
        fills = known.take_fills(self.details_of)
        for lacking, lacks in (
            (self._lack_executions, known.lacks_executions),
            (self._lack_legs, known.lacks_contract),
            (self._lack_reasons, known.lacks_reason),
        ):
            if lacks:
                lacking.add(known)
            else:
                lacking.discard(known)
        costs = self._cost(known, [fill.fill.execution_id for fill in fills])
        states = [known.order_report(word, self.details_of) for word in dict.fromkeys(words) if word]
        return (*fills, *costs, *(state for state in states if state is not None))

    def _cost(self, known: Known, stems: Iterable[ExecutionId]) -> tuple[CommissionReport, ...]:
        """What is known of the cost of these executions: told apart from them, whichever came first."""
        return tuple(
            CommissionReport(
                stem,
                self._commissions[stem][1],
                known.client_order_id,
                known.broker_order_id or BrokerOrderId(str(known.perm_id)),
            )
            for stem in stems
            if stem in self._commissions
        )

    # Whose message it is

    def _find(self, perm_id: int, order_id: int, client_id: int, ref: str | None, account: str | None) -> Known | None:
        """The order that a message is about; None: it is no affair of ours. `ref` None: the message does not say."""
        if perm_id in self._foreign:
            return None
        if account is not None and self.is_foreign(account):
            self._disown(perm_id)
            return None
        known = self._by_perm_id.get(perm_id)
        if known is not None and (ref is None or self._agrees(known, ref)):
            return known
        ours = self._by_order_id.get(order_id) if client_id == self.client_id and order_id > 0 else None
        if ours is not None and (ref is None or ours.ref == ref):
            if not perm_id or ours.perm_id == perm_id:
                return ours
            if ours.perm_id:  # one order under two ids, as after a modification in an outage (`nautilus#4564`)
                ours = self._new(ours.twin(perm_id))
            return self._bound(ours, perm_id, for_sure=ref is not None)
        if not perm_id:
            return next((one for one in self._all if ref and one.ref == ref), None)
        sent = self._sent.get(ref or "")
        if sent is not None and not sent.perm_id and sent.not_taken is None and order_id == 0:
            return self._bound(sent, perm_id, for_sure=True)  # an ended order is shown without its order id
        return self._bound(self._new(Known(0, ref)), perm_id, for_sure=ref is not None)

    def _bound(self, known: Known, perm_id: int, *, for_sure: bool) -> Known:
        known.perm_id, known.is_bound_for_sure = perm_id, for_sure
        self._by_perm_id[perm_id] = known
        return known

    def _agrees(self, known: Known, ref: str) -> bool:
        """Whether the order with that permanent id is the one with that reference; if not, they are parted."""
        if known.ref in (None, ref) or known.is_bound_for_sure:
            known.is_bound_for_sure = True
            return True
        # A status was taken for one of the order that has this order id now: it was of an older one that had it.
        self._unbind(known)
        return False

    def _unbind(self, known: Known) -> None:
        """Nothing is known any more of the permanent id, and of what we sent no more than that it was sent."""
        del self._by_perm_id[known.perm_id]
        self._all.remove(known)
        for lacking in (self._lack_executions, self._lack_legs, self._lack_reasons):
            lacking.discard(known)
        for order_id, one in list(self._by_order_id.items()):
            if one is known:
                del self._by_order_id[order_id]
                if known.sent is not None:
                    again = self._sent[known.sent.order_sent.order_ref] = self._new(Known(0, known.ref, self.account))
                    self._by_order_id[order_id] = again.for_sending(order_id, self.client_id, known.sent)

    def _claim(self, known: Known, ref: str) -> str:
        """A message that names our account is about this order. Returns the status word that waited for it."""
        waited = known.word if known.account is None else ""
        known.account = self.account
        if known.ref is None:
            known.ref = ref
        return waited

    def _remember_order_id(self, known: Known, order_id: int, client_id: int) -> None:
        """Errors name orders by the id that this client gave them, in this session or an earlier one."""
        if client_id == self.client_id and order_id > 0:
            other = self._by_order_id.get(order_id)
            if other is None or other.sent is None:
                self._by_order_id[order_id] = known

    def _disown(self, perm_id: int) -> None:
        """The order with that permanent id is another account's."""
        if perm_id:
            self._foreign.add(perm_id)
            known = self._by_perm_id.get(perm_id)
            if known is not None:
                self._unbind(known)

    def _new(self, known: Known) -> Known:
        self._all.append(known)
        return known

    # For looking orders up

    def known_of(self, order: Order) -> list[Known]:
        """What is known of the order: under its ids at the broker, and under its reference."""
        ids = set(order.broker_order_ids)
        return [
            known
            for known in self._all
            if known.account is not None
            and (known.broker_order_id in ids or (known.ref is not None and known.ref == order.client_order_id))
        ]

    def known_as(self, perm_id: int) -> Known | None:
        """What is known of the order with that permanent id."""
        return self._by_perm_id.get(perm_id) if perm_id else None

    def is_foreign(self, account: str) -> bool:
        """Whether that is another account than this one."""
        return account not in ("", self.account)

    def commission_of(self, execution_id: ExecutionId) -> Commission | None:
        """What an execution has cost, as far as heard."""
        told = self._commissions.get(execution_id)
        return None if told is None else told[1]
