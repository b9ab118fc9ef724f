"""What is known of one order at TWS: its words, its errors, its executions; and the core's reports of it.

One `Known` is one order of TWS's, that is: one permanent id (``permId``). Messages are taken as they come, in any order
and repeatedly. It does no I/O and has no clock.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from exec_core.identifiers import BrokerOrderId, ClientOrderId
from exec_core.instruments import InstrumentDetails
from exec_core.money import ZERO
from exec_core.orders import Leg, Order
from exec_core.reports import FillReport, OrderReport, OrderTerms, ReportStatus

from exec_broker_ibkr import codes
from exec_broker_ibkr.codes import Kind
from exec_broker_ibkr.following import statuses
from exec_broker_ibkr.following.executions import COMBINATION, SIDES, Executions, fill_of
from exec_broker_ibkr.following.statuses import Verdict
from exec_broker_ibkr.instruments import contracts
from exec_broker_ibkr.messages import CompletedShown, ExecutionTold, OrderShown, StatusTold, TwsContract, TwsOrder

_OURS: Final = re.compile(r"[A-Z2-7]{20}")
_LIMITED: Final = frozenset({"LMT", "STP LMT"})
_STOPPED: Final = frozenset({"STP", "STP LMT"})
_ENDS: Final = frozenset({ReportStatus.REJECTED, ReportStatus.CANCELLED, ReportStatus.EXPIRED})

DetailsOf = Callable[[TwsContract], InstrumentDetails]


@dataclass(frozen=True, slots=True)
class Sent:
    """An order as this session sent it."""

    order: Order
    order_sent: TwsOrder
    contract: TwsContract
    details: InstrumentDetails | None


class Known:
    """One order at TWS. `account` None: not known yet whose it is.

    `is_bound_for_sure`: a message that named both said that this permanent id carries this reference.
    """

    def __init__(self, perm_id: int = 0, ref: str | None = None, account: str | None = None) -> None:
        self.perm_id = perm_id
        self.ref = ref
        self.account = account
        self.order_id = 0
        self.client_id = 0
        self.is_bound_for_sure = False
        self.sent: Sent | None = None
        self.worked = False
        self.refusal_code = 0
        self.not_taken: str | None = None
        self._shown: OrderShown | CompletedShown | None = None
        self._word = ""
        self._end_word: str | None = None
        self._refused_outright = False
        self._filled_by_word: dict[str, Decimal] = {}
        self._beside = statuses.Beside()
        self._executions = Executions()

    def for_sending(self, order_id: int, client_id: int, sent: Sent) -> Known:
        """It is about to be sent."""
        self.order_id, self.client_id, self.sent = order_id, client_id, sent
        self._executions.contract = sent.contract
        self._beside = replace(self._beside, tif=sent.order_sent.tif)
        return self

    def twin(self, perm_id: int) -> Known:
        """The same order under another permanent id, of which nothing is known yet."""
        other = Known(perm_id, self.ref, self.account)
        other.order_id, other.client_id = self.order_id, self.client_id
        other.sent, other._executions.contract = self.sent, self._executions.contract
        return other

    def copy(self) -> Known:
        """The same, to be told more without changing this one."""
        other = copy.copy(self)
        other._filled_by_word = dict(self._filled_by_word)
        other._executions = self._executions.copy()
        return other

    # Who it is

    @property
    def client_order_id(self) -> ClientOrderId | None:
        """Our id of it, if it carries one."""
        return ClientOrderId(self.ref) if self.ref and _OURS.fullmatch(self.ref) else None

    @property
    def broker_order_id(self) -> BrokerOrderId | None:
        """TWS's permanent id of it, once it has one."""
        return BrokerOrderId(str(self.perm_id)) if self.perm_id else None

    # What is heard

    def show(self, told: OrderShown) -> None:
        """``openOrder``."""
        self.order_id, self.client_id = told.order_id, told.client_id
        self._describe(told)
        self._hear_word(told.status)

    def complete(self, told: CompletedShown) -> None:
        """``completedOrder``."""
        self._describe(told)
        self._beside = replace(self._beside, completed=told.completed_status)
        if told.filled:
            self._hear_filled(told.status, told.filled)
        self._hear_word(told.status)

    def state(self, told: StatusTold) -> None:
        """``orderStatus``."""
        if not self.order_id:
            self.order_id, self.client_id = told.order_id, told.client_id
        self._hear_filled(told.status, told.filled)
        self._beside = replace(self._beside, why_held=told.why_held)
        self._hear_word(told.status)

    def error(self, code: int, text: str) -> None:
        """An error about it."""
        words = codes.sentence(code, text)
        match codes.kind_of(code):
            case Kind.REJECT:
                self._beside = replace(self._beside, refusal=words)
                self.refusal_code = code
                # Of an order that works, it is a modification or a cancel that is refused: a status will tell.
                self._refused_outright = self._refused_outright or not self.worked
            case Kind.DUPLICATE_ID if not self.perm_id and not self._word:
                self.not_taken = words
            case Kind.CANCEL_CONFIRMED:
                self._beside = replace(self._beside, confirmation=codes.cancel_reason(text))
            case Kind.CANCEL_ANSWER | Kind.DATA_ONLY | Kind.NOTICE:
                pass
            case _:
                self._beside = replace(self._beside, remark=words)

    def execute(self, told: ExecutionTold) -> None:
        """``execDetails``."""
        self.worked = True
        if not self.order_id:
            self.order_id, self.client_id = told.order_id, told.client_id
        self._executions.hear(told)

    def settle(self) -> None:
        """Nothing more is to come that would explain what it waits with."""
        self._beside = replace(self._beside, settled=True)
        self._executions.is_settled = True

    def be_single(self) -> None:
        """It is known to be no combination."""
        self._executions.is_single = True

    def _describe(self, told: OrderShown | CompletedShown) -> None:
        self._executions.know(told.contract)
        # An ended order is shown without its quantity: what was shown while it was open says more.
        if isinstance(told, OrderShown) or self._shown is None or told.status == statuses.FILLED:
            self._shown = told
        self._beside = replace(self._beside, perm_id=self.perm_id, tif=told.tif or self._beside.tif)

    def _hear_word(self, word: str) -> None:
        self._beside = replace(self._beside, perm_id=self.perm_id)
        if word in statuses.NOT_OF_TWS or (word in statuses.UNCONFIRMED and not self.perm_id):
            return
        self._word = word
        self.worked = self.worked or word in statuses.WORKED
        if word in statuses.ENDS:
            if word != statuses.INACTIVE or self._end_word is None:  # "cancelled" says more
                self._end_word = word
        elif self._end_word == statuses.INACTIVE and self._beside.refusal is None:
            self._end_word = None  # an inactive order can come back to life

    def _hear_filled(self, word: str, filled: Decimal) -> None:
        self._filled_by_word[word] = max(self._filled_by_word.get(word, ZERO), filled)
        self._beside = replace(self._beside, filled=max(self._beside.filled, filled))

    # What follows from it

    @property
    def word(self) -> str:
        """TWS's last word on its status."""
        return self._word

    @property
    def executed(self) -> Decimal:
        """What its own executions come to, as far as heard."""
        return self._executions.executed

    @property
    def lacks_executions(self) -> bool:
        """Whether more is told to be filled than was heard executed."""
        return self.told_filled > self._executions.executed + self._executions.waiting

    @property
    def told_filled(self) -> Decimal:
        """The most that a status told to be filled."""
        return max((filled for word, filled in self._filled_by_word.items() if word), default=ZERO)

    @property
    def lacks_contract(self) -> bool:
        """Whether executions wait because it is not known which leg of which combination they are."""
        return self._executions.lacks_contract

    @property
    def end(self) -> Verdict | None:
        """How it has ended; None while it has not, or waits for its reason."""
        if self._end_word is None:
            is_refused = self._refused_outright and not self.worked
            return Verdict(ReportStatus.REJECTED, self._beside.refusal) if is_refused else None
        beside = self._beside
        if self._refused_outright and beside.confirmation is None:
            beside = replace(beside, settled=True)
        judged = statuses.verdict(self._end_word, beside)
        return judged if judged is not None and judged.status in _ENDS else None

    @property
    def lacks_reason(self) -> bool:
        """Whether it has ended, and waits for the reason."""
        return self._end_word is not None and statuses.verdict(self._end_word, self._beside) is None and not self.end

    @property
    def is_open(self) -> bool:
        """Whether it can still trade, as far as is known."""
        if self.end is not None or self.lacks_reason or self.not_taken is not None or self._word == statuses.FILLED:
            return False
        return bool(self._word) or self.sent is not None

    # The core's reports

    def order_report(self, word: str, details_of: DetailsOf) -> OrderReport | None:
        """What `word` says of it, in the core's words; None if that is nothing, or not known yet."""
        judged = statuses.verdict(word, self._beside)
        if judged is None or judged.status in _ENDS:
            judged = self.end
        return None if judged is None else self._report(judged, details_of)

    def end_report(self, details_of: DetailsOf) -> OrderReport | None:
        """How it has ended; None while that is not known."""
        return None if self.end is None else self._report(self.end, details_of)

    def proven_report(self, wanted: Decimal | None, details_of: DetailsOf) -> OrderReport:
        """What its executions alone prove, of an order for the quantity `wanted`: that TWS has it."""
        is_filled = wanted is not None and self.executed >= wanted
        return self._report(Verdict(ReportStatus.FILLED if is_filled else ReportStatus.WORKING), details_of)

    def _report(self, judged: Verdict, details_of: DetailsOf) -> OrderReport:
        if judged.status is ReportStatus.FILLED:
            # The figure that came with this very word: an earlier one would be taken for what a cash order bought.
            filled = self._filled_by_word.get(statuses.FILLED) or None
        else:
            filled = self._beside.filled or None
        terms = None if judged.status in _ENDS else self._terms(judged.status is ReportStatus.FILLED, filled)
        name, broker_id = self.client_order_id, self.broker_order_id
        if name is None and broker_id is None:
            broker_id = BrokerOrderId(str(self.perm_id))
        return OrderReport(
            judged.status, name, broker_id, filled, judged.reason or None, None, self._details(details_of), terms
        )

    def _terms(self, is_filled: bool, filled: Decimal | None) -> OrderTerms | None:
        shown = self._shown
        if shown is None:
            return None
        quantity = shown.total_quantity or None
        if shown.cash_quantity:
            quantity = None
        if is_filled and filled and quantity is None and shown.contract.sec_type != COMBINATION:
            # Of an order that is complete: what it bought for its money, or had in the end of its quantity. Not where
            # executions were corrected: then what is filled says nothing of what was asked.
            quantity = None if self._executions.is_corrected else filled
        return OrderTerms(
            quantity,
            shown.limit_price if shown.order_type in _LIMITED else None,
            shown.stop_price if shown.order_type in _STOPPED else None,
            SIDES.get(shown.action),
            self.sent.order.request.instrument if self.sent else contracts.instrument(shown.contract),
        )

    def _details(self, details_of: DetailsOf) -> InstrumentDetails | None:
        if self.sent is not None and self.sent.details is not None:
            return self.sent.details
        contract = self._executions.contract
        return None if contract is None else details_of(contract)

    # Executions

    def take_fills(self, details_of: DetailsOf) -> list[FillReport]:
        """The executions that can be told by now, each as it was heard; the others go on waiting."""
        return self._fill_reports(self._executions.take(), details_of)

    def all_fills(self, legs: Sequence[Leg], details_of: DetailsOf) -> list[FillReport]:
        """Every execution in its newest version; `legs` are the order's own, where it is a combination."""
        return self._fill_reports(self._executions.everything(legs), details_of)

    def _fill_reports(self, placed: list[tuple[ExecutionTold, int | None]], details_of: DetailsOf) -> list[FillReport]:
        name, broker_id = self.client_order_id, self.broker_order_id
        if name is None and broker_id is None:
            broker_id = BrokerOrderId(str(self.perm_id))  # traded outside of IB: it has no order here
        reports = []
        for told, leg in placed:
            fill = fill_of(told, leg)
            if fill is not None:
                # A leg's contract says nothing of the combination's.
                details = None if leg is not None else self._details(details_of) or details_of(told.contract)
                reports.append(FillReport(fill, name, broker_id, details))
        self._beside = replace(self._beside, filled=max(self._beside.filled, self.executed))
        return reports
