"""The transition table: for each trigger and status, where it leads. Data; `exec_core.lifecycle` applies it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from exec_core.orders import OrderStatus

PENDING = OrderStatus.PENDING
SUBMITTING = OrderStatus.SUBMITTING
UNKNOWN = OrderStatus.UNKNOWN
SUBMITTED = OrderStatus.SUBMITTED
PARTIALLY_FILLED = OrderStatus.PARTIALLY_FILLED
FILLED = OrderStatus.FILLED
REJECTED = OrderStatus.REJECTED
CANCELLED = OrderStatus.CANCELLED
EXPIRED = OrderStatus.EXPIRED


class Trigger(Enum):
    """What an event comes down to."""

    REFUSE = "refused by the service"
    WITHDRAW = "withdrawn before it was sent"
    DISPATCH = "about to be sent"
    SEND_FAILED = "provably not sent"
    ANSWER_LOST = "sent, no usable answer"
    ABSENT = "proven absent at the broker"
    WORKING = "at the broker"
    REJECT = "rejected by the broker"
    CANCEL = "cancelled at the broker"
    EXPIRE = "expired at the broker"
    FILL_PART = "partly filled"
    FILL_ALL = "completely filled"
    UNFILL = "an execution was corrected downwards"


@dataclass(frozen=True, slots=True)
class Next:
    """A cell: the status that follows (None: it stays), and whether a person must hear of it."""

    status: OrderStatus | None = None
    alarm: bool = False
    illegal: bool = False
    only_if_ours: bool = False
    """Leads on only if the end it undoes was our conclusion, not the broker's word."""
    derive: bool = False
    """The status follows from the executions and the remembered end."""


STAYS: Final = Next()
ODD: Final = Next(alarm=True)
ILLEGAL: Final = Next(alarm=True, illegal=True)
FALLS: Final = Next(alarm=True, derive=True)


def to(status: OrderStatus, *, alarm: bool = False) -> Next:
    """Lead to `status`."""
    return Next(status, alarm)


def reopens(status: OrderStatus) -> Next:
    """Lead to `status`, with an alarm, if what it undoes was only our own conclusion."""
    return Next(status, alarm=True, only_if_ours=True, derive=status is SUBMITTED)


def _row(otherwise: Next, cells: Mapping[OrderStatus, Next]) -> Mapping[OrderStatus, Next]:
    return MappingProxyType({status: cells.get(status, otherwise) for status in OrderStatus})


TABLE: Final[Mapping[Trigger, Mapping[OrderStatus, Next]]] = MappingProxyType(
    {
        # Ours: only before anything left.
        Trigger.REFUSE: _row(ILLEGAL, {PENDING: to(REJECTED)}),
        Trigger.WITHDRAW: _row(ILLEGAL, {PENDING: to(CANCELLED)}),
        Trigger.DISPATCH: _row(ILLEGAL, {PENDING: to(SUBMITTING)}),
        # A report may overtake the proof of "not sent", and shows that it was none; or the lost answer: no matter.
        Trigger.SEND_FAILED: _row(ODD, {PENDING: STAYS, SUBMITTING: to(PENDING), UNKNOWN: ILLEGAL}),
        Trigger.ANSWER_LOST: _row(STAYS, {PENDING: ILLEGAL, SUBMITTING: to(UNKNOWN)}),
        # Absence never ends what was acknowledged, nor what may still be on its way.
        Trigger.ABSENT: _row(STAYS, {UNKNOWN: to(REJECTED)}),
        # The broker's word. About a PENDING order it means that a proof of "not sent" was wrong.
        Trigger.WORKING: _row(
            STAYS,
            {
                PENDING: to(SUBMITTED, alarm=True),
                SUBMITTING: to(SUBMITTED),
                UNKNOWN: to(SUBMITTED),
                # Ends that we concluded; one that the broker proved is not undone by a late "working".
                REJECTED: reopens(SUBMITTED),
                CANCELLED: reopens(SUBMITTED),
                EXPIRED: reopens(SUBMITTED),
            },
        ),
        Trigger.REJECT: _row(
            to(REJECTED),
            {
                PENDING: to(REJECTED, alarm=True),
                # A part of it traded, whatever this report knew of that: it counts as open until more is said.
                PARTIALLY_FILLED: ODD,
                FILLED: STAYS,
                REJECTED: STAYS,
                CANCELLED: reopens(REJECTED),
                EXPIRED: reopens(REJECTED),
            },
        ),
        Trigger.CANCEL: _row(
            to(CANCELLED),
            {
                PENDING: to(CANCELLED, alarm=True),
                FILLED: STAYS,
                REJECTED: reopens(CANCELLED),
                CANCELLED: STAYS,
                EXPIRED: reopens(CANCELLED),
            },
        ),
        Trigger.EXPIRE: _row(
            to(EXPIRED),
            {
                PENDING: to(EXPIRED, alarm=True),
                FILLED: STAYS,
                REJECTED: reopens(EXPIRED),
                CANCELLED: reopens(EXPIRED),
                EXPIRED: STAYS,
            },
        ),
        # No state drops a fill. A late part after CANCELLED or EXPIRED leaves the state: the rest stays ended.
        Trigger.FILL_PART: _row(
            to(PARTIALLY_FILLED),
            {
                PENDING: to(PARTIALLY_FILLED, alarm=True),
                PARTIALLY_FILLED: STAYS,
                FILLED: STAYS,
                REJECTED: to(PARTIALLY_FILLED, alarm=True),
                CANCELLED: STAYS,
                EXPIRED: STAYS,
            },
        ),
        Trigger.FILL_ALL: _row(
            to(FILLED),
            {PENDING: to(FILLED, alarm=True), FILLED: STAYS, REJECTED: to(FILLED, alarm=True)},
        ),
        # An execution was taken back: on to the remembered end, else to what the other executions say.
        Trigger.UNFILL: _row(FALLS, {}),
    }
)
